// SPDX-License-Identifier: Apache-2.0
#include "audit/event.h"

#include <syslog.h>

#include <cstdio>

#include "audit/fields.h"
#include "base/io.h"
#include "base/json_text.h"
#include "policy/classes.h"

namespace wrapd::audit {
namespace {

// In bytes of escaped output. Together they keep an event well below what one control message carries.
constexpr size_t kMaxName = 256;
constexpr size_t kMaxReason = 1024;
constexpr size_t kMaxPath = 4200;

// Not by gmtime_r(3): that opens the time zone's file, in whatever root we then live.
std::string timestamp(std::chrono::system_clock::time_point time) {
  auto day = std::chrono::floor<std::chrono::days>(time);
  std::chrono::year_month_day date(day);
  std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::milliseconds>(time - day));
  char text[64] = "";
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return text;
}

class JsonVisitor final : public FieldVisitor {
 public:
  explicit JsonVisitor(std::string& out) : writer_(out) {}
  void text(std::string_view name, std::string_view text) override { writer_.string(name, text); }
  void number(std::string_view name, uint64_t value) override { writer_.number(name, value); }
  void boolean(std::string_view name, bool value) override { writer_.boolean(name, value); }
  void finish() { writer_.finish(); }

 private:
  JsonObjectWriter writer_;
};

std::string object_name(const Event& event) {
  return (event.abstract ? "@" : "") + printable(event.path, kMaxPath);
}

std::string session_name(const Event& event) {
  return "session " + printable(event.session_id.substr(0, 8));
}

// " by curl[123]"
std::string program(const Event& event) {
  if (event.comm.empty() && event.pid <= 0) return {};
  std::string out = " by " + (event.comm.empty() ? "process" : printable(event.comm, kMaxName));
  if (event.pid > 0) out += "[" + std::to_string(event.pid) + "]";
  return out;
}

std::string preposition(std::string_view operation) {
  if (operation == "connect") return " to ";
  if (operation == "listen") return " on ";
  return " of ";
}

std::string operation_message(const Event& event) {
  std::string out = event.action.empty() ? printable(event.decision, kMaxName) : printable(event.action, kMaxName);
  out += " " + printable(event.operation, kMaxName);
  if (!event.path.empty() || event.abstract) out += preposition(event.operation) + object_name(event);
  if (!event.target.empty()) out += " to " + printable(event.target, kMaxPath);
  out += program(event);
  if (!event.session_id.empty()) out += " of " + session_name(event);
  std::string why;
  auto add = [&why](const std::string& text) { why += (why.empty() ? "" : ", ") + text; };
  if (!event.rule.empty()) add("rule " + printable(event.rule, kMaxName));
  if (!event.reason.empty()) add(printable(event.reason, kMaxReason));
  if (event.action == "allowed" && event.decision != "allow" && !event.decision.empty()) {
    add("decision " + printable(event.decision, kMaxName));
  }
  if (!why.empty()) out += " (" + why + ")";
  return event.count.value_or(1) > 1 ? out + ", " + std::to_string(*event.count) + " times" : out;
}

// "question 3 of session 0123abcd: connect to /run/x.sock by curl[123] allowed by uid 1000"
std::string approval_message(const Event& event) {
  std::string out = "question";
  if (event.question) out += " " + std::to_string(*event.question);
  out += " of " + session_name(event) + ": " + printable(event.operation, kMaxName);
  if (!event.path.empty() || event.abstract) out += preposition(event.operation) + object_name(event);
  out += program(event) + " " + printable(event.action, kMaxName);
  if (!event.by.empty()) return out + " by " + printable(event.by, kMaxName);
  if (!event.reason.empty()) return out + " (" + printable(event.reason, kMaxReason) + ")";
  return event.rule.empty() ? out : out + " (rule " + printable(event.rule, kMaxName) + ")";
}

struct Names {
  std::string_view type;
  std::string_view message_id;
};

Names names_of(Kind kind) {
  if (is_operation(kind)) {
    const auto number = static_cast<size_t>(kind) - static_cast<size_t>(Kind::operation);
    const policy::ClassEntry& entry = policy::entry_of(static_cast<policy::Class>(number));
    return {entry.event, entry.message_id};
  }
  constexpr std::array<Names, static_cast<size_t>(Kind::operation)> kNames = {{
      {"session_opened", "187adfd629054cdd90a318e3b40c2172"},
      {"session_closed", "a97d064394864fb78150a085df90f63a"},
      {"approval", "bc25e06a61ea42c7a80c7f6e2d946c79"},
      {"peer_rejected", "b75cf81571e84946bdf83cb8b26d92fe"},
      {"policy_loaded", "e514e25c936745cd984265eef946ce5a"},
      {"policy_rejected", "21b97d9a2c80466194ab4cf00cb09526"},
      {"events_lost", "b5fc1e1c94c34823801498377b8714a3"},
  }};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace

std::string_view to_string(Kind kind) {
  return names_of(kind).type;
}

std::string_view message_id(Kind kind) {
  return names_of(kind).message_id;
}

Event make_event(Kind kind) {
  Event event;
  event.kind = kind;
  event.time = std::chrono::system_clock::now();
  return event;
}

void visit(const Event& event, FieldVisitor& visitor) {
  auto text = [&](std::string_view name, const std::string& value, size_t limit) {
    if (!value.empty()) visitor.text(name, printable(value, limit));
  };
  visitor.text("type", to_string(event.kind));
  visitor.text("timestamp", timestamp(event.time));
  text("session_id", event.session_id, kMaxName);
  if (event.uid) visitor.number("uid", *event.uid);
  if (event.pid > 0) visitor.number("pid", static_cast<uint64_t>(event.pid));
  text("comm", event.comm, kMaxName);
  text("exe", event.exe, kMaxPath);
  text("operation", event.operation, kMaxName);
  text("decision", event.decision, kMaxName);
  text("rule", event.rule, kMaxName);
  text("policy", event.policy, kMaxName);
  text("mode", event.mode, kMaxName);
  text("action", event.action, kMaxName);
  text("reason", event.reason, kMaxReason);
  text("path", event.path, kMaxPath);
  if ((is_operation(event.kind) || event.kind == Kind::approval) && (!event.path.empty() || event.abstract)) {
    visitor.boolean("abstract", event.abstract);
  }
  text("target", event.target, kMaxPath);
  text("command", event.command, kMaxPath);
  if (event.error > 0) visitor.number("error", static_cast<uint64_t>(event.error));
  if (event.question) visitor.number("question", *event.question);
  text("by", event.by, kMaxName);
  if (event.count) visitor.number("count", *event.count);
  if (event.allowed) visitor.number("allowed", *event.allowed);
  if (event.denied) visitor.number("denied", *event.denied);
  if (event.peer_uid) visitor.number("peer_uid", *event.peer_uid);
}

std::string to_json(const Event& event) {
  std::string out;
  out.reserve(512);
  JsonVisitor visitor(out);
  visit(event, visitor);
  visitor.finish();
  return out;
}

std::string to_message(const Event& event) {
  auto of_user = [&] { return event.uid ? " of uid " + std::to_string(*event.uid) : std::string(); };
  auto why = [&] { return event.reason.empty() ? std::string() : ": " + printable(event.reason, kMaxReason); };
  auto asked = [&] {
    return event.by.empty() ? std::string() : " (asked for by " + printable(event.by, kMaxName) + ")";
  };
  switch (is_operation(event.kind) ? Kind::operation : event.kind) {
    case Kind::session_opened: {
      std::string out = session_name(event) + of_user() + " opened";
      if (!event.policy.empty()) out += " with policy " + printable(event.policy, kMaxName);
      if (!event.mode.empty()) out += " (" + printable(event.mode, kMaxName) + ")";
      if (!event.command.empty()) out += ": " + printable(event.command, kMaxPath);
      return out;
    }
    case Kind::session_closed: {
      std::string out = session_name(event) + of_user() + " closed";
      if (event.allowed || event.denied) {
        out += ", " + std::to_string(event.allowed.value_or(0)) + " allowed, " +
               std::to_string(event.denied.value_or(0)) + " denied";
      }
      return out + why();
    }
    case Kind::operation:
      return operation_message(event);
    case Kind::approval:
      return approval_message(event);
    case Kind::peer_rejected: {
      std::string out = "peer";
      if (event.peer_uid) out += " of uid " + std::to_string(*event.peer_uid);
      out += " rejected";
      if (!event.operation.empty()) out += " at " + printable(event.operation, kMaxName);
      if (!event.session_id.empty()) out += " of " + session_name(event);
      out += why();
      if (event.count && *event.count > 1) out += " (" + std::to_string(*event.count) + " peers)";
      return out;
    }
    case Kind::policy_loaded:
      return "policy " + printable(event.policy, kMaxName) + " loaded" +
             (event.path.empty() ? "" : " from " + printable(event.path, kMaxPath)) + asked();
    case Kind::policy_rejected:
      // Of no policy: it is the service's configuration.
      return (event.policy.empty() ? "configuration " : "policy ") +
             printable(event.path.empty() ? event.policy : event.path, kMaxPath) + " rejected" + asked() + why();
    case Kind::events_lost:
      return std::to_string(event.count.value_or(0)) + " audit events were lost" +
             (event.session_id.empty() ? std::string() : " of " + session_name(event)) + why();
  }
  return std::string(to_string(event.kind));
}

int priority(const Event& event) {
  switch (is_operation(event.kind) ? Kind::operation : event.kind) {
    case Kind::operation:
      return event.action == "denied" || event.decision != "allow" ? LOG_NOTICE : LOG_INFO;
    case Kind::approval:
      return LOG_NOTICE;
    case Kind::peer_rejected:
    case Kind::policy_rejected:
    case Kind::events_lost:
      return LOG_WARNING;
    case Kind::session_opened:
    case Kind::session_closed:
    case Kind::policy_loaded:
      return LOG_INFO;
  }
  return LOG_WARNING;
}

}  // namespace wrapd::audit
