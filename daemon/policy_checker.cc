// SPDX-License-Identifier: Apache-2.0
#include "daemon/policy_checker.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstdio>
#include <span>

#include "base/io.h"
#include "daemon/supervisor_process.h"

namespace wrapd::daemon {
namespace {

constexpr gid_t kNoGroup = 65534;  // the kernel's overflowgid

// Exit status of wrap-compile --check: its output says what is wrong with the text.
constexpr int kExitProblems = 1;

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (std::string_view line = text.substr(0, end); !line.empty()) lines.push_back(printable(line));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

}  // namespace

struct PolicyChecker::Check {
  Done done;
  Quota::Ticket ticket;
  UniqueFd pidfd;
  UniqueFd output;  // memfd; the program's own limit bounds it
  bool too_long = false;
  EventSource exit;
  EventSource deadline;
};

PolicyChecker::PolicyChecker(EventLoop& loop, std::string program) : loop_(loop), program_(std::move(program)) {}

PolicyChecker::~PolicyChecker() {
  // Nobody waits for them any more; they end by their own limits.
  for (auto& [id, check] : checks_) static_cast<void>(kill_process(check->pidfd.get()));
}

void PolicyChecker::check(const PeerCredentials& caller, uint64_t user, std::string_view text, Done done) {
  auto refuse = [&](const char* code, const std::string& message) { done(std::unexpected(ApiError{code, message})); };
  if (!running_.has_room(user, kMostPerUser, kMost, 1)) {
    const bool own = running_.of(user) >= kMostPerUser;
    return refuse("LimitExceeded",
                  own ? "you have " + std::to_string(kMostPerUser) + " policies being checked; wait for one"
                      : "too many policies are being checked; try again later");
  }
  if (text.empty() || text.size() > kMaxText) {
    return refuse("InvalidArgument", "the policy's text is empty or larger than " + std::to_string(kMaxText) +
                                         " bytes; wrapctl policy check FILE takes larger ones");
  }
  const uint64_t id = next_++;
  auto check = std::make_unique<Check>();
  check->ticket = running_.take(user);
  if (auto started = start(*check, caller, text); !started) return refuse("Internal", started.error().message);
  check->done = std::move(done);
  auto exit = loop_.on_io(check->pidfd.get(), EPOLLIN, [this, id](uint32_t) { on_exit(id); });
  auto deadline = loop_.after(kDeadline, [this, id] { on_deadline(id); });
  if (!exit || !deadline) {
    std::string message = "cannot watch the check of a policy";
    if (auto ended = kill_and_reap(check->pidfd.get()); !ended) message += "; " + ended.error().message;
    return check->done(std::unexpected(ApiError{"Internal", message}));
  }
  check->exit = std::move(*exit);
  check->deadline = std::move(*deadline);
  checks_.emplace(id, std::move(check));
}

Result<> PolicyChecker::start(Check& check, const PeerCredentials& caller, std::string_view text) {
  auto input = sealed_memfd("policy", std::as_bytes(std::span(text)));
  if (!input) return std::unexpected(input.error());
  check.output.reset(::memfd_create("wrapd-check", MFD_CLOEXEC));
  if (!check.output) return fail_errno("cannot make a memfd");
  // Groups give nothing that reading one descriptor needs, and the bus does not say which is the primary one.
  std::string words[] = {"wrap-compile", "--check", "--become",
                         std::to_string(caller.uid) + ":" + std::to_string(kNoGroup)};
  auto child = spawn_child(program_, words, [&](posix_spawn_file_actions_t* actions) {
    int rc = ::posix_spawn_file_actions_adddup2(actions, input->get(), STDIN_FILENO);
    if (rc == 0) rc = ::posix_spawn_file_actions_adddup2(actions, check.output.get(), STDOUT_FILENO);
    if (rc == 0) rc = ::posix_spawn_file_actions_adddup2(actions, check.output.get(), STDERR_FILENO);
    return rc;
  });
  if (!child) return std::unexpected(child.error());
  check.pidfd = std::move(child->pidfd);
  return {};
}

void PolicyChecker::on_deadline(uint64_t id) {
  Check& check = *checks_.at(id);
  check.too_long = true;
  if (auto killed = kill_process(check.pidfd.get()); !killed) {
    std::fprintf(stderr, "wrapd: the check of a policy: %s\n", killed.error().message.c_str());
  }
}

void PolicyChecker::on_exit(uint64_t id) {
  siginfo_t info{};
  int rc;
  do rc = ::waitid(P_PIDFD, static_cast<id_t>(checks_.at(id)->pidfd.get()), &info, WEXITED | WNOHANG);
  while (rc < 0 && errno == EINTR);
  if (rc == 0 && info.si_pid == 0) return;
  auto check = std::move(checks_.at(id));
  checks_.erase(id);
  const bool exited = rc == 0 && info.si_code == CLD_EXITED;
  auto refuse = [&](const char* code, const char* message) { check->done(std::unexpected(ApiError{code, message})); };
  if (exited && info.si_status == 0) return check->done(std::vector<std::string>());
  if (check->too_long) return refuse("LimitExceeded", "the policy takes too long to check; make it smaller");
  if (!exited || info.si_status != kExitProblems) {
    return refuse("LimitExceeded", "the policy could not be checked within the limits; make it smaller");
  }
  // Written by a process that has gone: it cannot change any more.
  std::string text(kMaxOutput, '\0');
  ssize_t n;
  do n = ::pread(check->output.get(), text.data(), text.size(), 0);
  while (n < 0 && errno == EINTR);
  if (n <= 0) return refuse("Internal", "the check of the policy said nothing");
  check->done(lines_of(std::string_view(text).substr(0, static_cast<size_t>(n))));
}

}  // namespace wrapd::daemon
