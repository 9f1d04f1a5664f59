// SPDX-License-Identifier: Apache-2.0
#pragma once

// The life of one call in the thread that handles it, as one word that the thread (worker) and the monitor change by
// compare-and-swap. Nothing else says how far a call is. The thread that makes the change does what the row says.
//
//   state      who      what happened                     becomes    does
//   ---------  -------  --------------------------------  ---------  -----------------------------------------------
//   idle       worker   received a call                   deciding   handles it
//   deciding   worker   begins an operation that may wait  waiting    the operation
//   deciding   worker   has the outcome                   answering  answers
//   deciding   monitor  the deadline has passed           abandoned  answers: refused
//   waiting    worker   the operation came back           answering  answers
//   waiting    monitor  target died, must run a handler   ending     interrupts the thread, again and again,
//                       or stop, its place is needed,                until the state is another
//                       or the wait is to look again
//   ending     worker   came back with a result           answering  answers with it
//   ending     worker   came back interrupted             answering  answers as the reason says
//   ending     worker   came back, is only to look again   waiting    the operation, again
//   abandoned  worker   begins to wait, or has an outcome  abandoned  nothing: it is nobody's call any more
//   answering  worker   recorded                          idle
//   abandoned  worker   came back                         idle
//
// So a call is answered by exactly one of them: only one can leave `deciding`, and from `waiting` on only the worker
// answers. A word carries the number of its call: the monitor changes the call that it looked at, or none.
//
// The signal that interrupts is sent with `signal_lock` held and only in state `ending`; a worker that leaves `ending`
// takes the lock once. So no signal reaches another call than the one that it is meant for. Where an actor (actors.h)
// does the work, the worker passes the signal on, perhaps when the work is done; both take what is then pending, the
// worker before it goes on and the actor before it begins another work. The exception is Loop::stop(), which signals
// every thread until it has gone: no call comes after.

#include <atomic>
#include <cstdint>

namespace wrapd::supervisor {

enum class CallState : uint8_t { idle, deciding, waiting, ending, answering, abandoned };

// Why a wait ends.
enum class WaitEnd : uint8_t {
  none,
  died,       // the target
  restart,    // the target has a signal to handle or must stop: the call begins anew afterwards, or fails with EINTR
  interrupt,  // the same where it must be EINTR
  crowded,    // the thread is needed for calls that do not wait
  stopping,   // the session's end
  look_again  // another wait for the same peer ended, and may have taken this one's wake-up with it
};

class CallSlot {
 public:
  struct View {
    uint64_t call = 0;  // counts the calls of this slot
    CallState state = CallState::idle;
    WaitEnd reason = WaitEnd::none;
    bool operator==(const View&) const = default;
  };

  [[nodiscard]] View view() const { return unpack(word_.load(std::memory_order_acquire)); }

  // The worker's.
  void begin() {
    View now = view();
    word_.store(pack({.call = now.call + 1, .state = CallState::deciding, .reason = WaitEnd::none}));
  }
  // False if the call was abandoned.
  [[nodiscard]] bool wait() { return change(CallState::deciding, CallState::waiting); }
  // Back to the wait if the reason was to look again.
  [[nodiscard]] bool look_again() {
    View now = view();
    return now.state == CallState::ending && now.reason == WaitEnd::look_again &&
           swap(now, {.call = now.call, .state = CallState::waiting, .reason = WaitEnd::none});
  }
  // Takes the answer. False: the call was abandoned, and has been answered.
  [[nodiscard]] bool take() {
    for (;;) {
      View now = view();
      if (now.state == CallState::abandoned) return false;
      if (swap(now, {.call = now.call, .state = CallState::answering, .reason = now.reason})) return true;
    }
  }
  void finish() { word_.store(pack({.call = view().call, .state = CallState::idle, .reason = WaitEnd::none})); }

  // The monitor's, about the call that it saw.
  [[nodiscard]] bool abandon(const View& seen) {
    return seen.state == CallState::deciding &&
           swap(seen, {.call = seen.call, .state = CallState::abandoned, .reason = WaitEnd::none});
  }
  // Also where the wait is only to look again so far.
  [[nodiscard]] bool end(const View& seen, WaitEnd reason) {
    const bool may_end =
        seen.state == CallState::waiting || (seen.state == CallState::ending && seen.reason == WaitEnd::look_again);
    return may_end && swap(seen, {.call = seen.call, .state = CallState::ending, .reason = reason});
  }

 private:
  static uint64_t pack(const View& view) {
    return view.call << 16 | static_cast<uint64_t>(view.reason) << 8 | static_cast<uint64_t>(view.state);
  }
  static View unpack(uint64_t word) {
    return {.call = word >> 16,
            .state = static_cast<CallState>(word & 0xff),
            .reason = static_cast<WaitEnd>(word >> 8 & 0xff)};
  }
  [[nodiscard]] bool swap(const View& from, const View& to) {
    uint64_t expected = pack(from);
    return word_.compare_exchange_strong(expected, pack(to));
  }
  [[nodiscard]] bool change(CallState from, CallState to) {
    View now = view();
    return now.state == from && swap(now, {.call = now.call, .state = to, .reason = WaitEnd::none});
  }

  friend struct CallSlotModel;  // of the test: puts a slot into a state that another one had

  std::atomic<uint64_t> word_{0};
};

}  // namespace wrapd::supervisor
