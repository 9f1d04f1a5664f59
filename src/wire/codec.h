// SPDX-License-Identifier: Apache-2.0
#pragma once

// What several messages have in common.

#include "plan/confinement.h"
#include "policy/verdict.h"
#include "wire/control.h"
#include "wire/fields.h"

namespace wrapd::wire {

inline constexpr std::string_view kOnUnsupported[] = {"deny", "monitor"};

void fields(auto& v, Is<plan::Confinement> auto& confinement) {
  v.flag("filtered", confinement.filtered);
  v.words("traps", confinement.traps, plan::kTrapGroups);
  v.set("scopes", {{"signal", &confinement.scopes.signal}, {"abstract_socket", &confinement.scopes.abstract_socket}});
  v.word("on_unsupported", confinement.monitor_unsupported, kOnUnsupported);
}

void fields(auto& v, Is<SessionReply> auto& reply) {
  v.exact("id", reply.id, kId);
  v.path("directory", reply.directory);
  v.part("tokens", [&](auto& tokens) {
    tokens.exact("notify", reply.notify_token, kToken);
    tokens.exact("signal", reply.signal_token, kToken);
    tokens.exact("ptrace", reply.ptrace_token, kToken);
  });
  v.exact("policy", reply.policy, kPolicyName);
  v.word("mode", reply.mode, policy::kModes);
  v.object("confinement", reply.confinement);
  v.shown_list("notices", reply.notices, kMaxNotices, kMaxNotice);
}

}  // namespace wrapd::wire
