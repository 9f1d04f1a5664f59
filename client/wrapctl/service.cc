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

std::vector<Known> known_of(Session& s) {
  return {{"Uid", &s.uid},         {"Leader", &s.leader}, {"Policy", &s.policy},   {"Mode", &s.mode},
          {"State", &s.state},     {"Since", &s.since},   {"Command", &s.command}, {"Stale", &s.stale},
          {"Allowed", &s.allowed}, {"Denied", &s.denied}};
}
std::vector<Known> known_of(PolicyEntry& p) {
  return {{"file", &p.file}, {"mode", &p.mode}, {"problem", &p.problem}, {"default", &p.is_default}};
}
std::vector<Known> known_of(Question& q) {
  return {{"uid", &q.uid},           {"operation", &q.operation},
          {"target", &q.target},     {"abstract", &q.abstract},
          {"rule", &q.rule},         {"policy", &q.policy},
          {"guidance", &q.guidance}, {"pid", &q.pid},
          {"comm", &q.comm},         {"exe", &q.exe},
          {"deadline", &q.deadline}};
}
std::vector<Known> known_of(Denial& d) {
  return {{"operation", &d.operation}, {"target", &d.target}, {"second", &d.second}, {"abstract", &d.abstract},
          {"rule", &d.rule},           {"policy", &d.policy}, {"pid", &d.pid},       {"comm", &d.comm},
          {"count", &d.count}};
}

// Each entry is what it is known by, one or two texts as `types` says, and a dictionary. `name` gets the texts.
template <class Entry>
BusResult<std::vector<Entry>> read_list(const Message& reply, const char* types,
                                        void (*name)(Entry& entry, const char* first, const char* second)) {
  const std::string contents = std::string(types) + "a{sv}";
  std::vector<Entry> out;
  int rc = ::sd_bus_message_enter_container(reply.get(), 'a', ("(" + contents + ")").c_str());
  while (rc >= 0 && (rc = ::sd_bus_message_enter_container(reply.get(), 'r', contents.c_str())) > 0) {
    const char *first = nullptr, *second = nullptr;
    Entry& entry = out.emplace_back();
    rc = ::sd_bus_message_read(reply.get(), types, &first, &second);
    if (rc > 0) name(entry, first, second);
    if (rc > 0) rc = read_dictionary(reply.get(), known_of(entry));
    if (rc >= 0) rc = ::sd_bus_message_exit_container(reply.get());
  }
  if (rc < 0) return bus_error(rc);
  return out;
}

// The event that a signal of the service's stands for; nothing if it is none of ours or has another form.
std::optional<Event> event_of(sd_bus_message* m) {
  if (::sd_bus_message_is_signal(m, kSessionInterface, "Denied") > 0) {
    Denial denial;
    if (read_dictionary(m, known_of(denial)) <= 0) return std::nullopt;
    denial.session = session_of_object(::sd_bus_message_get_path(m));
    return denial;
  }
  const char *id = nullptr, *session = nullptr;
  const auto is = [m](const char* member) { return ::sd_bus_message_is_signal(m, kManager.interface, member) > 0; };
  const bool removed = is("ApprovalRemoved");
  if (!removed && !is("SessionNew") && !is("SessionRemoved") && !is("ApprovalRequested")) return std::nullopt;
  if (::sd_bus_message_read(m, "so", &id, &session) <= 0) return std::nullopt;
  if (is("SessionNew")) return SessionNew{id};
  if (is("SessionRemoved")) return SessionRemoved{id};
  if (is("ApprovalRequested")) return QuestionAsked{id};
  QuestionGone gone{.id = id, .how = ""};
  if (read_dictionary(m, {{"how", &gone.how}}) <= 0) return std::nullopt;
  return gone;
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
  auto sessions = read_list<Session>(*reply, "so", [](Session& session, const char* id, const char* object) {
    session.id = id, session.object = object;
  });
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
  auto policies = read_list<PolicyEntry>(
      *reply, "s", [](PolicyEntry& policy, const char* name, const char*) { policy.name = name; });
  if (!policies) return std::unexpected(explain(policies.error(), kWhat));
  return policies;
}

BusResult<PolicyText> Service::describe_policy(const std::string& name) {
  const std::string what = "cannot show the policy " + safe_text(name);
  auto reply = bus_.call(kManager, "DescribePolicy", kPlain, "s", name.c_str());
  if (!reply) return std::unexpected(explain(reply.error(), what));
  PolicyText policy;
  const int rc =
      read_dictionary(reply->get(), {{"file", &policy.file}, {"mode", &policy.mode}, {"text", &policy.text}});
  if (rc < 0) return std::unexpected(explain(bus_error(rc).error(), what));
  return policy;
}

BusResult<> Service::reload() {
  auto reply = bus_.call(kManager, "Reload", kMayAsk);
  if (!reply) return std::unexpected(explain(reply.error(), "cannot reload"));
  return {};
}

BusResult<std::vector<Question>> Service::questions() {
  constexpr const char* kWhat = "cannot list the questions";
  auto reply = bus_.call(kManager, "ListApprovals", kPlain);
  if (!reply) return std::unexpected(explain(reply.error(), kWhat));
  auto questions = read_list<Question>(*reply, "so", [](Question& question, const char* id, const char* session) {
    question.id = id, question.session = session;
  });
  if (!questions) return std::unexpected(explain(questions.error(), kWhat));
  return questions;
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
