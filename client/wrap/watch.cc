// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/watch.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/idle_memory.h"
#include "client/wrap/deadline.h"
#include "client/wrap/report.h"
#include "client/wrap/signals.h"
#include "client/wrap/summary.h"
#include "client/wrap/tree.h"
#include "wire/packet.h"
#include "wire/session_end.h"

namespace wrapd::client {
namespace {

constexpr std::chrono::milliseconds kKillTimeout{10000};
// The supervisor of a tree that has just ended may be gone before we hear of CMD's end.
constexpr int kEndGrace = 100;  // milliseconds
// A supervisor whose last task has ended sends the summary unasked, at about the time at which we hear of CMD's end.
constexpr int kUnaskedPatience = 1;  // milliseconds

}  // namespace

std::optional<siginfo_t> next_child_change() {
  siginfo_t info{};
  int rc;
  do rc = ::waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG);
  while (rc < 0 && errno == EINTR);
  return rc < 0 || info.si_pid == 0 ? std::nullopt : std::optional(info);
}

// Ends the session's processes and says what happened, as the error of the whole run.
Error Watch::end_tree(std::string_view reason) const {
  std::string message(reason);
  size_t left = kill_descendants(kKillTimeout, spec_.bystanders);
  if (left == 0) {
    message += "; the command was killed with all that it had started";
  } else {
    message += "; " + std::to_string(left) + " of the command's processes could not be killed, end them by hand";
  }
  return {std::move(message)};
}

Result<Watch> Watch::create() {
  Watch watch;
  sigset_t set = watched_signals();
  watch.signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!watch.signals_) return fail_errno("cannot create a signalfd");
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return fail_errno("cannot block signals");
  return watch;
}

Result<int> Watch::run(const WatchSpec& spec) {
  spec_ = spec;
  bool idle = false;
  for (;;) {
    // What happened before the signals were blocked raised no SIGCHLD that we could see: look before waiting.
    if (spec_.reports < 0) reap();
    if (terminated_) follow_termination();
    if (exit_status_) return *exit_status_;
    follow_stop();
    if (terminated_) continue;
    pollfd polled[] = {{signals_.get(), POLLIN, 0}, {spec_.control, POLLIN, 0}, {spec_.reports, POLLIN, 0}};
    const int n = ::poll(polled, 3, idle ? -1 : static_cast<int>(std::chrono::milliseconds(kIdleAfter).count()));
    idle = n == 0;
    if (idle) release_program_pages();
    if (n < 0) {
      if (errno == EINTR) continue;
      return std::unexpected(end_tree(fail_errno("cannot wait for the command").error().message));
    }
    if (polled[2].revents != 0) read_reports();
    if (polled[0].revents != 0) read_signals();
    if (polled[1].revents != 0 && !exit_status_ && !read_control()) {
      if (auto ended = supervisor_gone(); !ended) return std::unexpected(ended.error());
    }
  }
}

void Watch::read_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    auto signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGCHLD) continue;  // looked at in every round
    if (signal == SIGCONT) {
      // A signal to our process group has continued CMD as well; this is for one to wrap alone.
      if (spec_.reports < 0) reap();
      if (stopped_by_ != 0 || sent_by_process(info.ssi_code)) send_to_command(SIGCONT);
    } else if (sent_by_process(info.ssi_code)) {
      send_to_command(signal);
    }
  }
}

void Watch::send_to_command(int signal) const {
  // The only error there is, once it has ended, is ESRCH.
  ::syscall(SYS_pidfd_send_signal, spec_.pidfd, signal, nullptr, 0);
}

void Watch::reap() {
  while (const auto change = next_child_change()) {
    if (change->si_pid == spec_.pid) note({change->si_code, change->si_status});
  }
}

void Watch::read_reports() {
  ChildReport report;
  ssize_t n = 0;
  while ((n = ::recv(spec_.reports, &report, sizeof report, MSG_DONTWAIT)) == static_cast<ssize_t>(sizeof report)) {
    note(report);
  }
  if (n == 0) spec_.reports = -1;  // the control channel says what that means
}

