// SPDX-License-Identifier: Apache-2.0

// Everybody may knock; one peer is let in. The rules that keep a hostile peer from delaying a good one:
//
// - A peer of another uid is closed at once, before anything of it is read.
// - Every connection has its own deadline, and a silent one takes one of few places. When these are all taken
//   the oldest silent one goes: a good peer sends right after it has connected, so it is never old.
// - A connection is read as soon as it is accepted, so a good peer's frame that is already there is never waited for.
// - Out of descriptors, connections are shed rather than left in the backlog, where they would keep poll(2) awake; the
//   listener itself is never given up.
//
// The token is compared in constant time and is used up by the first who shows it.

#include "supervisor/handoff_acceptor.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/credentials.h"
#include "base/io.h"
#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

constexpr int kAcceptsPerStep = 32;
constexpr size_t kMaxKept = 4096;
constexpr std::chrono::milliseconds kPause{100};

}  // namespace

Result<> answer(const UniqueFd& connection, wire::HandoffAnswer answer) {
  char byte = static_cast<char>(answer);
  return wire::send_packet(connection.get(), std::string_view(&byte, 1), {}, true);
}

HandoffAcceptor::HandoffAcceptor(UniqueFd listener, Options options)
    : listener_(std::move(listener)), options_(std::move(options)), report_budget_(options_.reports_per_second) {
  // A client that gives up between poll(2) and accept4(2) must not make us wait for the next one. A failure here shows
  // in step(), as a listener that accepts nothing.
  if (int flags = ::fcntl(listener_.get(), F_GETFL); flags >= 0) {
    (void)::fcntl(listener_.get(), F_SETFL, flags | O_NONBLOCK);
  }
  take_reserve();
}

HandoffAcceptor::~HandoffAcceptor() {
  stop();
}

void HandoffAcceptor::take_reserve() {
  if (!reserve_) reserve_.reset(::fcntl(listener_.get(), F_DUPFD_CLOEXEC, 0));
}

void HandoffAcceptor::collect_poll(std::vector<pollfd>& poll) const {
  if (listener_ && !pause_until_) poll.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  for (const Waiting& peer : waiting_) poll.push_back({.fd = peer.connection.get(), .events = POLLIN, .revents = 0});
}

std::optional<HandoffAcceptor::TimePoint> HandoffAcceptor::next_deadline() const {
  std::optional<TimePoint> next = pause_until_;
  // The oldest one's comes first, as all have the same time.
  if (!waiting_.empty() && (!next || waiting_.front().deadline < *next)) next = waiting_.front().deadline;
  return next;
}

std::optional<HandoffAcceptor::Accepted> HandoffAcceptor::step(TimePoint now) {
  std::optional<Accepted> accepted;
  if (!listener_) return accepted;
  for (auto peer = waiting_.begin(); peer != waiting_.end() && !accepted;) {
    peer = read_frame(*peer, now, accepted) ? waiting_.erase(peer) : peer + 1;
  }
  while (!accepted && !waiting_.empty() && waiting_.front().deadline <= now) {
    drop_oldest("no frame in time", now, accepted);
  }
  if (pause_until_ && *pause_until_ <= now) {
    pause_until_.reset();
    take_reserve();
  }
  for (int i = 0; i < kAcceptsPerStep && !accepted && !pause_until_; ++i) {
    if (accept_one(now, accepted) == Accept::drained) break;
  }
  if (accepted) {
    accepted_ = true;
    stop();
  }
  return accepted;
}

HandoffAcceptor::Accept HandoffAcceptor::accept_one(TimePoint now, std::optional<Accepted>& accepted) {
  UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) {
    switch (errno) {
      case EAGAIN:
        return Accept::drained;
      case EINTR:
      case ECONNABORTED:
        return Accept::again;
      case EMFILE:
      case ENFILE:
        return shed_one(now, accepted);
      default:
        // No memory, or a listener that is none: either way, asking again at once would only burn time.
        pause_until_ = now + kPause;
        return Accept::drained;
    }
  }
  auto credentials = peer_credentials(connection.get(), false);
  if (!credentials) {
    reject(static_cast<uid_t>(-1), 0, credentials.error().message, now);
    return Accept::taken;
  }
  if (credentials->uid != options_.peer_uid) {
    discard(std::move(connection));
    reject(credentials->uid, credentials->pid, "not the session's user", now);
    return Accept::taken;
  }
  Waiting peer{.connection = std::move(connection), .deadline = now + options_.deadline, .pid = credentials->pid};
  if (read_frame(peer, now, accepted)) return Accept::taken;
  if (waiting_.size() >= options_.max_waiting) {
    drop_oldest("too many silent connections", now, accepted);
    if (accepted) return Accept::taken;
  }
  waiting_.push_back(std::move(peer));
  return Accept::taken;
}

