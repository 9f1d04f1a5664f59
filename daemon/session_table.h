// SPDX-License-Identifier: Apache-2.0
#pragma once

// The sessions that supervisors run. The service only watches: it takes the per-caller sockets away once both hand-offs
// are done, passes orders on, ends a supervisor that does not get anywhere or says what it may not, and records the end
// of one that could not do so itself. A supervisor outlives the service; destroying the table touches none.
//
//   starting ─ ready ─> handing off ─ running ─> running ─ terminating ─> terminating ─ finished ─> finished ─ exit
//
// Reports only go forward, and there are only so many in a time. A supervisor that runs soon need not say before that
// it is ready. A session that was found again after a restart may start anywhere, and says again where it is.
//
// A caller that was told that something is done must be able to rely on it, also if the service dies in the
// next instant. So an answer to a question counts as given once it lies in the channel, which the supervisor still
// reads then. That a session was told to end lies in the store: whatever its supervisor does, the next run of the
// service gives the order again and ends it by force at the same deadline.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "daemon/event_loop.h"
#include "daemon/fd_store.h"
#include "daemon/journal.h"
#include "daemon/question_table.h"
#include "daemon/quota.h"
#include "daemon/service_api.h"
#include "daemon/session_directory.h"
#include "daemon/session_record.h"
#include "daemon/supervisor_process.h"
#include "wire/session_end.h"
#include "wire/supervisor_channel.h"

namespace wrapd::daemon {

class SessionTable {
 public:
  static constexpr std::chrono::seconds kStepDeadline{10};
  struct Deadlines {
    std::chrono::milliseconds step = kStepDeadline;  // to be ready; then to be running; at last to be gone
    std::chrono::milliseconds end{30'000};           // to end the tree, once told to
    std::chrono::milliseconds answer_grace{5'000};   // for a supervisor to drop a question whose time is over
  };

  SessionTable(EventLoop& loop, Journal& journal, FdStore& store, Deadlines deadlines);
  ~SessionTable();

  void observe(ServiceObserver* observer);
  // Called when a session has come or gone.
  void on_change(std::function<void()> call) { on_change_ = std::move(call); }
  // Called when a session that was opened in this run of the service runs.
  void on_running(std::function<void()> call) { on_running_ = std::move(call); }

  // What each user has open. A ticket of it belongs to each session.
  [[nodiscard]] Quota& places() { return places_; }
  // How many waiting calls the sessions were given.
  [[nodiscard]] const Quota& calls() const { return calls_; }

  // A supervisor that has its configuration. On failure it is killed, its directory removed, its descriptors taken out
  // of the store.
  [[nodiscard]] Result<> add(SessionFacts facts, SessionDirectory directory, SupervisorProcess process,
                             Quota::Ticket ticket);
  // A session of an earlier run of the service. Its supervisor may have died meanwhile: then its last words are heard,
  // and its end is recorded unless they say that it has recorded it.
  [[nodiscard]] Result<> restore(SessionFacts facts, SessionDirectory directory, SupervisorProcess process,
                                 std::optional<EndOrder> end, Quota::Ticket ticket);

  [[nodiscard]] bool contains(std::string_view id) const { return sessions_.find(id) != sessions_.end(); }
  [[nodiscard]] size_t size() const { return sessions_.size(); }
  [[nodiscard]] std::vector<SessionInfo> list() const;
  [[nodiscard]] std::optional<SessionInfo> find(std::string_view id) const;

  // An error other than NoSuchSession: it is being ended, but a restart of the service could forget that; ask again.
  ApiResult<> terminate(std::string_view id, std::string_view by);
  [[nodiscard]] const QuestionTable& questions() const { return questions_; }
  // LimitExceeded: the supervisor takes nothing now, and the question is still open.
  ApiResult<> answer(std::string_view question, bool allow, std::string_view by);

  // Judges every session anew by the policy and the digest that it was opened with.
  using StaleCheck = std::function<bool(std::string_view policy, std::string_view digest)>;
  void refresh_staleness(StaleCheck stale);

 private:
  enum class Step { starting, handing_off, running, terminating, finished };
  struct Session;
  void count_calls(Session& session);
  [[nodiscard]] Result<> enter(std::unique_ptr<Session> session);
  [[nodiscard]] Result<> set_deadline(Session& session, std::chrono::milliseconds limit);
  [[nodiscard]] Result<> arm_for_step(Session& session);

  void on_channel(Session& session, uint32_t events);
  // All that there is to be read; it has an end, because a flood has one.
  void read_remaining_reports(Session& session);
  // False when there is no more to be read.
  bool read_report(Session& session);
  void on_report(Session& session, const wire::SupervisorReport& report);
  [[nodiscard]] Result<> on_state(Session& session, wire::SupervisorState state);
  [[nodiscard]] Result<> on_question(Session& session, const wire::QuestionReport& question);
  [[nodiscard]] Result<> on_counters(Session& session, const wire::CounterReport& counters);
  void on_deadline(Session& session);
  void on_exit(Session& session);
  void end_by_force(Session& session, wire::EndReason reason, const std::string& detail = {});
  void record_end(const Session& session, const Result<std::string>& end);

  // Sends now what the channel takes, the rest when it takes it.
  void order(Session& session, const wire::ServiceOrder& order);
  void send_orders(Session& session);
  void order_end(Session& session, EndOrder end);
  [[nodiscard]] Result<> store_end(Session& session);

  void changed(const Session& session);
  [[nodiscard]] static SessionInfo info_of(const Session& session);

  EventLoop& loop_;
  Journal& journal_;
  FdStore& store_;
  Deadlines deadlines_;
  ServiceObserver* observer_ = nullptr;
  std::function<void()> on_change_;
  std::function<void()> on_running_;
  StaleCheck stale_;
  Quota places_;
  Quota calls_;
  QuestionTable questions_;
  std::map<std::string, std::unique_ptr<Session>, std::less<>> sessions_;
};

}  // namespace wrapd::daemon
