// SPDX-License-Identifier: Apache-2.0
#include "wire/control.h"

#include <algorithm>
#include <cerrno>

#include "base/io.h"
#include "base/json_text.h"
#include "policy/name.h"
#include "wire/codec.h"

namespace wrapd::wire {
namespace {

constexpr size_t kMaxPath = 4095;
constexpr size_t kIdDigits = 32;
constexpr size_t kTokenDigits = 64;
constexpr size_t kMaxNotices = 16;
constexpr size_t kMaxNotice = 1024;
constexpr size_t kMaxErrorMessage = 4096;
constexpr size_t kMaxOperation = 32;
constexpr size_t kMaxTarget = 4200;  // a path of 4095 plain bytes is never cut
constexpr size_t kMaxName = 256;     // rules, policies as shown
constexpr size_t kMaxGuidance = 1024;
constexpr size_t kMaxTerminated = 256;
constexpr size_t kMaxTrapWord = 32;

bool is_code(std::string_view text) {
  return !text.empty() && text.size() <= 32 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
}

bool is_mode(std::string_view text) {
  return text == "enforce" || text == "audit" || text == "disabled";
}

// Elements of a list of strings, unescaped.
std::vector<std::string> take_strings(Fields& fields, const Value* list, std::string_view key, size_t max_count,
                                      size_t max_bytes) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  fields.require(list->items.size() <= max_count, key, "a list of at most " + std::to_string(max_count));
  if (list->items.size() > max_count) return out;
  for (const Value& item : list->items) {
    auto text = item.type == Value::Type::string ? unescape(item.string) : std::nullopt;
    bool good = text.has_value() && text->size() <= max_bytes;
    fields.require(good, key, "a list of strings of at most " + std::to_string(max_bytes) + " bytes");
    if (good) out.push_back(std::move(*text));
  }
  return out;
}

std::string encode(const DenialLine& line) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.string("operation", cut(line.operation, kMaxOperation));
  writer.string("target", cut(line.target, kMaxTarget));
  writer.boolean("abstract", line.abstract);
  writer.number("count", line.count);
  writer.string("rule", cut(line.rule, kMaxName));
  writer.string("policy", cut(line.policy, kMaxName));
  writer.string("guidance", cut(line.guidance, kMaxGuidance));
  writer.string("reason", cut(line.reason, kMaxGuidance));
  writer.boolean("enforced", line.enforced);
  writer.finish();
  return out;
}

Result<DenialLine> denial_from(const Value& object) {
  if (object.type != Value::Type::object) return fail("summary: \"denials\" must be a list of objects", EINVAL);
  Fields fields(object, "summary, denial");
  DenialLine line;
  line.operation = fields.text("operation", kMaxOperation);
  line.target = fields.text("target", kMaxTarget);
  line.abstract = fields.boolean("abstract");
  line.count = fields.number("count", UINT64_MAX);
  line.rule = fields.text("rule", kMaxName);
  line.policy = fields.text("policy", kMaxName);
  line.guidance = fields.text("guidance", kMaxGuidance);
  line.reason = fields.text("reason", kMaxGuidance);
  line.enforced = fields.boolean("enforced");
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return line;
}

Result<Summary> summary_from(const Value& object) {
  Fields fields(object, "summary");
  fields.version();
  fields.constant("message", "summary");
  Summary summary;
  summary.allowed = fields.number("allowed", UINT64_MAX);
  summary.denied = fields.number("denied", UINT64_MAX);
  summary.audited = fields.number("audited", UINT64_MAX);
  summary.lost = fields.number("lost", UINT64_MAX);
  summary.more = fields.number("more", UINT64_MAX);
  const Value* denials = fields.take("denials", Value::Type::array);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  for (const Value& item : denials->items) {
    auto line = denial_from(item);
    if (!line) return std::unexpected(line.error());
    summary.denials.push_back(std::move(*line));
  }
  return summary;
}

Result<WaitingCall> waiting_from(const Value& object) {
  Fields fields(object, "waiting message");
  fields.version();
  fields.constant("message", "waiting");
  WaitingCall call;
  call.operation = fields.text("operation", kMaxOperation);
  call.target = fields.text("target", kMaxTarget);
  call.abstract = fields.boolean("abstract");
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return call;
}

Result<std::string> event_from(const Value& object) {
  Fields fields(object, "event message");
  fields.version();
  fields.constant("message", "event");
  const Value* event = fields.take("event", Value::Type::object);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  for (const Value& item : event->items) {
    if (item.type == Value::Type::object || item.type == Value::Type::array) {
      return fail("event message: an event has no nested values", EINVAL);
    }
  }
  std::string out;
  append_json(out, *event);
  return out;
}

}  // namespace

std::string cut(std::string_view bytes, size_t max) {
  // printable() ends at most three bytes of a character and the dots behind its limit.
  constexpr size_t kOverhang = 6;
  return printable(bytes, max - kOverhang);
}

