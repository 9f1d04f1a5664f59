// SPDX-License-Identifier: Apache-2.0
#include "supervisor/loop/call_slot.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace wrapd::supervisor {

struct CallSlotModel {
  static void copy(const CallSlot& from, CallSlot& to) { to.word_ = from.word_.load(); }
};

namespace {

struct Slot : CallSlot {
  Slot() = default;
  Slot(const Slot& other) { CallSlotModel::copy(other, *this); }
  Slot& operator=(const Slot& other) {
    CallSlotModel::copy(other, *this);
    return *this;
  }
};

// A model of one worker, the monitor, and what the world does to the worker's calls: two calls, one after the other.
// The slot is the real one; each step is one of its operations, as loop.cc makes them, or one thing that happens
// outside. Every interleaving is tried, without an actor and with one that does the worker's handling in its place.

// `posted`: the actor is done, and the worker does not know it yet.
enum class At : uint8_t { idle, handling, in_kernel, interrupted, settling, posted, back, sent, recorded, done };

struct World {
  Slot slot;
  // The worker.
  At at = At::idle;
  int call = 0;            // its number, from 1
  bool signalled = false;  // an interrupting signal is pending for its thread
  bool passed_on = false;  // one is pending for the actor
  bool answers_itself = false;
  int why = 0;  // WaitEnd that it saw
  // The monitor.
  CallSlot::View seen;
  bool has_seen = false;
  bool sending = false;  // holds signal_lock, has found the slot ending
  // The world.
  bool dead[3] = {};  // the target of a call
  bool late[3] = {};  // its deadline has passed
  bool nudged[3] = {};
  int answers[3] = {};
  int stray = 0;  // signals that came to another call than the one that they were for
  int meant_for = 0;

