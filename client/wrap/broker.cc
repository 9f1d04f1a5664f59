// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/broker.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cstring>
#include <utility>
#include <vector>

#include "client/wrap/deadline.h"
#include "wire/packet.h"
#include "wire/session_end.h"

namespace wrapd::client {
namespace {

// errno in the error's code.
Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return fail_errno("not a socket's path", ENAMETOOLONG);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("cannot create a socket");
  // Where the backlog is full connect(2) waits as long as a send may.
  timeval limit{.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(kBrokerTimeout).count(), .tv_usec = 0};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
    return fail_errno("cannot set a timeout");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return fail_errno("cannot connect");
  return fd;
}

std::unexpected<Error> unreachable(const std::string& path, const Error& error) {
  std::string what = fail_errno("cannot reach the service at " + printable(path, 256), error.code).error().message;
  switch (error.code) {
    case ENOENT:
    case ECONNREFUSED:
      return fail(what + "; start it (systemctl start wrapd.socket), or use --standalone", error.code);
    case EACCES:
      return fail(what + "; ask the administrator for access, or use --standalone", error.code);
    case EAGAIN:
      return fail(what + "; it is overloaded, try again", error.code);
    case EPROTOTYPE:
      return fail(what + "; this is not the service's socket", error.code);
    default:
      return fail(what + "; see systemctl status wrapd.socket, or use --standalone", error.code);
  }
}

// ECONNRESET if the connection ends without a word: a restart of the service, or the death of the session's supervisor,
// cut it, and nothing has come of the request that could be ours.
Result<wire::Packet> receive_reply(int control, Clock::time_point deadline) {
  bool reset = false;
  for (;;) {
    pollfd polled{control, POLLIN, 0};
    int n = ::poll(&polled, 1, remaining(deadline));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot wait for the service");
    if (n == 0) return fail("the service did not answer in time; see systemctl status wrapd");
    auto packet = wire::receive_packet(control, wire::kMaxReply, 1);
    if (!packet && (packet.error().code == EAGAIN || packet.error().code == EINTR)) continue;
    // Told once, where the request was not read; an answer that came before is still there.
    if (!packet && packet.error().code == ECONNRESET && !std::exchange(reset, true)) continue;
    if (!packet)
      return fail("cannot understand the service: " + packet.error().message + "; is it of another version?");
    if (packet->eof()) {
      return fail("the service closed the connection without an answer; see journalctl -u wrapd", ECONNRESET);
    }
    return packet;
  }
}

Result<> give_profile(const wire::Packet& invitation, int profile) {
  if (invitation.fds.size() != 1)
    return fail("the service asks for the profile and takes none; is it of another version?");
  auto sent = wire::send_packet(invitation.fds.front().get(), wire::kProfileMessage, {&profile, 1}, false);
  // A supervisor that has gone says why, or its channel ends.
  if (!sent && sent.error().code != EPIPE && sent.error().code != ECONNRESET) {
    return fail("cannot send the profile: " + sent.error().message);
  }
  return {};
}

// A connection and the answer that came over it. ECONNRESET if it ended without one.
struct Answer {
  UniqueFd control;
  wire::Packet packet;
};
Result<Answer> ask(const std::string& control_path, const std::string& request, int profile,
                   Clock::time_point deadline) {
  auto control = connect_to(control_path);
  if (!control) return unreachable(control_path, control.error());
  auto sent = wire::send_packet(control->get(), request, {}, false);
  // A service that has refused already has closed; its reason is there to be read.
  if (!sent && sent.error().code != EPIPE && sent.error().code != ECONNRESET) {
    return fail("cannot ask the service: " + sent.error().message);
  }
  auto packet = receive_reply(control->get(), deadline);
  if (packet && profile >= 0 && wire::is_profile_invitation(packet->bytes)) {
    if (auto given = give_profile(*packet, profile); !given) return std::unexpected(given.error());
    packet = receive_reply(control->get(), deadline);
  }
  if (!packet) return std::unexpected(packet.error());
  return Answer{.control = std::move(*control), .packet = std::move(*packet)};
}

}  // namespace

