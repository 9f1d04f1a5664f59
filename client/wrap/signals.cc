// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/signals.h"

#include <unistd.h>

namespace wrapd::client {

InheritedSignals::InheritedSignals() {
  ::sigprocmask(SIG_SETMASK, nullptr, &mask_);
}

void InheritedSignals::change(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  Change change{.signal = signal, .before = {}};
  ::sigaction(signal, &action, &change.before);
  for (size_t i = 0; i < count_; ++i) {
    if (changes_[i].signal == signal) return;
  }
  changes_.at(count_++) = change;
}

bool InheritedSignals::restore() const noexcept {
  for (size_t i = 0; i < count_; ++i) {
    if (::sigaction(changes_[i].signal, &changes_[i].before, nullptr) < 0) return false;
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
