// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/session_json.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

constexpr size_t kGuidanceColumns = 256;

// "rename /a to /b", "connect @name", "socket".
std::string shown_call(const Denial& d) {
  std::string text = safe_text(d.operation);
  if (!d.target.empty() || d.abstract) text += " " + shown_target(d.target, d.abstract);
  if (!d.second.empty()) text += " to " + safe_text(d.second);
  return text;
}

std::string shown_cause(const Denial& d) {
  if (!d.rule.empty()) return "rule " + safe_text(d.rule);
  if (d.policy.empty()) return "whatever the policy says (wrapctl log has the reason)";
  return "no rule of policy " + safe_text(d.policy) + " allows it";
}

// Prints what happens: a line each, JSON or text. Knows the sessions and questions there are, so that an event that
// carries an id alone can be told in full, and so that nothing is missed while the service restarts.
class Monitor {
 public:
  Monitor(Service& service, bool json) : service_(service), json_(json) {}

  BusResult<> run() {
    if (auto watching = service_.watch(); !watching) return watching;
    if (auto learnt = learn_sessions(false); !learnt) return learnt;
    if (auto learnt = learn_questions(false); !learnt) return learnt;
    say({{"event", "watching"}, {"sessions", sessions_.size()}, {"approvals", questions_.size()}},
        "watching (sessions: " + std::to_string(sessions_.size()) +
            ", questions: " + std::to_string(questions_.size()) + ")");
    for (;;) {
      std::cout.flush();
      if (!std::cout) return {};  // main() says so
      auto events = service_.next_events();
      if (!events) return std::unexpected(events.error());
      for (const auto& event : *events) {
        auto told = std::visit([this](const auto& e) { return tell(e); }, event);
        // A service that ended in the call starts again, and then everything is asked anew; a bus that has gone ends
        // the wait for the next event.
        if (!told) print_error(told.error().message);
      }
    }
  }

 private:
  void say(nlohmann::json document, const std::string& text, Colour colour = Colour::none) {
    uint64_t now = now_usec();
    if (json_) {
      document["time"] = rfc3339(now);
      print_json(document);
    } else {
      std::cout << local_time(now) << ' ' << painted(colour, text) << '\n';
    }
  }

  void say_opened(const Session& s) {
    nlohmann::json document = to_json(s);
    document["event"] = "session_new";
    say(document, "session " + brief(s.id) + " of " + user_name(s.uid) + " opened with policy " + safe_text(s.policy) +
                      " (" + safe_text(s.mode) + "): " + safe_text(s.command));
  }

  void say_closed(const std::string& id) {
    auto known = sessions_.find(id);
    nlohmann::json document = {{"event", "session_removed"}, {"id", safe_text(id)}};
    std::string text = "session " + brief(id);
    if (known != sessions_.end() && !known->second.object.empty()) {
      document["uid"] = known->second.uid;
      document["user"] = user_name(known->second.uid);
      text += " of " + user_name(known->second.uid);
    }
    sessions_.erase(id);
    say(document, text + " closed");
  }

  void say_asked(const Question& q) {
    nlohmann::json document = to_json(q);
    document["event"] = "approval_requested";
    say(document,
        "question " + brief(q.id) + ": may " + safe_text(q.comm) + "[" + std::to_string(q.pid) + "] of session " +
            brief(session_of_object(q.session)) + " (" + user_name(q.uid) + ") " + safe_text(q.operation) + " " +
            shown_target(q.target, q.abstract) + "? wrapctl approvals allow|deny " + brief(q.id) +
            (q.guidance.empty() ? "" : " (guidance: " + cut(safe_text(q.guidance), kGuidanceColumns) + ")"),
        Colour::yellow);
  }

  void say_answered(const std::string& id, const std::string& how) {
    questions_.erase(id);
    say({{"event", "approval_removed"}, {"id", safe_text(id)}, {"how", safe_text(how)}},
        "question " + brief(id) + ": " + safe_text(how));
  }

  // What there is and was not known. What is gone is left to its own event, which says how it went.
  BusResult<> learn_sessions(bool tell_new) {
    auto now = service_.sessions();
    if (!now) return std::unexpected(now.error());
    for (const auto& session : *now) {
      if (sessions_.insert_or_assign(session.id, session).second && tell_new) say_opened(session);
    }
    current_sessions_ = std::move(*now);
    return {};
  }

