// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>

#include <array>

namespace wrapd::client {

// The signal mask and dispositions that wrap was started with. wrap changes some for itself; CMD gets them back as they
// were, so that what a shell ignores (nohup, background jobs of scripts) stays ignored.
class InheritedSignals {
 public:
  InheritedSignals();
  // Changes the disposition of `signal` in this process and remembers the one before the first change. An abort if
  // more signals are changed than are remembered.
  void change(int signal, void (*handler)(int));
  // Puts everything back. Async-signal-safe: for the child, before it execs.
  [[nodiscard]] bool restore() const noexcept;
  [[nodiscard]] const sigset_t& mask() const { return mask_; }

 private:
  struct Change {
    int signal = 0;
    struct sigaction before {};
  };
  // As many as wrap changes at most (standalone.cc); a table for every signal is three pages.
  static constexpr size_t kMost = 16;

  sigset_t mask_{};
  std::array<Change, kMost> changes_{};
  size_t count_ = 0;
};

// The signals that wrap takes by signalfd(2) while CMD runs: all that can be caught, but for those that a fault of our
// own raises and those we ignore (SIGPIPE, SIGXFSZ: a write of ours that cannot be done is an error, not our end).
[[nodiscard]] sigset_t watched_signals();

// True if a process sent it (kill(2), sigqueue(3)) rather than the kernel. What the terminal sends reaches the whole
// process group, CMD included, so only the former is passed on.
[[nodiscard]] constexpr bool sent_by_process(int si_code) {
  return si_code <= 0;
}

// Stops this process as `signal` stops one, and returns when it is continued. In an orphaned process group the kernel
// does not stop for terminal signals; then it returns at once.
void stop_self(int signal);

}  // namespace wrapd::client
