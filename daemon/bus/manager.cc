// SPDX-License-Identifier: Apache-2.0

// org.wrapd1.Manager: sessions and policies.

#include <map>
#include <optional>
#include <vector>

#include "base/io.h"
#include "daemon/bus/members.h"
#include "daemon/bus/rendering.h"

namespace wrapd::daemon::bus {

namespace {

constexpr size_t kRowSize = 64;  // of a list, beside its texts

ApiError no_such_session(std::string_view id) {
  return {"NoSuchSession", "there is no session " + printable(id, 64)};
}

ApiResult<Target> target_of(const ServiceApi& service, std::string_view id) {
  auto info = service.session(id);
  if (!info) return std::unexpected(no_such_session(id));
  return Target{.owner = info->uid,
                .details = {{"session", shown_in_dialog(info->id)},
                            {"user", std::to_string(info->uid)},
                            {"command", shown_in_dialog(info->command)}}};
}

void terminate(ServiceApi& service, const std::shared_ptr<Call>& call, std::string_view id) {
  if (auto ended = service.terminate(id, call->by()); !ended) {
    call->refuse(ended.error());
  } else {
    call->answer();
  }
}

std::string id_of_path(const Call& call) {
  const std::string path = call.path();
  return path.substr(path.rfind('/') + 1);
}

// Answers `weak` with what the service said, if the call is still there.
template <class Value, class Answer>
std::function<void(ApiResult<Value>)> later(const std::shared_ptr<Call>& call, Answer answer) {
  return [weak = std::weak_ptr(call), answer = std::move(answer)](const ApiResult<Value>& result) {
    auto waiting = weak.lock();
    if (!waiting) return;
    if (!result) {
      waiting->refuse(result.error());
      return;
    }
    waiting->run([&] {
      if constexpr (std::is_void_v<Value>) {
        answer(*waiting);
      } else {
        answer(*waiting, *result);
      }
    });
  };
}

}  // namespace

std::string session_path(std::string_view id) {
  return std::string(kManagerPath) + "/session/" + std::string(id);
}

namespace methods_of {

void list_sessions(ServiceApi& service, const std::shared_ptr<Call>& call) {
  std::vector<sdbus::Struct<std::string, sdbus::ObjectPath, std::map<std::string, sdbus::Variant>>> rows;
  for (const SessionInfo& info : service.sessions()) {
    rows.emplace_back(info.id, sdbus::ObjectPath(session_path(info.id)),
                      dictionary(session_keys(), info, Length::listed).entries);
  }
  call->answer(rows);
}

void get_session(ServiceApi& service, const std::shared_ptr<Call>& call) {
  const std::string id = call->text();
  auto info = service.session(id);
  if (!info) {
    call->refuse(no_such_session(id));
    return;
  }
  call->answer(sdbus::ObjectPath(session_path(info->id)));
}

ApiResult<Target> find_session(const ServiceApi& service, Call& call) {
  return target_of(service, call.text());
}

void terminate_session(ServiceApi& service, const std::shared_ptr<Call>& call) {
  terminate(service, call, call->text());
}

ApiResult<Target> find_own_path(const ServiceApi& service, Call& call) {
  return target_of(service, id_of_path(call));
}

void terminate_own_path(ServiceApi& service, const std::shared_ptr<Call>& call) {
  terminate(service, call, id_of_path(*call));
}

ApiResult<Target> find_user(const ServiceApi&, Call& call) {
  uint32_t uid = 0;
  call.arguments() >> uid;
  return Target{.owner = uid, .details = {{"user", std::to_string(uid)}}};
}

void terminate_user(ServiceApi& service, const std::shared_ptr<Call>& call) {
  uint32_t uid = 0;
  call->arguments() >> uid;
  uint32_t count = 0;
  std::optional<ApiError> failure;
  for (const SessionInfo& info : service.sessions()) {
    if (info.uid != uid || info.state == SessionState::closing) continue;
    auto ended = service.terminate(info.id, call->by());
    // Gone between the list and here: it has ended, too. None is spared because of another.
    if (!ended && ended.error().code != "NoSuchSession") failure = ended.error();
    if (ended && info.state != SessionState::terminating) ++count;
  }
  if (failure) {
    call->refuse(*failure);
  } else {
    call->answer(count);
  }
}

void list_policies(ServiceApi& service, const std::shared_ptr<Call>& call) {
  std::vector<sdbus::Struct<std::string, std::map<std::string, sdbus::Variant>>> rows;
  for (const PolicyInfo& info : service.policies(call->sender().credentials())) {
    Dictionary details = dictionary(policy_keys(), info, Length::whole);
    rows.emplace_back(printable(info.name), std::move(details.entries));
    call->charge(kRowSize + details.size);
  }
  call->answer(rows);
}

void describe_policy(ServiceApi& service, const std::shared_ptr<Call>& call) {
  auto found = service.describe_policy(call->sender().credentials(), call->text());
  if (!found) {
    call->refuse(found.error());
    return;
  }
  Dictionary details;
  details.add("file", found->info.file);
  details.add("mode", found->info.mode);
  call->charge(details.size + found->text.size());
  details.entries.emplace("text", sdbus::Variant(found->text));  // YAML that was accepted: lines of UTF-8
  call->answer(details.entries);
}

void check_policy(ServiceApi& service, const std::shared_ptr<Call>& call) {
  service.check_policy(call->sender().credentials(), call->text(),
                       later<std::vector<std::string>>(call, [](Call& waiting, const std::vector<std::string>& lines) {
                         std::vector<std::string> shown;
                         shown.reserve(lines.size());
                         for (const auto& line : lines) {
                           shown.push_back(printable(line));
                           waiting.charge(kRowSize + shown.back().size());
                         }
                         waiting.answer(shown);
                       }));
}

void test_policy(ServiceApi& service, const std::shared_ptr<Call>& call) {
  std::string name;
  std::string operation;
  std::string target;
  call->arguments() >> name >> operation >> target;
  service.test_policy(call->sender().credentials(), name, operation, target,
                      later<PolicyVerdict>(call, [](Call& waiting, const PolicyVerdict& verdict) {
                        const Dictionary shown = dictionary(verdict_keys(), verdict, Length::whole);
                        waiting.charge(shown.size);
                        waiting.answer(shown.entries);
                      }));
}

void reload(ServiceApi& service, const std::shared_ptr<Call>& call) {
  service.reload(call->by(), later<void>(call, [](Call& waiting) { waiting.answer(); }));
}

}  // namespace methods_of
}  // namespace wrapd::daemon::bus
