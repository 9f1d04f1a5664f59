// SPDX-License-Identifier: Apache-2.0
#pragma once

// org.wrapd1 on the system bus (docs/org.wrapd1.xml). Connects on a thread, serves on the loop's, and waits for nobody
// there. A bus that is absent or goes away is tried again, at growing intervals; the service goes on without.

#include <systemd/sd-bus.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "daemon/bus/admission.h"
#include "daemon/bus/compat.h"
#include "daemon/bus/outflow.h"
#include "daemon/bus/rates.h"
#include "daemon/event_loop.h"
#include "daemon/service_api.h"
#include "daemon/worker.h"

namespace wrapd::daemon::bus {

struct BusSettings {
  std::chrono::milliseconds polkit_timeout = std::chrono::minutes(2);
  std::chrono::milliseconds retry_first{100};
  std::chrono::milliseconds retry_most = std::chrono::seconds(30);
  Rate rate;
  // Called for each method call that was let in.
  std::function<void()> on_call = [] {};
};

class BusApi final : private ServiceObserver {
 public:
  // Observes `service`, which must outlive this. Connects from the loop; the bus need not be there.
  [[nodiscard]] static Result<std::unique_ptr<BusApi>> create(EventLoop& loop, ServiceApi& service,
                                                              BusSettings settings = {});
  // Withdraws from polkit and leaves the bus.
  ~BusApi() override;

  // A caller waits for an answer.
  [[nodiscard]] bool busy() const noexcept;
  // Gives the name back, so that from here on a call starts the next service, answers the calls that came before, and
  // then calls `done`; at the latest when they have had kRetireWithin. For good: the service manager must know already
  // that we stop.
  static constexpr std::chrono::seconds kRetireWithin{5};
  void retire(std::function<void()> done);

 private:
  struct Link;
  BusApi(EventLoop& loop, ServiceApi& service, BusSettings settings);

  void connect();
  void on_connected(std::shared_ptr<sdbus::IConnection> connection, const std::string& problem);
  [[nodiscard]] Result<> serve(std::shared_ptr<sdbus::IConnection> connection);
  [[nodiscard]] bool on_message(sd_bus_message* message);
  void on_name(sdbus::MethodReply& reply, const sdbus::Error* error);
  void release_name();
  void finish_when_answered();
  // For good.
  void leave() noexcept;
  void lose_soon(std::string why);
  void lose(const std::string& why);
  // Runs `work` on the objects, if we are on a bus.
  template <class Work>
  void publish(Work&& work) noexcept;

  void session_added(const SessionInfo& session) override;
  void session_changed(const SessionInfo& session) override;
  void session_removed(const SessionInfo& session) override;
  void denied(const SessionInfo& session, const wire::DenialReport& denial) override;
  void question_added(const QuestionInfo& question) override;
  void question_removed(const QuestionInfo& question, std::string_view how) override;

  EventLoop& loop_;
  ServiceApi& service_;
  BusSettings settings_;
  Admission::Budgets calls_;
  Outflow::Budgets events_;
  std::unique_ptr<Worker> connector_;
  std::unique_ptr<Link> link_;
  EventSource leave_;
  EventSource lost_;
  EventSource retry_;
  EventSource retire_timer_;
  std::chrono::steady_clock::time_point retire_until_;
  std::function<void()> retired_;  // set: we retire
  std::chrono::milliseconds delay_;
  bool away_told_ = false;
};

}  // namespace wrapd::daemon::bus
