// SPDX-License-Identifier: Apache-2.0
#include "wire/supervisor_config.h"

#include "wire/codec.h"

namespace wrapd::wire {

void fields(auto& v, Is<SupervisorConfig> auto& config) {
  v.number("own_uid", config.own_uid, kMaxId);
  v.number("own_gid", config.own_gid, kMaxId);
  v.number("uid", config.uid, kMaxId);
  v.number("gid", config.gid, kMaxId);
  v.numbers("groups", config.groups, kMaxId);
  v.number("client_pid", config.client_pid, kMaxPid);
  v.shown("command", config.command, kMaxCommand);
  v.flag("events", config.events);
  v.flag("profile", config.profile);
  v.number("record_slot", config.record_slot, kMaxRecordSlot);
  v.number("waiting_calls", config.waiting_calls, kMaxWaitingCalls, 1);
  v.object("reply", config.reply);
}

std::string encode(const SupervisorConfig& config) {
  return encode_message(config);
}

Result<SupervisorConfig> decode_supervisor_config(std::string_view text) {
  return decode_message<SupervisorConfig>(text, kMaxSupervisorConfig, "session configuration");
}

}  // namespace wrapd::wire