Result<OpenSession> open_session(const std::string& control_path, const wire::OpenRequest& request, int profile) {
  constexpr int kMostAttempts = 8;
  const std::string text = wire::encode(request);
  const auto deadline = Clock::now() + kBrokerTimeout;
  auto answer = ask(control_path, text, profile, deadline);
  for (int attempt = 1; attempt < kMostAttempts; ++attempt) {
    if (answer || answer.error().code != ECONNRESET || Clock::now() >= deadline) break;
    answer = ask(control_path, text, profile, deadline);
  }
  if (!answer) return std::unexpected(answer.error());
  OpenSession session;
  session.control = std::move(answer->control);
  const wire::Packet& packet = answer->packet;
  auto reply = wire::decode_session_reply(packet.bytes);
  if (!reply) return std::unexpected(reply.error());  // escaped when it was decoded
  session.reply = std::move(*reply);

  if (session.reply.confinement.filtered != (packet.fds.size() == 1)) {
    return fail("the service's answer came without its filter; is it of another version?");
  }
  if (session.reply.confinement.filtered) {
    auto filter = FilterProgram::map(packet.fds.front().get(), "the service's");
    if (!filter) return std::unexpected(filter.error());
    session.filter = std::move(*filter);
  }
  return session;
}

Result<UniqueFd> connect_handoff(const wire::SessionReply& reply, wire::HandoffKind kind) {
  std::string path = reply.directory + "/" + std::string(to_string(kind)) + ".sock";
  auto connection = connect_to(path);
  if (!connection) return fail("cannot connect to " + printable(path, 256) + ": " + connection.error().message);
  return connection;
}

Result<> send_handoff(int connection, wire::HandoffKind kind, const std::string& token, int fd) {
  auto frame = wire::encode(wire::HandoffFrame{kind, token});
  auto sent = wire::send_packet(connection, {frame.data(), frame.size()}, {&fd, 1}, false);
  if (!sent)
    return fail("cannot hand the command over (" + std::string(to_string(kind)) + "): " + sent.error().message);
  return {};
}

Result<> await_acceptance(std::span<const int> connections, int control, int command_pidfd) {
  const auto deadline = Clock::now() + kBrokerTimeout;
  std::vector<pollfd> polled;
  for (int connection : connections) polled.push_back({connection, POLLIN, 0});
  polled.push_back({control, 0, 0});  // events may come already; only its end counts here
  polled.push_back({command_pidfd, POLLIN, 0});
  const size_t count = connections.size();
  for (size_t waiting = count; waiting > 0;) {
    int n = ::poll(polled.data(), polled.size(), remaining(deadline));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot wait for the supervisor");
    if (n == 0) return fail("the supervisor did not take the command in time; try again");
    for (size_t i = 0; i < count; ++i) {
      if (polled[i].revents == 0) continue;
      auto packet = wire::receive_packet(polled[i].fd, 1, 0);
      if (!packet && (packet.error().code == EAGAIN || packet.error().code == EINTR)) continue;
      if (!packet) return fail("cannot understand the supervisor: " + packet.error().message);
      if (packet->eof()) return fail("the supervisor closed the hand-off; see journalctl -u wrapd");
      auto answer = static_cast<wire::HandoffAnswer>(packet->bytes.front());
      if (answer != wire::HandoffAnswer::accepted) {
        return fail("the supervisor did not take the command: " + printable(to_string(answer)));
      }
      polled[i].fd = -1;
      --waiting;
    }
    if (polled[count].revents != 0) return fail(wire::to_user({wire::EndReason::died}) + "; see journalctl -u wrapd");
    if (polled[count + 1].revents != 0) return fail("the command's process was ended before it could start");
  }
  return {};
}

}  // namespace wrapd::client