// Closes a stranger's connection, unless it holds descriptors that were not received: the last close of a socket that
// lingers waits for as long as its maker likes. Such a connection is left open for the rest of this process's life.
void HandoffAcceptor::discard(UniqueFd connection) {
  ::shutdown(connection.get(), SHUT_RDWR);  // nothing more can come
  for (;;) {
    char byte;
    iovec part{.iov_base = &byte, .iov_len = 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    // Looking takes nothing out, and says that there are descriptors by saying that there was no room for them.
    if (::recvmsg(connection.get(), &message, MSG_PEEK | MSG_DONTWAIT) <= 0) return;
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      if (kept_ < kMaxKept) {
        ++kept_;
        (void)connection.release();
      }
      return;
    }
    if (::recv(connection.get(), &byte, 1, MSG_DONTWAIT) < 0) return;
  }
}

HandoffAcceptor::Accept HandoffAcceptor::shed_one(TimePoint now, std::optional<Accepted>& accepted) {
  if (!waiting_.empty()) {
    drop_oldest("out of descriptors", now, accepted);
    return Accept::again;
  }
  if (reserve_) {
    reserve_.reset();
    UniqueFd shed(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    bool came = shed.valid();
    shed.reset();
    take_reserve();
    if (came) {
      reject(static_cast<uid_t>(-1), 0, "out of descriptors", now);
      return Accept::taken;
    }
  }
  pause_until_ = now + kPause;
  return Accept::drained;
}

void HandoffAcceptor::drop_oldest(const std::string& why, TimePoint now, std::optional<Accepted>& accepted) {
  Waiting peer = std::move(waiting_.front());
  waiting_.pop_front();
  // Its frame may have come since it was last looked at.
  if (!read_frame(peer, now, accepted)) refuse(peer, wire::HandoffAnswer::refused, why, now);
}

bool HandoffAcceptor::read_frame(Waiting& peer, TimePoint now, std::optional<Accepted>& accepted) {
  using wire::HandoffAnswer;
  auto refused = [&](HandoffAnswer answer, const std::string& why) {
    refuse(peer, answer, why, now);
    return true;
  };
  auto packet = wire::receive_packet(peer.connection.get(), wire::kHandoffFrameSize, 1);
  if (!packet && packet.error().code == EAGAIN) return false;
  if (!packet) return refused(HandoffAnswer::bad_frame, packet.error().message);
  if (packet->eof()) {
    reject(options_.peer_uid, peer.pid, "closed without a frame", now);
    return true;
  }
  if (packet->fds.size() != 1) return refused(HandoffAnswer::bad_frame, "frame without a descriptor");
  auto frame = wire::decode_handoff_frame(packet->bytes);
  if (!frame) return refused(HandoffAnswer::bad_frame, frame.error().message);
  if (frame->kind != options_.kind) return refused(HandoffAnswer::bad_frame, "frame of another kind");
  bool right = constant_time_equal(frame->token, options_.token);
  if (!right || token_used_) return refused(HandoffAnswer::bad_token, right ? "token used already" : "wrong token");
  if (!options_.check_descriptor) return refused(HandoffAnswer::unsupported, "hand-off is not supported");
  token_used_ = true;
  if (auto checked = options_.check_descriptor(packet->fds.front().get()); !checked) {
    return refused(HandoffAnswer::bad_descriptor, checked.error().message);
  }
  accepted = Accepted{.descriptor = std::move(packet->fds.front()), .connection = std::move(peer.connection)};
  return true;
}

void HandoffAcceptor::refuse(Waiting& peer, wire::HandoffAnswer byte, const std::string& why, TimePoint now) {
  // A peer that does not read its answer has only itself to blame.
  (void)answer(peer.connection, byte);
  peer.connection.reset();
  reject(options_.peer_uid, peer.pid, why, now);
}

void HandoffAcceptor::reject(uid_t uid, pid_t pid, const std::string& why, TimePoint now) {
  ++rejected_;
  ++unreported_;
  audit::Event event = audit::make_event(audit::Kind::peer_rejected);
  if (uid != static_cast<uid_t>(-1)) event.peer_uid = uid;
  event.pid = pid;
  event.operation = "hand-off " + std::string(wire::to_string(options_.kind));
  event.action = "denied";
  event.reason = why;
  // The budget of a second is given out anew when that second is over.
  if (!budget_since_ || now - *budget_since_ >= std::chrono::seconds(1)) {
    budget_since_ = now;
    report_budget_ = options_.reports_per_second;
  }
  if (report_budget_ == 0) {
    last_unreported_ = std::move(event);
    return;
  }
  --report_budget_;
  report(std::move(event));
}

void HandoffAcceptor::report(audit::Event event) {
  event.count = std::exchange(unreported_, 0);
  if (options_.report) options_.report(std::move(event));
}

void HandoffAcceptor::stop() {
  listener_.reset();
  reserve_.reset();
  waiting_.clear();
  pause_until_.reset();
  if (unreported_ > 0) report(std::move(last_unreported_));
}

}  // namespace wrapd::supervisor
