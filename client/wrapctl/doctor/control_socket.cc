// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/unique_fd.h"
#include "client/wrapctl/doctor/probe.h"
#include "client/wrapctl/text.h"
#include "config.h"
#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr int kTimeout = 10;  // seconds; the first one starts the service

int connect_to(const std::string& path, UniqueFd& out) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  out.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!out) return errno;
  timeval limit{.tv_sec = kTimeout, .tv_usec = 0};
  if (::setsockopt(out.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0) return errno;
  return ::connect(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ? errno : 0;
}

const char* connect_advice(int error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return "systemctl enable --now wrapd.socket";
    case EACCES:
      return "its mode should be 0666: systemctl restart wrapd.socket";
    case EPROTOTYPE:
      return "something else sits there: systemctl status wrapd.socket";
    default:
      return "systemctl status wrapd.socket wrapd.service";
  }
}

}  // namespace

// Opens a session, as `wrap` does, and goes away before anything has run in it: so the service, its supervisor and the
// caller's policy are all tried.
Finding examine_control_socket(const std::string& path) {
  constexpr const char* kSilent = "systemctl status wrapd.service; journalctl -u wrapd";
  UniqueFd socket;
  if (int error = connect_to(path, socket); error != 0) {
    return failed(with_errno("cannot connect to " + safe_text(path), error), connect_advice(error));
  }
  auto sent = wire::send_packet(socket.get(), wire::encode({.command = "wrapctl doctor", .cwd = "/"}), {}, false);
  // A service that has refused already has closed; its reason is there to be read.
  if (!sent && sent.error().code != EPIPE) return failed("cannot ask the service: " + sent.error().message, kSilent);
  pollfd polled{socket.get(), POLLIN, 0};
  int n = 0;
  do {
    n = ::poll(&polled, 1, kTimeout * 1000);
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return failed("the service does not answer", kSilent);
  auto packet = wire::receive_packet(socket.get(), wire::kMaxReply, 1);
  if (!packet) return failed("cannot understand the service: " + packet.error().message, kSilent);
  if (packet->eof()) return failed("the service closed the connection without an answer", kSilent);
  auto reply = wire::decode_session_reply(packet->bytes);
  if (!reply && reply.error().code == EACCES && ::geteuid() == 0) {
    return fallback("the service answers, and root is granted no session (access in wrapd.yaml)",
                    "run wrapctl doctor as a user who may");
  }
  if (!reply)
    return failed("the service gives no session: " + safe_text(reply.error().message),
                  "wrap --standalone does without the service");
  return ok("the service gives a session with the policy " + safe_text(reply->policy) + " (" + safe_text(reply->mode) +
            ")");
}

Finding probe_control_socket() {
  return examine_control_socket(WRAPD_RUNTIME_DIR "/control");
}

}  // namespace wrapd::wrapctl::doctor
