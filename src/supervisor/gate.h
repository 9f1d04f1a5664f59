// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one place where calls ask. A call says what it is about to do to which object. The gate has that judged, refuses
// it, has somebody asked about it, or lets the call act, and keeps the record of it. A call never sees a rule, and what
// judges never sees the kernel.
//
// The record begins with the decision that lets a call go on. From then on the call acts, or says why nothing was done.
// A way out that does neither leaves a record which says that the call was not finished.

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernel/kernel.h"
#include "policy/layers.h"
#include "supervisor/approvals.h"
#include "supervisor/caller.h"
#include "supervisor/calls/names_lock.h"
#include "supervisor/handler.h"
#include "supervisor/identities.h"
#include "supervisor/name_rules.h"

namespace wrapd::supervisor {

// True for a path that no policy can open: the service's own places.
[[nodiscard]] bool is_protected(std::string_view path);

// What the calls of a session are made of. Copies are of the same session.
struct SessionObjects {
  kernel::Objects& kernel;
  const policy::Layers& layers;
  int root;  // O_PATH
  const Identities& identities;
  Approvals& approvals;
  std::shared_ptr<NamesLock> names_lock = std::make_shared<NamesLock>();
};

class Gate {
 public:
  explicit Gate(const SessionObjects& session)
      : layers_(session.layers),
        identities_(session.identities),
        approvals_(session.approvals),
        name_rules_(session.layers, session.identities) {}

  // What keeps names from being made or moved.
  [[nodiscard]] NameRules& name_rules() { return name_rules_; }

 private:
  friend class GatedCall;
  const policy::Layers& layers_;
  const Identities& identities_;
  Approvals& approvals_;
  NameRules name_rules_;
};

// One call at the gate. Each function that gives an Outcome ends it.
class GatedCall {
 public:
  GatedCall(Gate& gate, const Caller& call, CallContext& context)
      : gate_(gate), call_(call), context_(context), record_(record_of(call.number)) {}
  ~GatedCall();
  GatedCall(const GatedCall&) = delete;
  GatedCall& operator=(const GatedCall&) = delete;

  // The object: a real path, or an abstract name without '@'.
  void about(std::string path) { record_.path = std::move(path); }
  void about_abstract(std::string_view name);
  // The second name of a call that has two.
  void towards(std::string path) { record_.second_path = std::move(path); }
  [[nodiscard]] const std::string& path() const { return record_.path; }

  // --- Judging. Nothing: the call may go on. Everything that was read by the task's number is read before: it counts
  // only if the task is still in this call, which is looked at here.

  // By the name, and by what the object is where there is one (a descriptor).
  [[nodiscard]] std::optional<Outcome> judge(policy::Operation operation, int object = -1,
                                             const struct stat* st = nullptr);
  // Of any class, by what the call has asked about.
  [[nodiscard]] std::optional<Outcome> judge(const policy::Request& request);
  // An object that has no name: what all names get, if that is one verdict.
  [[nodiscard]] std::optional<Outcome> judge_nameless(policy::Operation operation);
  // Names that are made or moved: nothing is recorded where no rule forbids it.
  [[nodiscard]] std::optional<Outcome> judge_names(const std::optional<policy::Decision>& forbidden);

  // --- Ends

  // Does the call. Nothing may come between the judgement and this but what takes the locks that it needs. `peer`: see
  // CallContext::may_wait_for().
  template <class Act>
  [[nodiscard]] Outcome act(Act act, uint64_t peer = 0) {
    if (!context_.may_wait_for(peer)) return over();
    acts();
    return answer(Answer::of(act()));
  }
  // For a call that waits by itself: acts() once it may wait, then answer().
  void acts() { record_.done = begun_; }
  // What the program gets from the kernel, or would get without us. Recorded if the call acted.
  [[nodiscard]] Outcome answer(Answer answer);
  [[nodiscard]] Outcome error(int error) { return answer(Answer::errno_of(error)); }
  // The call is over: nothing is done any more, and the answer reaches nobody.
  [[nodiscard]] Outcome over() { return error(EINTR); }
  // The supervisor refuses, for a reason of its own: no layer's rule says so.
  [[nodiscard]] Outcome refuse(std::string reason, int error = EACCES);
  // The same for the service's own places, where nothing is told of what there is.
  [[nodiscard]] Outcome refuse_protected();
  // A step before the decision failed: an errno of the kernel's for the program, or a refusal of ours.
  [[nodiscard]] Outcome failed(const Failure& failure);
  // The call is judged anew by another one of these.
  void withdraw() { begun_ = false; }
  // What no policy can open: refused if a layer enforces, else this answer, and only recorded.
  [[nodiscard]] Outcome refuse_or_record(std::string reason, Answer answer);

 private:
  [[nodiscard]] policy::Decision decide(policy::Operation operation, int object);
  [[nodiscard]] std::optional<Outcome> begin(policy::Decision decision, const struct stat* st);
  [[nodiscard]] std::optional<Outcome> ask(const struct stat* st);
  [[nodiscard]] Outcome denied(int error = EACCES);

  Gate& gate_;
  const Caller& call_;
  CallContext& context_;
  Record record_;
  bool begun_ = false;  // a decision lets the call go on, and it has not ended yet
};

}  // namespace wrapd::supervisor