std::string encode(const OpenRequest& request) {
  std::string out;
  out.reserve(256 + request.command.size() + request.cwd.size());
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("request", "open");
  writer.string("command", cut(request.command, kMaxCommand));
  writer.string("cwd", escape(request.cwd));
  if (request.policy) writer.string("policy", escape(*request.policy));
  if (request.profile) writer.boolean("profile", true);
  if (!request.traps.empty()) {
    std::string list;
    for (std::string_view word : request.traps.words()) append_json_string(list += list.empty() ? '[' : ',', word);
    writer.raw("traps", list += ']');
  }
  if (request.events) writer.boolean("events", true);
  writer.finish();
  return out;
}

Result<OpenRequest> decode_open_request(std::string_view text) {
  auto object = parse_object(text, kMaxOpenRequest, "open request");
  if (!object) return std::unexpected(object.error());
  Fields fields(*object, "open request");
  OpenRequest request;
  fields.version();
  fields.constant("request", "open");
  request.command = fields.text("command", kMaxCommand);
  request.cwd = fields.text("cwd", kMaxPath);
  fields.require(is_absolute_path(request.cwd), "cwd", "an absolute path without \"..\"");
  if (const Value* policy = fields.take_if("policy", Value::Type::string)) {
    fields.require(policy::valid_name(policy->string), "policy", "1 to 64 letters, digits, '.', '_' or '-'");
    request.policy = policy->string;
  }
  if (const Value* profile = fields.take_if("profile", Value::Type::boolean)) request.profile = profile->boolean;
  if (const Value* events = fields.take_if("events", Value::Type::boolean)) request.events = events->boolean;
  for (const std::string& word : take_strings(fields, fields.take_if("traps", Value::Type::array), "traps",
                                              plan::kTrapGroups.size(), kMaxTrapWord)) {
    fields.require(request.traps.add(word), "traps", "a list of names of trap groups, each at most once");
  }
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return request;
}

std::string encode(const SessionReply& reply) {
  std::string out;
  out.reserve(1024);
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("reply", "session");
  writer.string("id", escape(reply.id));
  writer.string("directory", escape(reply.directory));
  std::string tokens;
  JsonObjectWriter token_writer(tokens);
  token_writer.string("notify", escape(reply.notify_token));
  token_writer.string("signal", escape(reply.signal_token));
  token_writer.string("ptrace", escape(reply.ptrace_token));
  token_writer.finish();
  writer.raw("tokens", tokens);
  writer.string("policy", escape(reply.policy));
  writer.string("mode", escape(reply.mode));
  writer.boolean("filtered", reply.filtered);
  std::string landlock;
  JsonObjectWriter landlock_writer(landlock);
  landlock_writer.boolean("scope_signal", reply.scope_signal);
  landlock_writer.boolean("scope_abstract", reply.scope_abstract);
  landlock_writer.finish();
  writer.raw("landlock", landlock);
  writer.string("on_unsupported", reply.monitor_unsupported ? "monitor" : "deny");
  std::string notices = "[";
  for (size_t i = 0; i < std::min(reply.notices.size(), kMaxNotices); ++i) {
    if (i > 0) notices += ',';
    append_json_string(notices, cut(reply.notices[i], kMaxNotice));
  }
  notices += ']';
  writer.raw("notices", notices);
  writer.finish();
  return out;
}

std::string encode(const ErrorReply& reply) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("reply", "error");
  writer.string("code", escape(reply.code));
  writer.string("message", cut(reply.message, kMaxErrorMessage));
  writer.finish();
  return out;
}

Result<SessionReply> session_reply_from(const Value& object) {
  Fields fields(object, "session reply");
  SessionReply reply;
  fields.version();
  fields.constant("reply", "session");
  reply.id = fields.text("id", kIdDigits);
  fields.require(is_lower_hex(reply.id, kIdDigits), "id", "32 hexadecimal digits");
  reply.directory = fields.text("directory", kMaxPath);
  fields.require(is_absolute_path(reply.directory), "directory", "an absolute path without \"..\"");
  if (const Value* list = fields.take("tokens", Value::Type::object)) {
    Fields tokens(*list, "session reply, tokens");
    for (auto [key, token] : {std::pair{"notify", &reply.notify_token}, std::pair{"signal", &reply.signal_token},
                              std::pair{"ptrace", &reply.ptrace_token}}) {
      *token = tokens.text(key, kTokenDigits);
      tokens.require(is_lower_hex(*token, kTokenDigits), key, "64 hexadecimal digits");
    }
    if (auto done = tokens.finish(); !done) return std::unexpected(done.error());
  }
  reply.policy = fields.text("policy", 64);
  fields.require(policy::valid_name(reply.policy), "policy", "1 to 64 letters, digits, '.', '_' or '-'");
  reply.mode = fields.text("mode", 16);
  fields.require(is_mode(reply.mode), "mode", "enforce, audit or disabled");
  reply.filtered = fields.boolean("filtered");
  if (const Value* list = fields.take("landlock", Value::Type::object)) {
    Fields landlock(*list, "session reply, landlock");
    reply.scope_signal = landlock.boolean("scope_signal");
    reply.scope_abstract = landlock.boolean("scope_abstract");
    if (auto done = landlock.finish(); !done) return std::unexpected(done.error());
  }
  std::string on_unsupported = fields.text("on_unsupported", 16);
  fields.require(on_unsupported == "deny" || on_unsupported == "monitor", "on_unsupported", "deny or monitor");
  reply.monitor_unsupported = on_unsupported == "monitor";
  reply.notices = take_strings(fields, fields.take("notices", Value::Type::array), "notices", kMaxNotices, kMaxNotice);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return reply;
}

