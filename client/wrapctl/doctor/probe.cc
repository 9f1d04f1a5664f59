// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/doctor/probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "base/io.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr std::chrono::milliseconds kDeadline{5000};
constexpr size_t kMaxReport = 8192;

// Status, detail and advice, the strings each ended by a NUL byte.
std::string packed(const Finding& finding) {
  std::string out(1, static_cast<char>('0' + static_cast<int>(finding.status)));
  out += finding.detail + '\0';
  out += finding.advice + '\0';
  return out;
}

bool unpack(std::string_view text, Finding& finding) {
  if (text.empty() || text[0] < '0' || text[0] > '2') return false;
  finding.status = static_cast<Status>(text[0] - '0');
  text.remove_prefix(1);
  for (std::string* part : {&finding.detail, &finding.advice}) {
    size_t end = text.find('\0');
    if (end == std::string_view::npos) return false;
    part->assign(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return text.empty();
}

// Until the end of the pipe; false if that did not come in time.
bool read_report(int fd, std::string& out) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + kDeadline;
  std::array<char, 1024> buffer;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd polled{fd, POLLIN, 0};
    int n = ::poll(&polled, 1, left > 0 ? static_cast<int>(left) : 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0;
    out.append(buffer.data(), static_cast<size_t>(got));
    if (out.size() > kMaxReport) return false;
  }
}

}  // namespace

std::string_view to_string(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::fallback:
      return "fallback";
    case Status::failed:
      break;
  }
  return "failed";
}

Finding ok(std::string detail) {
  return {Status::ok, std::move(detail), {}};
}

Finding fallback(std::string detail, std::string advice) {
  return {Status::fallback, std::move(detail), std::move(advice)};
}

Finding failed(std::string detail, std::string advice) {
  return {Status::failed, std::move(detail), std::move(advice)};
}

std::string with_errno(std::string_view what, int error) {
  return fail_errno(std::string(what), error).error().message;
}

Finding in_child(Finding (*probe)()) {
  constexpr const char* kReport = "please report this with the output of wrapctl doctor";
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return failed(with_errno("cannot make a pipe", errno), "try again");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return failed(with_errno("cannot create a process", errno), "try again");
  if (pid == 0) {
    ours.reset();
    ::_exit(write_all(theirs.get(), packed(probe())) ? 0 : 1);
  }
  theirs.reset();
  std::string report;
  bool in_time = read_report(ours.get(), report);
  if (!in_time) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) return failed("the attempt did not end", kReport);
  if (WIFSIGNALED(status)) {
    return failed(
        "the attempt was ended by signal " + std::to_string(WTERMSIG(status)),
        WTERMSIG(status) == SIGSYS ? "a seccomp filter above us forbids it: run it outside of that sandbox" : kReport);
  }
  Finding finding;
  if (!unpack(report, finding)) return failed("the attempt told nothing", kReport);
  return finding;
}

}  // namespace wrapd::wrapctl::doctor
