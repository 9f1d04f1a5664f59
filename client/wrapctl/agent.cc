// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/agent.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "client/wrapctl/output.h"

namespace wrapd::wrapctl {
namespace {

constexpr int kReadyTimeout = 10000;  // milliseconds

// The agent turns echo off while a password is typed. Whatever ends us meanwhile must turn it on again.
termios g_terminal;

constexpr std::array kEndings{SIGINT, SIGTERM, SIGHUP, SIGQUIT};

void restore_and_end(int signal) {
  ::tcsetattr(STDIN_FILENO, TCSANOW, &g_terminal);
  ::raise(signal);  // SA_RESETHAND: now its default
}

void restore_on_signals(bool on) {
  for (int signal : kEndings) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) < 0 || action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = on ? restore_and_end : SIG_DFL;
    action.sa_flags = on ? static_cast<int>(SA_RESETHAND | SA_NODEFER) : 0;
    ::sigaction(signal, &action, nullptr);
  }
}

// Between fork and exec in a program of one thread. posix_spawn(3) cannot ask for a signal at our death, and an agent
// that outlived us would hold the terminal. `failure` closes with a successful exec; otherwise it says why there was
// none.
[[noreturn]] void run_agent(int notify, int failure, pid_t parent) {
  auto give_up = [failure] {
    int error = errno;
    static_cast<void>(!::write(failure, &error, sizeof error));
    ::_exit(127);
  };
  if (::prctl(PR_SET_PDEATHSIG, SIGTERM) < 0) give_up();
  if (::getppid() != parent) ::_exit(127);
  if (::fcntl(notify, F_SETFD, 0) < 0) give_up();
  const std::string notify_fd = std::to_string(notify);
  const std::string process = std::to_string(parent);
  ::execlp("pkttyagent", "pkttyagent", "--notify-fd", notify_fd.c_str(), "--fallback", "--process", process.c_str(),
           static_cast<char*>(nullptr));
  give_up();
  __builtin_unreachable();
}

// The agent closes the descriptor once it is registered; its end closes it too.
Result<> await_registered(int notify) {
  pollfd polled{notify, POLLIN, 0};
  int n = 0;
  do {
    n = ::poll(&polled, 1, kReadyTimeout);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("cannot wait for pkttyagent");
  if (n == 0) return fail("pkttyagent does not get ready");
  return {};
}

void restore() {
  // Not TCSAFLUSH: what the user has typed ahead for the next command stays.
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &g_terminal);
  restore_on_signals(false);
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_errno("cannot make a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void end(pid_t pid) {
  ::kill(pid, SIGTERM);
  ::kill(pid, SIGCONT);  // if it was stopped
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<pid_t> start() {
  auto notify = make_pipe();
  if (!notify) return std::unexpected(notify.error());
  auto failure = make_pipe();
  if (!failure) return std::unexpected(failure.error());
  const pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid == 0) run_agent(notify->write.get(), failure->write.get(), parent);
  if (pid < 0) return fail_errno("cannot create a process");
  notify->write.reset();
  failure->write.reset();
  int error = 0;
  ssize_t n = 0;
  do {
    n = ::read(failure->read.get(), &error, sizeof error);
  } while (n < 0 && errno == EINTR);
  auto ready = n == 0 ? await_registered(notify->read.get()) : Result<>(fail_errno("cannot start pkttyagent", error));
  if (ready) return pid;
  end(pid);
  return std::unexpected(ready.error());
}

}  // namespace

PasswordAgent::PasswordAgent(bool allowed) {
  if (!allowed || ::geteuid() == 0 || ::isatty(STDIN_FILENO) != 1 || ::isatty(STDERR_FILENO) != 1) return;
  // In the background nobody can answer, and touching the terminal would stop us.
  if (::tcgetpgrp(STDIN_FILENO) != ::getpgrp() || ::tcgetattr(STDIN_FILENO, &g_terminal) < 0) return;
  restore_on_signals(true);
  auto started = start();
  if (started) {
    pid_ = *started;
    return;
  }
  restore();
  if (started.error().code == ENOENT) return;  // no polkit, no questions: the service says what it cannot do
  print_error("note: no password can be asked for on this terminal: " + started.error().message);
}

PasswordAgent::~PasswordAgent() {
  if (pid_ < 0) return;
  end(pid_);
  restore();
}

}  // namespace wrapd::wrapctl
