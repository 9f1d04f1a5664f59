// SPDX-License-Identifier: Apache-2.0
#pragma once

// The client's side of docs/org.wrapd1.xml. Every error's message is a whole line, fit for stderr; its name is the
// D-Bus error's. Text is as the service gives it: code that prints it passes it through safe_text().

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "client/wrapctl/bus.h"

namespace wrapd::wrapctl {

// Times are microseconds since the epoch.
struct Session {
  std::string id;
  std::string object;
  uint32_t uid = static_cast<uint32_t>(-1);
  uint32_t leader = 0;
  std::string policy;
  std::string mode;
  std::string state;
  uint64_t since = 0;
  std::string command;
  uint64_t allowed = 0;
  uint64_t denied = 0;
  bool stale = false;  // the policy in force now is another one
};

struct PolicyEntry {
  std::string name;
  std::string file;
  std::string mode;     // empty where it is broken
  std::string problem;  // empty: it can be used
  bool is_default = false;
};

struct PolicyText {
  std::string file;
  std::string mode;
  std::string text;
};

// A question that waits for an answer.
struct Question {
  std::string id;
  std::string session;  // object path
  uint32_t uid = static_cast<uint32_t>(-1);
  std::string operation;
  std::string target;
  bool abstract = false;
  std::string rule;
  std::string policy;
  std::string guidance;
  uint32_t pid = 0;
  std::string comm;
  std::string exe;
  uint64_t deadline = 0;
};

// What the service tells without being asked.
struct SessionNew {
  std::string id;
};
struct SessionRemoved {
  std::string id;
};
struct Denial {
  std::string session;  // id
  std::string operation;
  std::string target;
  std::string second;  // where a rename or a link leads; else empty
  bool abstract = false;
  std::string rule;    // empty: none matched
  std::string policy;  // empty: no policy decided
  uint32_t pid = 0;
  std::string comm;
  uint64_t count = 1;  // this one and those left out since the last
};
struct QuestionAsked {
  std::string id;
};
struct QuestionGone {
  std::string id;
  std::string how;  // allowed, denied, expired, withdrawn
};
struct ServiceStopped {};
struct ServiceStarted {};
using Event =
    std::variant<SessionNew, SessionRemoved, Denial, QuestionAsked, QuestionGone, ServiceStopped, ServiceStarted>;

// The last part of a session's object path.
[[nodiscard]] std::string session_of_object(std::string_view path);

class Service {
 public:
  [[nodiscard]] static BusResult<Service> connect();

  [[nodiscard]] BusResult<std::string> version();
  [[nodiscard]] BusResult<std::vector<Session>> sessions();
  // The list has a long one without its middle.
  [[nodiscard]] BusResult<std::string> whole_command(const Session& session);
  [[nodiscard]] BusResult<> terminate(const std::string& id);
  [[nodiscard]] BusResult<uint32_t> terminate_user(uint32_t uid);  // how many sessions
  [[nodiscard]] BusResult<std::vector<PolicyEntry>> policies();
  [[nodiscard]] BusResult<PolicyText> describe_policy(const std::string& name);
  [[nodiscard]] BusResult<> reload();
  [[nodiscard]] BusResult<std::vector<Question>> questions();
  [[nodiscard]] BusResult<> answer(const std::string& id, bool allow);

  // From now on next_events() hears of everything that happens after what sessions() and questions() say.
  [[nodiscard]] BusResult<> watch();
  // Waits until something has happened; in its order. Never empty.
  [[nodiscard]] BusResult<std::vector<Event>> next_events();

 private:
  struct Watch {
    std::string owner;  // the service's unique name; empty: it is not running
    std::vector<Event> events;
    void take(sd_bus_message* message);  // borrowed
  };
  explicit Service(Bus bus) : bus_(std::move(bus)) {}
  std::unique_ptr<Watch> watch_;  // outlives the connection, which has its address
  Bus bus_;
};

// The one id of `ids` that begins with `given` (hexadecimal digits, at least 4); NoSuchSession and the like otherwise.
// `what` names the kind: "session", "question".
[[nodiscard]] BusResult<std::string> find_id(const std::vector<std::string>& ids, std::string_view given,
                                             std::string_view what);

}  // namespace wrapd::wrapctl
