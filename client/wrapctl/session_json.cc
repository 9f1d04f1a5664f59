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

nlohmann::json to_json(const Question& q) {
  return {{"id", safe_text(q.id)},
          {"session", safe_text(session_of_object(q.session))},
          {"uid", q.uid},
          {"user", user_name(q.uid)},
          {"operation", safe_text(q.operation)},
          {"target", safe_text(q.target)},
          {"abstract", q.abstract},
          {"rule", safe_text(q.rule)},
          {"policy", safe_text(q.policy)},
          {"guidance", safe_text(q.guidance)},
          {"pid", q.pid},
          {"comm", safe_text(q.comm)},
          {"exe", safe_text(q.exe)},
          {"deadline", rfc3339(q.deadline)}};
}

std::string shown_target(const std::string& target, bool abstract) {
  return (abstract ? "@" : "") + safe_text(target);
}

}  // namespace wrapd::wrapctl
