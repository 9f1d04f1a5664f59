// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the service can be asked to do, by the code that speaks for its callers (daemon/bus). Who may ask is decided
// there, before the call; here things are done. Everything happens on the loop's thread, nothing waits: what takes time
// answers through its callback, later, or before the call returns.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/credentials.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "wire/control.h"
#include "wire/supervisor_channel.h"

namespace wrapd::daemon {

using WallTime = std::chrono::system_clock::time_point;

enum class SessionState : uint8_t { opening, running, terminating, closing };
[[nodiscard]] constexpr std::string_view to_string(SessionState state) {
  constexpr std::string_view kNames[] = {"opening", "running", "terminating", "closing"};
  return kNames[static_cast<size_t>(state)];
}

struct SessionInfo {
  std::string id;  // 32 hexadecimal digits
  uid_t uid = static_cast<uid_t>(-1);
  pid_t leader = 0;  // the client, `wrap`; decoration
  std::string policy;
  std::string mode;  // enforce, audit, disabled
  SessionState state = SessionState::opening;
  WallTime since;
  std::string command;  // as shown: bytes of the caller's
  uint64_t allowed = 0;
  uint64_t denied = 0;
  bool stale = false;  // the policy in force now is another one than the session's
};

struct OpenedSession {
  std::string id;
  UniqueFd connection;  // the client's end: what it would have had of the control socket
};

// A question that waits for an answer (a rule with `decision: ask`).
struct QuestionInfo {
  std::string id;       // of the service: 16 hexadecimal digits
  std::string session;  // id
  uid_t uid = static_cast<uid_t>(-1);
  wire::CallReport call;
  std::string guidance;
  WallTime deadline;
};

struct PolicyInfo {
  std::string name;
  std::string file;
  std::string mode;         // empty where it is broken
  std::string problem;      // why it cannot be used; empty: it can
  bool is_default = false;  // what the caller gets without asking for one
};

struct PolicyText {
  PolicyInfo info;
  std::string text;  // the YAML that is in force, not what the file may hold by now
};

struct PolicyVerdict {
  std::string decision;  // allow, audit, ask, deny
  std::string rule;      // empty: no rule matched
  std::string guidance;
};

// An error with a stable word for programs: the last element of the D-Bus error's name.
struct ApiError {
  std::string code;     // NoSuchSession, NoSuchPolicy, NoSuchApproval, NotPermitted, InvalidArgument, InvalidPolicy,
                        // LimitExceeded, Confined, Internal
  std::string message;  // one line: what, on what, what to do
};
template <class T = void>
using ApiResult = std::expected<T, ApiError>;

// Called as things happen, on the loop's thread. Must not call back into the service.
class ServiceObserver {
 public:
  virtual ~ServiceObserver() = default;
  virtual void session_added(const SessionInfo& session) = 0;
  virtual void session_changed(const SessionInfo& session) = 0;  // state, counters or staleness
  virtual void session_removed(const SessionInfo& session) = 0;
  virtual void denied(const SessionInfo& session, const wire::DenialReport& denial) = 0;
  virtual void question_added(const QuestionInfo& question) = 0;
  virtual void question_removed(const QuestionInfo& question, std::string_view how) = 0;
};

class ServiceApi {
 public:
  virtual ~ServiceApi() = default;

  // One observer; nullptr: none. Borrowed.
  virtual void observe(ServiceObserver* observer) = 0;

  // What a request on the control socket would get. `pidfd` is that of the process in `caller`.
  virtual void open_session(const wire::OpenRequest& request, const PeerCredentials& caller, UniqueFd pidfd,
                            std::function<void(ApiResult<OpenedSession>)> done) = 0;

  [[nodiscard]] virtual std::vector<SessionInfo> sessions() const = 0;
  [[nodiscard]] virtual std::optional<SessionInfo> session(std::string_view id) const = 0;
  // Ends the whole tree. `by` names who wants it, for the user and the record: "uid 0". Ending what ends already is no
  // error. After success it ends even if this run of the service does not see that; Internal: ask again.
  virtual ApiResult<> terminate(std::string_view id, std::string_view by) = 0;

  // Policies that the caller may use; root: all, and the broken ones.
  [[nodiscard]] virtual std::vector<PolicyInfo> policies(const PeerCredentials& caller) const = 0;
  [[nodiscard]] virtual ApiResult<PolicyText> describe_policy(const PeerCredentials& caller,
                                                              std::string_view name) const = 0;
  // What a session of the caller under this policy would be told. `target` is an absolute path or "@name"; empty
  // `name`: the caller's default policy.
  virtual void test_policy(const PeerCredentials& caller, std::string_view name, std::string_view operation,
                           std::string_view target, std::function<void(ApiResult<PolicyVerdict>)> done) = 0;
  // Checks a policy's text with the caller's rights and no others. The answer is what is wrong with it, a line each;
  // empty: nothing.
  virtual void check_policy(const PeerCredentials& caller, std::string_view text,
                            std::function<void(ApiResult<std::vector<std::string>>)> done) = 0;
  // Reads configuration and policies again, whole or not at all. `by`: who wants it, for the record.
  virtual void reload(std::string by, std::function<void(ApiResult<>)> done) = 0;

  // Records that a caller was refused what it wanted to do (`operation`), maybe to a session. One who tries again and
  // again is recorded now and then, with a count.
  virtual void note_refusal(const PeerCredentials& caller, std::string_view operation, std::string_view session,
                            std::string reason) = 0;

  [[nodiscard]] virtual std::vector<QuestionInfo> questions() const = 0;
  [[nodiscard]] virtual std::optional<QuestionInfo> question(std::string_view id) const = 0;
  // After success the session has the answer. LimitExceeded: it takes none now; the question is still open.
  virtual ApiResult<> answer_question(std::string_view id, bool allow, std::string_view by) = 0;

  // Whether this uid has an account; no, where the name services do not say so in time.
  virtual void has_account(uid_t uid, std::function<void(bool)> done) = 0;

  // As properties of the API.
  [[nodiscard]] virtual std::vector<std::string> features() const = 0;
};

}  // namespace wrapd::daemon
