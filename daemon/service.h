// SPDX-License-Identifier: Apache-2.0
#pragma once

// The service as a whole: puts its parts together, loads and reloads what the administrator wrote, finds the sessions
// again that an earlier run has left, and ends when it is idle. What can be asked of it is ServiceApi; the code that
// speaks for callers besides the control socket (daemon/bus) holds a reference, between start() and serve().

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/activation.h"
#include "daemon/administration.h"
#include "daemon/broker.h"
#include "daemon/connection_closer.h"
#include "daemon/event_loop.h"
#include "daemon/fd_store.h"
#include "daemon/journal.h"
#include "daemon/options.h"
#include "daemon/policy_checker.h"
#include "daemon/policy_tester.h"
#include "daemon/service_api.h"
#include "daemon/session_table.h"
#include "daemon/user_directory.h"
#include "daemon/worker.h"

namespace wrapd::daemon {

class Service final : public ServiceApi {
 public:
  static constexpr int kExitFailure = 1;
  static constexpr int kExitIdle = 75;    // the unit starts us again when somebody comes
  static constexpr int kExitConfig = 78;  // EX_CONFIG: the unit does not start us again

  Service(EventLoop& loop, Options options);
  ~Service() override;

  // Takes everything that serving needs. What fails is for stderr; failure_status() is the exit status then.
  [[nodiscard]] Result<> start();
  [[nodiscard]] int failure_status() const { return failure_status_; }
  // READY, then the loop until it is told to stop. Exit status.
  [[nodiscard]] int serve();

  // `busy` tells whether somebody else still needs the service: then it does not end for being idle.
  void veto_idle_exit(std::function<bool()> busy) { busy_elsewhere_ = std::move(busy); }
  // Called when it ends for being idle, after the manager was told: to leave in order, and then call `done`.
  using Retire = std::function<void(std::function<void()> done)>;
  void before_idle_exit(Retire retire) { retire_ = std::move(retire); }
  // Somebody came: being idle starts anew.
  void note_activity() { last_activity_ = std::chrono::steady_clock::now(); }

  void observe(ServiceObserver* observer) override;
  void open_session(const wire::OpenRequest& request, const PeerCredentials& caller, UniqueFd pidfd,
                    std::function<void(ApiResult<OpenedSession>)> done) override;
  [[nodiscard]] std::vector<SessionInfo> sessions() const override;
  [[nodiscard]] std::optional<SessionInfo> session(std::string_view id) const override;
  ApiResult<> terminate(std::string_view id, std::string_view by) override;
  [[nodiscard]] std::vector<PolicyInfo> policies(const PeerCredentials& caller) const override;
  [[nodiscard]] ApiResult<PolicyText> describe_policy(const PeerCredentials& caller,
                                                      std::string_view name) const override;
  void test_policy(const PeerCredentials& caller, std::string_view name, std::string_view operation,
                   std::string_view target, std::function<void(ApiResult<PolicyVerdict>)> done) override;
  void check_policy(const PeerCredentials& caller, std::string_view text,
                    std::function<void(ApiResult<std::vector<std::string>>)> done) override;
  void reload(std::string by, std::function<void(ApiResult<>)> done) override;
  void note_refusal(const PeerCredentials& caller, std::string_view operation, std::string_view session,
                    std::string reason) override;
  [[nodiscard]] std::vector<QuestionInfo> questions() const override;
  [[nodiscard]] std::optional<QuestionInfo> question(std::string_view id) const override;
  ApiResult<> answer_question(std::string_view id, bool allow, std::string_view by) override;
  void has_account(uid_t uid, std::function<void(bool)> done) override;
  [[nodiscard]] std::vector<std::string> features() const override;

 private:
  using ReloadDone = std::function<void(ApiResult<>)>;

  [[nodiscard]] Result<> make_parts(int control);
  [[nodiscard]] Result<> take_administration(int control);
  void restore(std::vector<PassedFd> stored);
  [[nodiscard]] Result<> start_broker(UniqueFd control);
  [[nodiscard]] Result<> watch_signals();
  void exit(int status, const std::string& why);

  void start_reload(std::string by);
  void load();
  void on_loaded(const Result<Administration>& loaded);
  // Empty: it is in force now. Else why not.
  [[nodiscard]] std::string put_in_force(const Result<Administration>& loaded, const std::string& by);
  void refresh_staleness();

  [[nodiscard]] std::string status() const;
  void refresh_status();
  [[nodiscard]] bool idle() const;
  void watch_idleness(std::chrono::milliseconds delay);
  void on_idle_timer();
  void retire();

  static constexpr int kStopSignals[] = {SIGTERM, SIGINT};
  EventLoop& loop_;
  Options options_;
  Journal journal_;
  FdStore store_;
  Administration administration_;
  std::shared_ptr<const SubordinateIds> subordinate_ids_;
  UniqueFd lock_;
  RuntimeDirectory runtime_;
  std::unique_ptr<ConnectionCloser> closer_;
  std::unique_ptr<UserDirectory> users_;
  std::unique_ptr<SessionTable> sessions_;
  std::unique_ptr<PolicyTester> tester_;
  std::unique_ptr<PolicyChecker> checker_;
  std::unique_ptr<Broker> broker_;
  std::unique_ptr<Worker> loader_;

  std::function<bool()> busy_elsewhere_;
  Retire retire_;
  std::chrono::steady_clock::time_point last_activity_ = std::chrono::steady_clock::now();
  EventSource idle_timer_;

  bool reloading_ = false;
  bool reload_again_ = false;
  std::set<std::string> reload_by_;        // who asked for the one that runs
  std::set<std::string> reload_again_by_;  // and for the one after it
  bool reload_failed_ = false;
  std::vector<ReloadDone> reload_done_;        // of the reload that runs
  std::vector<ReloadDone> reload_again_done_;  // of the one after it: the files may have changed since this one began

  std::string told_status_;
  EventSource status_timer_;
  EventSource stop_[std::size(kStopSignals)];
  EventSource reload_;
  int failure_status_ = kExitFailure;
  int exit_status_ = 0;
};

}  // namespace wrapd::daemon
