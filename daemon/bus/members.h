// SPDX-License-Identifier: Apache-2.0
#pragma once

// The API as a table: every method with its types, who may call it, what a call costs, and what does it. What is not in
// the table is not there, and a method without an authorisation is for nobody. docs/org.wrapd1.xml is its
// documentation, and is held against the running service by a test.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "daemon/bus/call.h"
#include "daemon/bus/compat.h"
#include "daemon/bus/unread.h"
#include "daemon/service_api.h"

namespace wrapd::daemon::bus {

inline constexpr const char* kBusName = "org.wrapd1";
inline constexpr const char* kManagerPath = "/org/wrapd1";
inline constexpr const char* kManagerInterface = "org.wrapd1.Manager";
inline constexpr const char* kSessionInterface = "org.wrapd1.Session";

[[nodiscard]] std::string session_path(std::string_view id);

enum class Access : uint8_t {
  nobody,
  read,      // everybody; changes nothing
  change,    // everybody who is not confined
  own_free,  // not confined; what is not one's own: polkit's action `others`
  polkit,    // not confined; polkit's action `own` for what is one's own, `others` for the rest
};

// Root needs no polkit, but must not be confined either.
struct Authorisation {
  Access access = Access::nobody;
  const char* own = nullptr;
  const char* others = nullptr;
};

// What a call is about, as it is now. The details are for polkit's dialog and rules.
struct Target {
  uid_t owner = static_cast<uid_t>(-1);  // nobody's
  std::map<std::string, std::string> details;
};

struct Method {
  // Whose is it? Only read from; absent: nobody's.
  using Find = ApiResult<Target> (*)(const ServiceApi& service, Call& call);
  // Answers the call, at once or later.
  using Run = void (*)(ServiceApi& service, const std::shared_ptr<Call>& call);

  const char* interface;
  const char* name;
  const char* in;
  compat::Names in_names;
  const char* out;
  compat::Names out_names;
  Authorisation authorisation;
  double cost;       // in calls that only look something up
  double cost_each;  // and that much for each session there is
  Load reply;        // what the answer weighs at most, where its handler does not say more (Call::charge())
  Find find;
  Run run;
};
[[nodiscard]] std::span<const Method> methods();

struct SignalMember {
  const char* interface;
  const char* name;
  const char* types;
  compat::Names names;
};
[[nodiscard]] std::span<const SignalMember> signals();

// What a call of any interface costs its user, the bus's standard interfaces included.
[[nodiscard]] double cost_of(const char* interface, const char* member, size_t sessions);

// What the answer to such a call weighs at most, where its handler does not say more (Call::charge()).
[[nodiscard]] Load reply_of(const char* interface, const char* member, size_t sessions);

// Of the table's rows: manager.cc, open_session.cc, questions.cc.
namespace methods_of {
void open_session(ServiceApi& service, const std::shared_ptr<Call>& call);
void list_sessions(ServiceApi& service, const std::shared_ptr<Call>& call);
void get_session(ServiceApi& service, const std::shared_ptr<Call>& call);
ApiResult<Target> find_session(const ServiceApi& service, Call& call);
void terminate_session(ServiceApi& service, const std::shared_ptr<Call>& call);
ApiResult<Target> find_user(const ServiceApi& service, Call& call);
void terminate_user(ServiceApi& service, const std::shared_ptr<Call>& call);
void list_policies(ServiceApi& service, const std::shared_ptr<Call>& call);
void describe_policy(ServiceApi& service, const std::shared_ptr<Call>& call);
void check_policy(ServiceApi& service, const std::shared_ptr<Call>& call);
void test_policy(ServiceApi& service, const std::shared_ptr<Call>& call);
void reload(ServiceApi& service, const std::shared_ptr<Call>& call);
void list_approvals(ServiceApi& service, const std::shared_ptr<Call>& call);
ApiResult<Target> find_approval(const ServiceApi& service, Call& call);
void approve(ServiceApi& service, const std::shared_ptr<Call>& call);
void deny(ServiceApi& service, const std::shared_ptr<Call>& call);
ApiResult<Target> find_own_path(const ServiceApi& service, Call& call);
void terminate_own_path(ServiceApi& service, const std::shared_ptr<Call>& call);
}  // namespace methods_of

}  // namespace wrapd::daemon::bus
