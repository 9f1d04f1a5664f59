// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/service.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "client/wrapctl/explain.h"
#include "client/wrapctl/text.h"

namespace wrapd::wrapctl {
namespace {

constexpr const char* kName = "org.wrapd1";
constexpr const char* kSessionInterface = "org.wrapd1.Session";
constexpr Target kManager{kName, "/org/wrapd1", "org.wrapd1.Manager"};

// A person has two minutes to answer polkit; the service says so itself before we give up.
constexpr CallOptions kMayAsk{.timeout = std::chrono::seconds(180), .may_ask = true};
// Long enough for the service to be started by the call.
constexpr CallOptions kPlain{.timeout = std::chrono::seconds(60), .may_ask = false};

constexpr size_t kMaxCandidates = 5;

// Collects the elements of an array; `one` reads an element and gives sd_bus_message_read()'s result.
template <class T, class Read>
BusResult<std::vector<T>> read_array(const Message& reply, const char* element, Read one) {
  int rc = ::sd_bus_message_enter_container(reply.get(), 'a', element);
  std::vector<T> out;
  while (rc >= 0) {
    T entry;
    rc = one(reply.get(), entry);
    if (rc == 0) return out;
    if (rc > 0) out.push_back(std::move(entry));
  }
  return bus_error(rc);
}

// sd-bus gives strings that live as long as the message.
int read_session(sd_bus_message* m, Session& s) {
  const char *id = nullptr, *object = nullptr, *policy = nullptr, *mode = nullptr, *state = nullptr, *command = nullptr;
  int stale = 0;
  int rc = ::sd_bus_message_read(m, "(souussststtb)", &id, &object, &s.uid, &s.leader, &policy, &mode, &state, &s.since,
                                 &command, &s.allowed, &s.denied, &stale);
  if (rc <= 0) return rc;
  s.id = id, s.object = object, s.policy = policy, s.mode = mode, s.state = state, s.command = command;
  s.stale = stale != 0;
  return rc;
}

int read_policy(sd_bus_message* m, PolicyEntry& p) {
  const char *name = nullptr, *file = nullptr, *mode = nullptr, *problem = nullptr;
  int is_default = 0;
  int rc = ::sd_bus_message_read(m, "(ssssb)", &name, &file, &mode, &problem, &is_default);
  if (rc <= 0) return rc;
  p.name = name, p.file = file, p.mode = mode, p.problem = problem;
  p.is_default = is_default != 0;
  return rc;
}

int read_approval(sd_bus_message* m, Approval& a) {
  const char *id = nullptr, *session = nullptr, *operation = nullptr, *target = nullptr, *rule = nullptr;
  const char *policy = nullptr, *guidance = nullptr, *comm = nullptr, *exe = nullptr;
  int abstract = 0;
  int rc = ::sd_bus_message_read(m, "(soussbsssusst)", &id, &session, &a.uid, &operation, &target, &abstract, &rule,
                                 &policy, &guidance, &a.pid, &comm, &exe, &a.deadline);
  if (rc <= 0) return rc;
  a.id = id, a.session = session, a.operation = operation, a.target = target, a.rule = rule, a.policy = policy;
  a.guidance = guidance, a.comm = comm, a.exe = exe;
  a.abstract = abstract != 0;
  return rc;
}

// The event that a signal of the service's stands for; nothing if it is none of ours or has another form.
std::optional<Event> event_of(sd_bus_message* m) {
  const char *first = nullptr, *second = nullptr;
  auto is = [m](const char* interface, const char* member) {
    return ::sd_bus_message_is_signal(m, interface, member) > 0;
  };
  if (is(kManager.interface, "SessionNew") && ::sd_bus_message_read(m, "so", &first, &second) > 0) {
    return SessionNew{first};
  }
  if (is(kManager.interface, "SessionRemoved") && ::sd_bus_message_read(m, "so", &first, &second) > 0) {
    return SessionRemoved{first};
  }
  if (is(kManager.interface, "ApprovalRequested") && ::sd_bus_message_read(m, "so", &first, &second) > 0) {
    return ApprovalRequested{first};
  }
  if (is(kManager.interface, "ApprovalRemoved") && ::sd_bus_message_read(m, "ss", &first, &second) > 0) {
    return ApprovalRemoved{first, second};
  }
  if (is(kSessionInterface, "Denied")) {
    Denial denial;
    const char *rule = nullptr, *comm = nullptr;
    int abstract = 0;
    if (::sd_bus_message_read(m, "ssbsust", &first, &second, &abstract, &rule, &denial.pid, &comm, &denial.count) <=
        0) {
      return std::nullopt;
    }
    denial.session = session_of_object(::sd_bus_message_get_path(m));
    denial.operation = first, denial.target = second, denial.rule = rule, denial.comm = comm;
    denial.abstract = abstract != 0;
    return denial;
  }
  return std::nullopt;
}

std::string short_id(const std::string& id) {
  return safe_text(id).substr(0, 8);
}

}  // namespace

std::string session_of_object(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

BusResult<Service> Service::connect() {
  auto bus = Bus::open_system();
  if (!bus) return std::unexpected(explain(bus.error(), "cannot reach the system bus"));
  return Service(std::move(*bus));
}

BusResult<std::string> Service::version() {
  auto version = bus_.string_property(kManager, "Version");
  if (!version) return std::unexpected(explain(version.error(), "cannot ask the service for its version"));
  return version;
}

BusResult<std::vector<Session>> Service::sessions() {
  constexpr const char* kWhat = "cannot list the sessions";
  auto reply = bus_.call(kManager, "ListSessions", kPlain);
  if (!reply) return std::unexpected(explain(reply.error(), kWhat));
  auto sessions = read_array<Session>(*reply, "(souussststtb)", read_session);
  if (!sessions) return std::unexpected(explain(sessions.error(), kWhat));
  return sessions;
}

BusResult<std::string> Service::whole_command(const Session& session) {
  auto command = bus_.string_property({kManager.service, session.object.c_str(), "org.wrapd1.Session"}, "Command");
  if (!command) return std::unexpected(explain(command.error(), "cannot ask for the command of a session"));
  return command;
}

BusResult<> Service::terminate(const std::string& id) {
  auto reply = bus_.call(kManager, "TerminateSession", kMayAsk, "s", id.c_str());
  if (!reply) return std::unexpected(explain(reply.error(), "cannot terminate session " + short_id(id)));
  return {};
}

BusResult<uint32_t> Service::terminate_user(uint32_t uid) {
  const std::string what = "cannot terminate the sessions of " + user_name(uid);
  auto reply = bus_.call(kManager, "TerminateUser", kMayAsk, "u", uid);
  if (!reply) return std::unexpected(explain(reply.error(), what));
  uint32_t count = 0;
  if (auto done = read(*reply, "u", &count); !done) return std::unexpected(explain(done.error(), what));
  return count;
}

BusResult<std::vector<PolicyEntry>> Service::policies() {
  constexpr const char* kWhat = "cannot list the policies";
  auto reply = bus_.call(kManager, "ListPolicies", kPlain);
  if (!reply) return std::unexpected(explain(reply.error(), kWhat));
  auto policies = read_array<PolicyEntry>(*reply, "(ssssb)", read_policy);
  if (!policies) return std::unexpected(explain(policies.error(), kWhat));
  return policies;
}

BusResult<PolicyText> Service::describe_policy(const std::string& name) {
  const std::string what = "cannot show the policy " + safe_text(name);
  auto reply = bus_.call(kManager, "DescribePolicy", kPlain, "s", name.c_str());
  if (!reply) return std::unexpected(explain(reply.error(), what));
  const char *file = nullptr, *mode = nullptr, *text = nullptr;
  if (auto done = read(*reply, "sss", &file, &mode, &text); !done) return std::unexpected(explain(done.error(), what));
  return PolicyText{file, mode, text};
}

BusResult<> Service::reload() {
  auto reply = bus_.call(kManager, "Reload", kMayAsk);
  if (!reply) return std::unexpected(explain(reply.error(), "cannot reload"));
  return {};
}

BusResult<std::vector<Approval>> Service::approvals() {
  constexpr const char* kWhat = "cannot list the questions";
  auto reply = bus_.call(kManager, "ListApprovals", kPlain);
  if (!reply) return std::unexpected(explain(reply.error(), kWhat));
  auto approvals = read_array<Approval>(*reply, "(soussbsssusst)", read_approval);
  if (!approvals) return std::unexpected(explain(approvals.error(), kWhat));
  return approvals;
}

BusResult<> Service::answer(const std::string& id, bool allow) {
  auto reply = bus_.call(kManager, allow ? "Approve" : "Deny", kMayAsk, "s", id.c_str());
  if (!reply) {
    return std::unexpected(
        explain(reply.error(), std::string(allow ? "cannot allow" : "cannot deny") + " question " + short_id(id)));
  }
  return {};
}

BusResult<> Service::watch() {
  constexpr const char* kWhat = "cannot watch the service";
  for (const char* rule :
       {"type='signal',sender='org.wrapd1',interface='org.wrapd1.Manager'",
        "type='signal',sender='org.wrapd1',interface='org.wrapd1.Session',member='Denied'",
        "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',"
        "arg0='org.wrapd1'"}) {
    if (int rc = ::sd_bus_add_match(bus_.get(), nullptr, rule, nullptr, nullptr); rc < 0) {
      return std::unexpected(explain(bus_error(rc).error(), kWhat));
    }
  }
  // Also starts the service. The filter is there first: NameOwnerChanged may come while the calls wait.
  auto filter = [](sd_bus_message* message, void* watch, sd_bus_error*) noexcept {
    static_cast<Watch*>(watch)->take(message);
    return 0;
  };
  watch_ = std::make_unique<Watch>();
  if (int rc = ::sd_bus_add_filter(bus_.get(), nullptr, filter, watch_.get()); rc < 0) {
    return std::unexpected(explain(bus_error(rc).error(), kWhat));
  }
  if (auto version = bus_.string_property(kManager, "Version"); !version) {
    return std::unexpected(explain(version.error(), kWhat));
  }
  auto owner = bus_.owner_of(kName);
  if (!owner) return std::unexpected(explain(owner.error(), kWhat));
  watch_->owner = std::move(*owner);
  return {};
}

// The bus delivers a signal that anybody addresses to us, whatever the matches say, and sd-bus cannot check a
// well-known name: only what comes from the name's owner is the service's word.
void Service::Watch::take(sd_bus_message* message) {
  const char* sender = ::sd_bus_message_get_sender(message);
  if (sender == nullptr) return;
  if (std::strcmp(sender, "org.freedesktop.DBus") == 0) {
    const char *name = nullptr, *from = nullptr, *to = nullptr;
    if (::sd_bus_message_is_signal(message, "org.freedesktop.DBus", "NameOwnerChanged") <= 0 ||
        ::sd_bus_message_read(message, "sss", &name, &from, &to) <= 0 || std::strcmp(name, kName) != 0 || owner == to) {
      return;
    }
    owner = to;
    if (owner.empty()) {
      events.emplace_back(ServiceStopped{});
    } else {
      events.emplace_back(ServiceStarted{});
    }
    return;
  }
  if (owner != sender) return;
  if (auto event = event_of(message)) events.push_back(std::move(*event));
}

BusResult<std::vector<Event>> Service::next_events() {
  constexpr const char* kWhat = "cannot go on watching";
  for (;;) {
    int rc = ::sd_bus_process(bus_.get(), nullptr);
    if (rc > 0) continue;
    if (rc == 0 && !watch_->events.empty()) return std::exchange(watch_->events, {});
    if (rc == 0) rc = ::sd_bus_wait(bus_.get(), UINT64_MAX);
    if (rc < 0 && rc != -EINTR) return std::unexpected(explain(bus_error(rc).error(), kWhat));
  }
}

BusResult<std::string> find_id(const std::vector<std::string>& ids, std::string_view given, std::string_view what) {
  constexpr size_t kLeast = 4;
  const std::string kind(what);
  const std::string shown = safe_text(given);
  const bool hexadecimal = given.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (!hexadecimal || given.size() < kLeast) {
    return std::unexpected(BusError{
        "org.wrapd1.Error.InvalidArgument",
        "'" + shown + "' is not the id of a " + kind + "; give at least 4 of its digits, all lower-case hexadecimal"});
  }
  std::vector<std::string> found;
  std::ranges::copy_if(ids, std::back_inserter(found), [&](const std::string& id) { return id.starts_with(given); });
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return std::unexpected(
        BusError{what == "session" ? "org.wrapd1.Error.NoSuchSession" : "org.wrapd1.Error.NoSuchApproval",
                 "there is no " + kind + " " + shown + "; " +
                     (what == "session" ? "wrapctl list" : "wrapctl approvals") + " shows those there are"});
  }
  std::string candidates;
  for (size_t i = 0; i < found.size() && i < kMaxCandidates; ++i) candidates += " " + safe_text(found[i]);
  if (found.size() > kMaxCandidates) candidates += " and " + std::to_string(found.size() - kMaxCandidates) + " more";
  return std::unexpected(BusError{"org.wrapd1.Error.InvalidArgument",
                                  "'" + shown + "' is the beginning of several ids; give more digits:" + candidates});
}

}  // namespace wrapd::wrapctl