  auto key() const {
    const auto view = slot.view();
    return std::tuple(view.call, view.state, view.reason, at, call, signalled, passed_on, answers_itself, why,
                      seen.call, seen.state, seen.reason, has_seen, sending, dead[1], dead[2], late[1], late[2],
                      nudged[1], nudged[2], answers[1], answers[2], std::pair(stray, meant_for));
  }
};

constexpr int kCalls = 2;

struct Faults {
  bool monitor_trusts_old_view = false;  // ends the slot's call, whichever it is
  bool both_answer = false;              // an abandoned call's worker answers, too
  bool once = false;                     // the monitor interrupts a wait a single time
  bool without_lock = false;             // the worker does not wait for a signal that is being sent
  bool worker_does_not_settle = false;   // it goes on after the actor's work with a signal pending
  bool actor_does_not_settle = false;    // it begins its work with a signal pending
  bool actor = false;                    // no fault: there is one
};

std::vector<World> steps(const World& from, const Faults& faults) {
  std::vector<World> next;
  auto step = [&](auto change) {
    World to = from;
    change(to);
    next.push_back(to);
  };
  const CallSlot::View view = from.slot.view();
  const At handled = faults.actor ? At::posted : At::back;

  // The worker, which waits for the actor while this one handles the call.
  if (faults.actor && from.signalled && from.at >= At::handling && from.at <= At::posted) {
    step([](World& w) {
      w.signalled = false;
      w.passed_on = true;
    });
  }
  switch (from.at) {
    case At::idle:
      if (from.call < kCalls) {
        step([&](World& w) {
          ++w.call;
          w.slot.begin();
          w.at = At::handling;
          w.why = 0;
          if (w.signalled) ++w.stray;
          if (w.passed_on && faults.actor_does_not_settle) ++w.stray;
          w.passed_on = false;
        });
      } else {
        step([](World& w) { w.at = At::done; });
      }
      break;
    case At::handling:
      step([&](World& w) { w.at = handled; });  // decided without waiting
      step([&](World& w) { w.at = w.slot.wait() ? At::in_kernel : handled; });
      break;
    case At::in_kernel:
      step([&](World& w) { w.at = handled; });  // the operation came back with its result
      if (faults.actor ? from.passed_on : from.signalled) {
        step([&](World& w) {
          (faults.actor ? w.passed_on : w.signalled) = false;
          w.at = At::interrupted;
        });
      }
      break;
    case At::interrupted:
      step([&](World& w) {
        if (view.state != CallState::ending) {
          w.at = At::in_kernel;  // not meant for this: the operation again
        } else if (view.reason != WaitEnd::look_again) {
          w.at = handled;
        } else if (w.slot.look_again()) {
          w.at = At::settling;
        }
      });
      break;
    case At::settling:
      if (from.sending && !faults.without_lock) break;
      step([&](World& w) {
        (faults.actor ? w.passed_on : w.signalled) = false;  // of the thread that is here
        w.at = At::in_kernel;
      });
      break;
    case At::posted:
      step([&](World& w) {
        if (!faults.worker_does_not_settle) w.signalled = false;
        w.at = At::back;
      });
      break;
    case At::back:
      step([&](World& w) {
        w.answers_itself = w.slot.take() || faults.both_answer;
        w.why = static_cast<int>(w.slot.view().reason);
        w.at = At::sent;
      });
      break;
    case At::sent:
      // settle_signals(): not while one is being sent; what is pending is taken.
      if (from.why != 0 && from.sending && !faults.without_lock) break;
      step([](World& w) {
        if (w.why != 0) w.signalled = false;
        if (w.answers_itself) ++w.answers[w.call];
        w.at = At::recorded;
      });
      break;
    case At::recorded:
      step([](World& w) {
        w.slot.finish();
        w.at = At::idle;
      });
      break;
    case At::done:
      break;
  }

  // The monitor: looks, then acts on what it saw, whatever happened in between.
  if (!from.sending) {
    step([&](World& w) {
      w.seen = view;
      w.has_seen = true;
    });
  }
  if (from.has_seen && !from.sending) {
    const int call = static_cast<int>(from.seen.call);
    auto target = [&](World& w) { return faults.monitor_trusts_old_view ? w.slot.view() : w.seen; };
    if (from.seen.state == CallState::deciding && from.late[call]) {
      step([&](World& w) {
        if (w.slot.abandon(target(w))) ++w.answers[call];
        w.has_seen = false;
      });
    }
    if (from.seen.state == CallState::waiting && from.dead[call]) {
      step([&](World& w) {
        if (w.slot.end(target(w), WaitEnd::died)) w.meant_for = call;
        w.has_seen = false;
      });
    }
    if (from.seen.state == CallState::waiting && !from.nudged[call]) {
      step([&](World& w) {
        w.nudged[call] = true;
        if (w.slot.end(target(w), WaitEnd::look_again)) w.meant_for = call;
        w.has_seen = false;
      });
    }
    if (from.seen.state == CallState::ending && view.state == CallState::ending) {
      step([](World& w) {
        w.sending = true;  // the lock is taken and the state found to be `ending`
        w.has_seen = false;
      });
    }
  }
  if (from.sending) {
    step([&](World& w) {
      w.sending = false;
      if (w.call != static_cast<int>(view.call) || w.at == At::idle || w.at == At::done) ++w.stray;
      w.signalled = true;
    });
  }

  // The world.
  if (from.call > 0) {
    if (!from.dead[from.call]) step([](World& w) { w.dead[w.call] = true; });
    if (!from.late[from.call]) step([](World& w) { w.late[w.call] = true; });
  }
  return next;
}

struct Findings {
  size_t worlds = 0;
  bool two_answers = false;
  bool lost = false;           // a call that its worker left without an answer
  bool wrongly_ended = false;  // a call whose target lives was told that it had died
  bool stray_signal = false;
  bool stuck = false;  // a worker waits, its target is dead, and nothing that the monitor does ends it
};

// From here, with the operation never coming back by itself, does the monitor bring the worker out?
bool comes_back(World world, const Faults& faults) {
  bool sent = false;
  for (int turn = 0; turn < 8; ++turn) {
    if (world.at != At::in_kernel && world.at != At::interrupted) return true;
    const CallSlot::View view = world.slot.view();
    if (view.state == CallState::waiting) {
      (void)world.slot.end(view, WaitEnd::died);
    } else if (view.state == CallState::ending && view.reason == WaitEnd::look_again && turn > 4) {
      return false;
    }
    if (world.slot.view().state == CallState::ending && !(faults.once && (sent || world.sending))) {
      world.signalled = sent = true;
    }
    world.sending = false;
    if (world.at == At::in_kernel && (world.signalled || world.passed_on)) {
      world.signalled = world.passed_on = false;
      world.at = At::interrupted;
      continue;
    }
    if (world.at != At::interrupted) continue;
    const CallSlot::View now = world.slot.view();
    if (now.state != CallState::ending) {
      world.at = At::in_kernel;
    } else if (now.reason != WaitEnd::look_again) {
      world.at = At::back;
    } else if (world.slot.look_again()) {
      world.at = At::in_kernel;
    }
  }
  return false;
}

Findings explore(const Faults& faults) {
  Findings found;
  std::set<decltype(World{}.key())> known;
  std::vector<World> open{World{}};
  known.insert(open[0].key());
  while (!open.empty()) {
    World world = open.back();
    open.pop_back();
    ++found.worlds;
    for (int call = 1; call <= kCalls; ++call) {
      if (world.answers[call] > 1) found.two_answers = true;
      const bool left = world.call > call || (world.call == call && (world.at == At::idle || world.at == At::done));
      if (left && world.answers[call] == 0) found.lost = true;
    }
    const CallSlot::View view = world.slot.view();
    if (view.state == CallState::ending && view.reason == WaitEnd::died && !world.dead[world.call]) {
      found.wrongly_ended = true;
    }
    if (world.stray > 0) {
      found.stray_signal = true;
      continue;
    }
    if (world.at == At::in_kernel && world.dead[world.call] && !comes_back(world, faults)) found.stuck = true;
    for (const World& next : steps(world, faults)) {
      if (known.insert(next.key()).second) open.push_back(next);
    }
  }
  return found;
}

TEST(CallSlot, HoldsInEveryInterleaving) {
  for (bool actor : {false, true}) {
    Findings found = explore({.actor = actor});
    EXPECT_GT(found.worlds, 1000U);
    EXPECT_FALSE(found.two_answers);
    EXPECT_FALSE(found.lost);
    EXPECT_FALSE(found.wrongly_ended);
    EXPECT_FALSE(found.stray_signal);
    EXPECT_FALSE(found.stuck);
  }
}

// And the model notices what it is for.
TEST(CallSlot, AMonitorThatTrustsAnOldViewEndsTheWrongCall) {
  EXPECT_TRUE(explore({.monitor_trusts_old_view = true}).wrongly_ended);
}
TEST(CallSlot, AnAbandonedCallIsAnsweredTwiceIfItsWorkerAnswers) {
  EXPECT_TRUE(explore({.both_answer = true}).two_answers);
}
TEST(CallSlot, ASignalThatIsSentOnceMayComeTooEarly) {
  EXPECT_TRUE(explore({.once = true}).stuck);
}
TEST(CallSlot, WithoutTheLockASignalReachesTheNextCall) {
  EXPECT_TRUE(explore({.without_lock = true}).stray_signal);
}
TEST(CallSlot, ASignalThatComesWhenTheActorIsDoneReachesTheNextCall) {
  EXPECT_TRUE(explore({.actor_does_not_settle = true, .actor = true}).stray_signal);
  EXPECT_TRUE(explore({.worker_does_not_settle = true, .actor = true}).stray_signal);
}

}  // namespace
}  // namespace wrapd::supervisor
