// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a handler of a class of system calls gets and gives. A handler decides on a copy of the arguments, does the call
// itself on objects that it holds, and says what to answer and what to record. It never sees the listener: the loop
// answers, and it answers once.

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "audit/event.h"
#include "kernel/kernel.h"
#include "kernel/trap_source.h"
#include "policy/layers.h"

namespace wrapd::supervisor {

using kernel::Answer;
using kernel::Notification;

// What was decided, to be recorded once the answer is given.
struct Record {
  std::string operation;
  policy::Decision decision;
  std::string path;  // or the abstract name
  bool abstract = false;
  std::string second_path;  // where a rename or a link leads
  std::string reason;       // where no rule says why: "protected", "race", ...
  bool done = false;        // the operation was carried out (whatever the kernel said of it)
  bool approved = false;    // it was asked about, and somebody allowed it
  std::string comm;         // Caller::name(); empty: not known
  std::string exe;
};

// A record with who asked, what the program got, and when.
struct TimedRecord {
  Record record;
  pid_t tid = 0;
  int error = 0;
  std::chrono::system_clock::time_point time;
};

struct Outcome {
  Answer answer;
  std::optional<Record> record{};
  // Not 0: the call waits for the answer to this question (approvals.h), and the handler is waiting for it. When it is
  // allowed the call is handled again; else `answer` and `record` are what it gets.
  uint64_t question = 0;
};

// A handler's view of the thread it runs on.
class CallContext {
 public:
  virtual ~CallContext() = default;
  // To be called once the decision is made, immediately before the operation and with all locks that it needs: from
  // here on it may take as long as the target lives. Until then the call may be refused by the deadline at any time.
  // `peer`: not 0 where waits for one peer are woken one at a time (connect(2) to a unix socket), and the same for all
  // of them: what one misses because it is interrupted is passed on to another. False: the call is over; nothing is to
  // be done any more, and what is answered reaches nobody.
  [[nodiscard]] virtual bool may_wait_for(uint64_t peer) = 0;
  [[nodiscard]] bool may_wait() { return may_wait_for(0); }
  // The same where waiting is the rule: lets another thread receive at once, instead of when the delay is noticed.
  [[nodiscard]] virtual bool will_wait() = 0;
  // After an operation that ended with EINTR: the errno for the target, or 0 if the operation is to be tried again.
  // kRestart: the target is to make its call anew once it has handled its signal. EAGAIN: too many calls wait, and this
  // one is refused, to be recorded with kTooManyWait.
  [[nodiscard]] virtual int interrupted() = 0;
};

// Ends a wait of one of our threads. A standard signal, because one of those needs no room in anybody's queue, and one
// that does nothing where nobody handles it.
inline constexpr int kInterruptSignal = SIGURG;

// ERESTARTSYS (include/linux/errno.h). What keeps it from programs is said in pending_signals.h.
inline constexpr int kRestart = 512;

inline constexpr const char* kTooManyWait = "too many calls wait at once";

class Caller;  // caller.h

class Handler {
 public:
  virtual ~Handler() = default;
  // Called by several threads at once.
  [[nodiscard]] virtual Outcome handle(const Caller& call, CallContext& context) = 0;
};

}  // namespace wrapd::supervisor