  BusResult<> learn_questions(bool tell_new) {
    auto now = service_.questions();
    if (!now) return std::unexpected(now.error());
    for (const auto& question : *now) {
      if (questions_.insert_or_assign(question.id, question).second && tell_new) say_asked(question);
    }
    current_questions_ = std::move(*now);
    return {};
  }

  BusResult<> tell(const SessionNew& event) {
    if (sessions_.contains(event.id)) return {};
    if (auto learnt = learn_sessions(true); !learnt) return learnt;
    if (sessions_.contains(event.id)) return {};
    // It has ended already: no more than the id is known.
    sessions_[event.id].id = event.id;
    say({{"event", "session_new"}, {"id", safe_text(event.id)}}, "session " + brief(event.id) + " opened");
    return {};
  }

  BusResult<> tell(const SessionRemoved& event) {
    if (sessions_.contains(event.id)) say_closed(event.id);
    return {};
  }

  BusResult<> tell(const Denial& d) {
    nlohmann::json document = {{"event", "denied"},
                               {"session", safe_text(d.session)},
                               {"operation", safe_text(d.operation)},
                               {"target", safe_text(d.target)},
                               {"second", safe_text(d.second)},
                               {"abstract", d.abstract},
                               {"rule", safe_text(d.rule)},
                               {"policy", safe_text(d.policy)},
                               {"pid", d.pid},
                               {"comm", safe_text(d.comm)},
                               {"count", d.count}};
    std::string text = "denied " + shown_call(d) + " by " + safe_text(d.comm) + "[" + std::to_string(d.pid) +
                       "] of session " + brief(d.session);
    if (auto known = sessions_.find(d.session); known != sessions_.end() && !known->second.object.empty()) {
      document["uid"] = known->second.uid;
      document["user"] = user_name(known->second.uid);
      text += " (" + user_name(known->second.uid) + ")";
    }
    text += ", " + shown_cause(d);
    if (d.count > 1) text += " (and " + std::to_string(d.count - 1) + " more)";
    say(document, text, Colour::red);
    return {};
  }

  BusResult<> tell(const QuestionAsked& event) {
    if (questions_.contains(event.id)) return {};
    return learn_questions(true);
  }

  BusResult<> tell(const QuestionGone& event) {
    if (questions_.contains(event.id)) say_answered(event.id, event.how);
    return {};
  }

  BusResult<> tell(const ServiceStopped&) {
    say({{"event", "service_stopped"}}, "the service has stopped; sessions go on", Colour::yellow);
    return {};
  }

  // Whatever went by while nobody told.
  BusResult<> tell(const ServiceStarted&) {
    say({{"event", "service_started"}}, "the service has started");
    if (auto learnt = learn_sessions(true); !learnt) return learnt;
    if (auto learnt = learn_questions(true); !learnt) return learnt;
    for (const auto& id : gone(sessions_, current_sessions_)) say_closed(id);
    for (const auto& id : gone(questions_, current_questions_)) say_answered(id, "withdrawn");
    return {};
  }

  template <class T>
  static std::vector<std::string> gone(const std::map<std::string, T>& known, const std::vector<T>& current) {
    std::vector<std::string> out;
    for (const auto& [id, entry] : known) {
      if (std::ranges::find(current, id, &T::id) == current.end()) out.push_back(id);
    }
    return out;
  }

  static std::string brief(const std::string& id) { return safe_text(id).substr(0, 8); }

  Service& service_;
  bool json_;
  std::map<std::string, Session> sessions_;
  std::map<std::string, Question> questions_;
  std::vector<Session> current_sessions_;  // as last asked
  std::vector<Question> current_questions_;
};

int run(const Context& context) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  auto done = Monitor(*service, context.json).run();
  return done ? kOk : report(context, done.error());
}

}  // namespace

void add_monitor(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("monitor", "tell of sessions, denials and questions as they happen");
  verb->footer(
      "Goes on until it is interrupted. Many denials at once are summed up; the journal has each one\n"
      "(wrapctl log). With --json each event is one line.");
  verb->callback([&context] { context.run = [&context] { return run(context); }; });
}

}  // namespace wrapd::wrapctl
