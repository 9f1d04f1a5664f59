// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/session_json.h"

#include <nlohmann/json.hpp>

#include "client/wrapctl/text.h"

namespace wrapd::wrapctl {

nlohmann::json to_json(const Session& s) {
  return {{"id", safe_text(s.id)},
          {"object", safe_text(s.object)},
          {"uid", s.uid},
          {"user", user_name(s.uid)},
          {"leader", s.leader},
          {"policy", safe_text(s.policy)},
          {"stale", s.stale},
          {"mode", safe_text(s.mode)},
          {"state", safe_text(s.state)},
          {"since", rfc3339(s.since)},
          {"allowed", s.allowed},
          {"denied", s.denied},
          {"command", safe_text(s.command)}};
}

nlohmann::json to_json(const Approval& a) {
  return {{"id", safe_text(a.id)},
          {"session", safe_text(session_of_object(a.session))},
          {"uid", a.uid},
          {"user", user_name(a.uid)},
          {"operation", safe_text(a.operation)},
          {"target", safe_text(a.target)},
          {"abstract", a.abstract},
          {"rule", safe_text(a.rule)},
          {"policy", safe_text(a.policy)},
          {"guidance", safe_text(a.guidance)},
          {"pid", a.pid},
          {"comm", safe_text(a.comm)},
          {"exe", safe_text(a.exe)},
          {"deadline", rfc3339(a.deadline)}};
}

std::string shown_target(const std::string& target, bool abstract) {
  return (abstract ? "@" : "") + safe_text(target);
}

}  // namespace wrapd::wrapctl