Result<SessionReply> decode_session_reply(std::string_view text) {
  auto object = parse_object(text, kMaxReply, "session reply");
  if (!object) return std::unexpected(object.error());
  auto kind = std::find(object->keys.begin(), object->keys.end(), "reply");
  bool refusal =
      kind != object->keys.end() && object->items[static_cast<size_t>(kind - object->keys.begin())].string == "error";
  if (!refusal) return session_reply_from(*object);
  Fields fields(*object, "error reply");
  fields.version();
  fields.constant("reply", "error");
  const std::string code = fields.text("code", 32);
  fields.require(is_code(code), "code", "lower-case letters and '-'");
  std::string message = fields.text("message", kMaxErrorMessage);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return fail(printable(message), code == kNotPermitted ? EACCES : 0);
}

std::string encode_finish_request() {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("request", "finish");
  writer.finish();
  return out;
}

bool is_finish_request(std::string_view text) {
  auto object = parse_object(text, kMaxOpenRequest, "finish request");
  if (!object) return false;
  Fields fields(*object, "finish request");
  fields.version();
  fields.constant("request", "finish");
  return fields.finish().has_value();
}

std::string encode_profile_invitation() {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("reply", "profile");
  writer.finish();
  return out;
}

bool is_profile_invitation(std::string_view text) {
  auto object = parse_object(text, kMaxReply, "invitation");
  if (!object) return false;
  Fields fields(*object, "invitation");
  fields.version();
  fields.constant("reply", "profile");
  return fields.finish().has_value();
}

std::string encode(const Summary& summary) {
  constexpr size_t kForTheRest = 512;
  std::string denials = "[";
  uint64_t more = summary.more;
  for (size_t i = 0; i < summary.denials.size(); ++i) {
    std::string line = encode(summary.denials[i]);
    if (denials.size() + line.size() + kForTheRest > kMaxReply) {
      more += summary.denials.size() - i;
      break;
    }
    if (i > 0) denials += ',';
    denials += line;
  }
  denials += ']';
  std::string out;
  out.reserve(denials.size() + kForTheRest);
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("message", "summary");
  writer.number("allowed", summary.allowed);
  writer.number("denied", summary.denied);
  writer.number("audited", summary.audited);
  writer.number("lost", summary.lost);
  writer.number("more", more);
  writer.raw("denials", denials);
  writer.finish();
  return out;
}

std::string encode_event(std::string_view event_json) {
  std::string out;
  out.reserve(event_json.size() + 64);
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("message", "event");
  writer.raw("event", event_json);
  writer.finish();
  return out;
}

std::string encode_terminated(std::string_view reason) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("message", "terminated");
  writer.string("reason", cut(reason, kMaxTerminated));
  writer.finish();
  return out;
}

std::string encode(const WaitingCall& call) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("message", "waiting");
  writer.string("operation", cut(call.operation, kMaxOperation));
  writer.string("target", cut(call.target, kMaxTarget));
  writer.boolean("abstract", call.abstract);
  writer.finish();
  return out;
}

Result<SessionMessage> decode_session_message(std::string_view text) {
  auto object = parse_object(text, kMaxReply, "session message");
  if (!object) return std::unexpected(object.error());
  auto kind = std::find(object->keys.begin(), object->keys.end(), "message");
  if (kind == object->keys.end()) return fail("session message: \"message\" is missing", EINVAL);
  const std::string& word = object->items[static_cast<size_t>(kind - object->keys.begin())].string;
  SessionMessage message;
  if (word == "event") {
    auto event = event_from(*object);
    if (!event) return std::unexpected(event.error());
    message.event_json = std::move(*event);
    return message;
  }
  if (word == "waiting") {
    auto call = waiting_from(*object);
    if (!call) return std::unexpected(call.error());
    message.waiting = std::move(*call);
    return message;
  }
  if (word == "terminated") {
    Fields fields(*object, "session message");
    fields.version();
    fields.constant("message", "terminated");
    message.terminated = fields.text("reason", kMaxTerminated);
    if (auto done = fields.finish(); !done) return std::unexpected(done.error());
    return message;
  }
  auto summary = summary_from(*object);
  if (!summary) return std::unexpected(summary.error());
  message.summary = std::move(*summary);
  return message;
}

}  // namespace wrapd::wire
