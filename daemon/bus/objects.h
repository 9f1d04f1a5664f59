// SPDX-License-Identifier: Apache-2.0
#pragma once

// The objects on one connection: the manager, and one for each session. Sessions are shown as the service last told,
// so that reading a property asks nobody.

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/bus/bouncer.h"
#include "daemon/bus/compat.h"
#include "daemon/bus/outflow.h"
#include "daemon/bus/rendering.h"
#include "daemon/event_loop.h"
#include "daemon/service_api.h"

namespace wrapd::daemon::bus {

// Everything here may throw sdbus::Error.
class Objects {
 public:
  Objects(EventLoop& loop, sdbus::IConnection& connection, ServiceApi& service, Bouncer& bouncer, Outflow& outflow);

  // Without a signal: it was there before this connection.
  void show(const SessionInfo& session);
  void add(const SessionInfo& session);
  void change(const SessionInfo& session);
  void remove(const SessionInfo& session);
  void denied(const SessionInfo& session, const wire::DenialReport& denial);
  void question_added(const QuestionInfo& question);
  void question_removed(const QuestionInfo& question, std::string_view how);
  [[nodiscard]] size_t sessions() const noexcept { return sessions_.size(); }

 private:
  struct Session {
    SessionInfo info;
    std::unique_ptr<sdbus::IObject> object;
  };
  void tell(const char* name, uid_t owner, const std::string& id, const std::string& session,
            const Dictionary& details);
  void add_methods(compat::Interface& interface, const char* name);
  void destroy_later(std::unique_ptr<Session> session);

  EventLoop& loop_;
  sdbus::IConnection& connection_;
  ServiceApi& service_;
  Bouncer& bouncer_;
  Outflow& outflow_;
  std::unique_ptr<sdbus::IObject> manager_;
  std::unordered_map<std::string, std::unique_ptr<Session>> sessions_;
  size_t running_ = 0;  // methods, right now
  std::vector<std::unique_ptr<Session>> ended_;
  EventSource destruction_;
};

}  // namespace wrapd::daemon::bus
