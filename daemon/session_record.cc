// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_record.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <functional>
#include <span>

#include "base/io.h"
#include "base/json_text.h"
#include "policy/name.h"
#include "wire/control.h"
#include "wire/json_reader.h"
#include "wire/supervisor_config.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kDigestDigits = 16;
constexpr uint64_t kMaxId = UINT32_MAX - 1;
constexpr size_t kMaxReason = 256;
constexpr std::string_view kWhat = "session record";
constexpr std::array<std::string_view, 3> kModes = {"enforce", "audit", "disabled"};

template <class Time>
uint64_t microseconds(Time time) {
  auto count = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  return count < 0 ? 0 : static_cast<uint64_t>(count);
}

Result<SessionRecord> facts_from(wire::Fields& fields) {
  SessionFacts facts;
  facts.id = fields.text("id", 32);
  fields.require(wire::is_lower_hex(facts.id, 32), "id", "32 hexadecimal digits");
  facts.uid = static_cast<uid_t>(fields.number("uid", kMaxId));
  facts.client_pid = static_cast<pid_t>(fields.number("client_pid", INT_MAX));
  facts.supervisor_pid = static_cast<pid_t>(fields.number("supervisor_pid", INT_MAX));
  fields.require(facts.supervisor_pid > 0, "supervisor_pid", "a process number");
  facts.policy = fields.text("policy", 64);
  fields.require(policy::valid_name(facts.policy), "policy", "a policy's name");
  facts.policy_digest = fields.text("policy_digest", kDigestDigits);
  fields.require(wire::is_lower_hex(facts.policy_digest, kDigestDigits), "policy_digest", "16 hexadecimal digits");
  facts.mode = fields.text("mode", 16);
  fields.require(std::ranges::find(kModes, facts.mode) != kModes.end(), "mode", "enforce, audit or disabled");
  facts.since = WallTime(std::chrono::microseconds(fields.number("since", INT64_MAX / 1000)));
  facts.command = fields.text("command", wire::kMaxCommand);
  facts.waiting_calls = fields.number("waiting_calls", wire::kMaxWaitingCalls);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return facts;
}

Result<SessionRecord> end_order_from(wire::Fields& fields) {
  EndOrder order;
  order.id = fields.text("id", 32);
  fields.require(wire::is_lower_hex(order.id, 32), "id", "32 hexadecimal digits");
  order.reason = fields.text("reason", kMaxReason);
  order.deadline =
      std::chrono::steady_clock::time_point(std::chrono::microseconds(fields.number("deadline", INT64_MAX / 1000)));
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return order;
}

}  // namespace

std::string encode(const SessionFacts& facts) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", wire::kProtocolVersion);
  writer.string("record", "session");
  writer.string("id", facts.id);
  writer.number("uid", facts.uid);
  writer.number("client_pid", static_cast<uint64_t>(facts.client_pid));
  writer.number("supervisor_pid", static_cast<uint64_t>(facts.supervisor_pid));
  writer.string("policy", facts.policy);
  writer.string("policy_digest", facts.policy_digest);
  writer.string("mode", facts.mode);
  writer.number("since", microseconds(facts.since));
  writer.string("command", wire::escape(facts.command));
  writer.number("waiting_calls", facts.waiting_calls);
  writer.finish();
  return out;
}

std::string encode(const EndOrder& order) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", wire::kProtocolVersion);
  writer.string("record", "end");
  writer.string("id", order.id);
  writer.string("reason", printable(order.reason, kMaxReason - 8));
  writer.number("deadline", microseconds(order.deadline));
  writer.finish();
  return out;
}

Result<SessionRecord> decode_session_record(std::string_view text) {
  auto object = wire::parse_object(text, kMaxSessionRecord, kWhat);
  if (!object) return std::unexpected(object.error());
  const auto at = std::ranges::find(object->keys, "record");
  const bool end =
      at != object->keys.end() && object->items[static_cast<size_t>(at - object->keys.begin())].string == "end";
  wire::Fields fields(*object, kWhat);
  fields.version();
  fields.constant("record", end ? "end" : "session");
  return end ? end_order_from(fields) : facts_from(fields);
}

Result<UniqueFd> seal_session_record(const SessionRecord& record) {
  const std::string text = std::visit([](const auto& what) { return encode(what); }, record);
  return sealed_memfd("wrapd-session", std::as_bytes(std::span(text)));
}

Result<UniqueFd> seal_session_facts(const SessionFacts& facts) {
  return seal_session_record(facts);
}

Result<SessionRecord> read_session_record(int memfd) {
  struct stat st {};
  if (::fstat(memfd, &st) < 0) return fail_errno("cannot stat a session record");
  if (st.st_uid != ::geteuid()) return fail("a session record was made by uid " + std::to_string(st.st_uid), EPERM);
  auto mapping = SealedMapping::map(memfd, kMaxSessionRecord);
  if (!mapping) return std::unexpected(mapping.error());
  auto bytes = mapping->bytes();
  return decode_session_record({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string policy_digest(std::string_view text) {
  std::array<char, kDigestDigits + 1> out;
  std::snprintf(out.data(), out.size(), "%016zx", std::hash<std::string_view>{}(text));
  return out.data();
}

}  // namespace wrapd::daemon
