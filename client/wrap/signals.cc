// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/signals.h"

#include <unistd.h>

namespace wrapd::client {

InheritedSignals::InheritedSignals() {
  ::sigprocmask(SIG_SETMASK, nullptr, &mask_);
}

void InheritedSignals::change(int signal, void (*handler)(int)) {
  auto index = static_cast<size_t>(signal);
  struct sigaction action {};
  action.sa_handler = handler;
  struct sigaction old {};
  ::sigaction(signal, &action, &old);
  if (!changed_[index]) {
    changed_[index] = true;
    old_[index] = old;
  }
}

bool InheritedSignals::restore() const noexcept {
  for (int signal = 1; signal <= 64; ++signal) {
    auto index = static_cast<size_t>(signal);
    if (changed_[index] && ::sigaction(signal, &old_[index], nullptr) < 0) return false;
  }
  return ::sigprocmask(SIG_SETMASK, &mask_, nullptr) == 0;
}

sigset_t watched_signals() {
  sigset_t set;
  ::sigfillset(&set);
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGPIPE, SIGXFSZ}) ::sigdelset(&set, signal);
  return set;
}

void stop_self(int signal) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  struct sigaction old {};
  sigset_t one;
  sigset_t mask;
  ::sigemptyset(&one);
  ::sigaddset(&one, signal);
  ::sigaction(signal, &action, &old);
  ::sigprocmask(SIG_UNBLOCK, &one, &mask);
  ::kill(::getpid(), signal);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  if (signal != SIGSTOP) ::sigaction(signal, &old, nullptr);
}

}  // namespace wrapd::client