void Watch::note(const ChildReport& report) {
  switch (report.code) {
    case CLD_EXITED:
      exit_status_ = report.status;
      break;
    case CLD_KILLED:
    case CLD_DUMPED:
      exit_status_ = 128 + report.status;
      break;
    case CLD_STOPPED:
      stopped_by_ = report.status;
      stop_followed_ = false;
      break;
    case CLD_CONTINUED:
      stopped_by_ = 0;
      break;
    case ChildReport::kExecFailed:
      exec_error_ = report.status;
      break;  // the process's end comes next
    default:
      break;
  }
}

void Watch::follow_stop() {
  if (stopped_by_ == 0 || stop_followed_) return;
  // A supervisor that ends the session stops it first, and has said so before.
  pollfd polled{spec_.control, POLLIN, 0};
  while (::poll(&polled, 1, 0) > 0 && read_control()) {
    if (terminated_) return;
  }
  stop_followed_ = true;
  stop_self(stopped_by_);
}

// The supervisor does the same from its side; what is orphaned on the way comes to us, and is seen by us in any case.
void Watch::follow_termination() {
  send_to_command(SIGKILL);  // also where there is no /proc to find the others in
  static_cast<void>(kill_descendants(kKillTimeout, spec_.bystanders));
  if (!exit_status_) exit_status_ = 128 + SIGKILL;
}

bool Watch::read_control() {
  auto packet = wire::receive_packet(spec_.control, wire::kMaxReply, 0);
  // ECONNRESET: it closed with something of ours unread. Told once; what it sent before is still there.
  if (!packet) {
    return packet.error().code == EAGAIN || packet.error().code == EINTR || packet.error().code == ECONNRESET;
  }
  if (packet->eof()) return false;
  auto message = wire::decode_session_message(packet->bytes);
  if (!message) return false;
  if (auto* summary = std::get_if<wire::Summary>(&*message)) {
    summary_ = std::move(*summary);
  } else if (auto* terminated = std::get_if<wire::Terminated>(&*message)) {
    terminated_ = std::move(terminated->by);
  } else if (auto* event = std::get_if<wire::EventMessage>(&*message)) {
    if (spec_.log != nullptr) spec_.log->append(event->json);
  } else if (auto* waiting = std::get_if<wire::WaitingCall>(&*message)) {
    // While CMD runs; afterwards nobody waits for it here.
    if (!spec_.quiet && !terminated_ && !exit_status_) print_if_room(STDERR_FILENO, waiting_text(*waiting));
  }
  return true;
}

Result<> Watch::supervisor_gone() {
  control_open_ = false;
  // With its summary the supervisor has said that every task of the tree has ended or is about to: nobody is left to be
  // killed, and CMD may take its time to go.
  if (summary_) {
    spec_.control = -1;
    return {};
  }
  pollfd polled{spec_.pidfd, POLLIN, 0};
  ::poll(&polled, 1, kEndGrace);
  if (spec_.reports >= 0) read_reports();
  if (spec_.reports < 0) reap();
  send_to_command(SIGKILL);  // also where there is no /proc to find the others in
  Error error = end_tree(wire::to_user({wire::EndReason::died}));
  if (exit_status_) return {};
  return std::unexpected(std::move(error));
}

std::optional<wire::Summary> Watch::finish(std::chrono::milliseconds timeout) {
  auto deadline = Clock::now() + timeout;
  pollfd unasked{spec_.control, POLLIN, 0};
  while (control_open_ && !summary_ && ::poll(&unasked, 1, kUnaskedPatience) > 0) control_open_ = read_control();
  if (control_open_ && !summary_) {
    // A supervisor that has closed already may have left the summary for us all the same.
    static_cast<void>(wire::send_packet(spec_.control, wire::encode_finish_request(), {}, true));
  }
  while (control_open_ && !summary_) {
    pollfd polled{spec_.control, POLLIN, 0};
    int n = ::poll(&polled, 1, remaining(deadline));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    control_open_ = read_control();
  }
  return std::exchange(summary_, std::nullopt);
}

}  // namespace wrapd::client
