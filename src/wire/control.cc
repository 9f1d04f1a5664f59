// SPDX-License-Identifier: Apache-2.0
#include "wire/control.h"

#include <cerrno>

#include "base/io.h"
#include "wire/codec.h"

namespace wrapd::wire {

struct FinishRequest {
  static constexpr Kind kKind{"request", "finish"};
};
struct ProfileInvitation {
  static constexpr Kind kKind{"reply", "profile"};
};
void fields(auto&, Is<FinishRequest> auto&) {}
void fields(auto&, Is<ProfileInvitation> auto&) {}

void fields(auto& v, Is<OpenRequest> auto& request) {
  v.shown("command", request.command, kMaxCommand);
  v.path("cwd", request.cwd);
  v.exact_if("policy", request.policy, kPolicyName);
  v.flag_if("profile", request.profile);
  v.words("traps", request.traps, plan::kTrapGroups, Presence::optional);
  v.flag_if("events", request.events);
}

void fields(auto& v, Is<ErrorReply> auto& reply) {
  v.exact("code", reply.code, kCode);
  v.shown("message", reply.message, kMaxErrorMessage);
}

void fields(auto& v, Is<DenialLine> auto& line) {
  v.shown("operation", line.operation, kMaxOperation);
  v.shown("target", line.target, kMaxTarget);
  v.shown("second", line.second, kMaxTarget);
  v.flag("abstract", line.abstract);
  v.number("count", line.count);
  v.shown("rule", line.rule, kMaxName);
  v.shown("policy", line.policy, kMaxName);
  v.shown("rules", line.rules, kMaxName);
  v.shown("guidance", line.guidance, kMaxGuidance);
  v.shown("reason", line.reason, kMaxGuidance);
  v.flag("enforced", line.enforced);
}

void fields(auto& v, Is<Summary> auto& summary) {
  v.number("allowed", summary.allowed);
  v.number("denied", summary.denied);
  v.number("audited", summary.audited);
  v.number("lost", summary.lost);
  v.number("more", summary.more);
  v.objects("denials", summary.denials);
}

void fields(auto& v, Is<WaitingCall> auto& call) {
  v.shown("operation", call.operation, kMaxOperation);
  v.shown("target", call.target, kMaxTarget);
  v.flag("abstract", call.abstract);
}

void fields(auto& v, Is<EventMessage> auto& event) {
  v.event("event", event.json);
}

void fields(auto& v, Is<Terminated> auto& terminated) {
  v.shown("reason", terminated.by, kMaxEndedBy);
}

namespace {

// As many denials as fit; the others are counted.
Summary that_fits(const Summary& whole) {
  constexpr size_t kForTheRest = 512;
  Summary summary = whole;
  summary.denials.clear();
  size_t room = kMaxReply - kForTheRest;
  for (const DenialLine& line : whole.denials) {
    const size_t size = encode_message(line).size() + 1;
    if (size > room) break;
    room -= size;
    summary.denials.push_back(line);
  }
  summary.more += whole.denials.size() - summary.denials.size();
  return summary;
}

}  // namespace

std::string encode(const OpenRequest& request) {
  return encode_message(request);
}

Result<OpenRequest> decode_open_request(std::string_view text) {
  return decode_message<OpenRequest>(text, kMaxOpenRequest, "open request");
}

std::string encode(const SessionReply& reply) {
  return encode_message(reply);
}

std::string encode(const ErrorReply& reply) {
  return encode_message(reply);
}

Result<SessionReply> decode_session_reply(std::string_view text) {
  auto reply = decode_one_of<SessionReply, ErrorReply>(text, kMaxReply, "session reply");
  if (!reply) return std::unexpected(std::move(reply.error()));
  if (auto* session = std::get_if<SessionReply>(&*reply)) return std::move(*session);
  const auto& refusal = std::get<ErrorReply>(*reply);
  return fail(printable(refusal.message), refusal.code == kNotPermitted ? EACCES : 0);
}

std::string encode_finish_request() {
  return encode_message(FinishRequest{});
}

bool is_finish_request(std::string_view text) {
  return decode_message<FinishRequest>(text, kMaxOpenRequest, "finish request").has_value();
}

std::string encode_profile_invitation() {
  return encode_message(ProfileInvitation{});
}

bool is_profile_invitation(std::string_view text) {
  return decode_message<ProfileInvitation>(text, kMaxReply, "invitation").has_value();
}

std::string encode(const SessionMessage& message) {
  if (const auto* summary = std::get_if<Summary>(&message)) return encode_message(that_fits(*summary));
  return encode_message(message);
}

Result<SessionMessage> decode_session_message(std::string_view text) {
  return decode_one_of<Summary, EventMessage, Terminated, WaitingCall>(text, kMaxReply, "session message");
}

}  // namespace wrapd::wire
