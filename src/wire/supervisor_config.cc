// SPDX-License-Identifier: Apache-2.0
#include "wire/supervisor_config.h"

#include <climits>

#include "base/json_text.h"
#include "wire/codec.h"

namespace wrapd::wire {
namespace {

// -1 means "leave it" to setresuid(2) and its like: the one number that must never get there.
constexpr uint64_t kMaxId = UINT32_MAX - 1;

}  // namespace

std::string encode(const SupervisorConfig& config) {
  std::string groups = "[";
  for (size_t i = 0; i < config.groups.size(); ++i) {
    if (i > 0) groups += ',';
    groups += std::to_string(config.groups[i]);
  }
  groups += ']';
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string("config", "session");
  writer.number("own_uid", config.own_uid);
  writer.number("own_gid", config.own_gid);
  writer.number("uid", config.uid);
  writer.number("gid", config.gid);
  writer.raw("groups", groups);
  writer.number("client_pid", static_cast<uint64_t>(config.client_pid));
  writer.string("command", cut(config.command, kMaxCommand));
  writer.boolean("events", config.events);
  writer.boolean("profile", config.profile);
  writer.number("record_slot", config.record_slot);
  writer.number("waiting_calls", config.waiting_calls);
  writer.raw("reply", encode(config.reply));
  writer.finish();
  return out;
}

Result<SupervisorConfig> decode_supervisor_config(std::string_view text) {
  auto object = parse_object(text, kMaxSupervisorConfig, "session configuration");
  if (!object) return std::unexpected(object.error());
  Fields fields(*object, "session configuration");
  SupervisorConfig config;
  fields.version();
  fields.constant("config", "session");
  config.own_uid = static_cast<uid_t>(fields.number("own_uid", kMaxId));
  config.own_gid = static_cast<gid_t>(fields.number("own_gid", kMaxId));
  config.uid = static_cast<uid_t>(fields.number("uid", kMaxId));
  config.gid = static_cast<gid_t>(fields.number("gid", kMaxId));
  const Value* groups = fields.take("groups", Value::Type::array);
  config.client_pid = static_cast<pid_t>(fields.number("client_pid", INT_MAX));
  config.command = fields.text("command", kMaxCommand);
  config.events = fields.boolean("events");
  config.profile = fields.boolean("profile");
  config.record_slot = fields.number("record_slot", kMaxRecordSlot);
  config.waiting_calls = fields.number("waiting_calls", kMaxWaitingCalls);
  fields.require(config.waiting_calls > 0, "waiting_calls", "a number of calls");
  const Value* reply = fields.take("reply", Value::Type::object);
  if (groups != nullptr) {
    for (const Value& group : groups->items) {
      bool good = group.type == Value::Type::number && group.number <= kMaxId;
      fields.require(good, "groups", "a list of group ids");
      if (good) config.groups.push_back(static_cast<gid_t>(group.number));
    }
  }
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  auto session = session_reply_from(*reply);
  if (!session) return std::unexpected(session.error());
  config.reply = std::move(*session);
  return config;
}

}  // namespace wrapd::wire
