// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_record.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <functional>
#include <span>

#include "base/io.h"
#include "policy/verdict.h"
#include "wire/fields.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kDigestDigits = 16;
constexpr std::string_view kWhat = "session record";

const wire::Form kDigest{[](std::string_view text) { return wire::is_lower_hex(text, kDigestDigits); },
                         "16 hexadecimal digits"};

}  // namespace

void fields(auto& v, wire::Is<SessionFacts> auto& facts) {
  v.exact("id", facts.id, wire::kId);
  v.number("uid", facts.uid, wire::kMaxId);
  v.number("client_pid", facts.client_pid, wire::kMaxPid);
  v.number("supervisor_pid", facts.supervisor_pid, wire::kMaxPid, 1);
  v.exact("policy", facts.policy, wire::kPolicyName);
  v.exact("policy_digest", facts.policy_digest, kDigest);
  v.word("mode", facts.mode, policy::kModes);
  v.time("since", facts.since);
  v.bytes("command", facts.command, wire::kMaxCommand);
  v.number("waiting_calls", facts.waiting_calls, wire::kMaxWaitingCalls);
}

void fields(auto& v, wire::Is<EndOrder> auto& order) {
  v.exact("id", order.id, wire::kId);
  v.shown("reason", order.reason, wire::kMaxEndedBy);
  v.time("deadline", order.deadline);
}

std::string encode(const SessionFacts& facts) {
  return wire::encode_message(facts);
}

std::string encode(const EndOrder& order) {
  return wire::encode_message(order);
}

Result<SessionRecord> decode_session_record(std::string_view text) {
  return wire::decode_one_of<SessionFacts, EndOrder>(text, kMaxSessionRecord, kWhat);
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
