// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_record.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"

namespace wrapd::daemon {
namespace {

SessionFacts facts() {
  return {.id = std::string(32, 'a'),
          .uid = 1000,
          .client_pid = 12,
          .supervisor_pid = 34,
          .policy = "agents",
          .policy_digest = std::string(16, '0'),
          .mode = "audit",
          .since = WallTime(std::chrono::microseconds(1'700'000'000'123'456)),
          .command = std::string("sh -c 'x\n\xff\0\"\\'", 15),
          .waiting_calls = 321};
}

TEST(SessionRecord, ComesBackByteForByte) {
  auto record = seal_session_facts(facts());
  ASSERT_TRUE(record);
  auto read = read_session_record(record->get());
  ASSERT_TRUE(read) << read.error().message;
  const auto* back = std::get_if<SessionFacts>(&*read);
  ASSERT_NE(back, nullptr);
  EXPECT_EQ(back->id, facts().id);
  EXPECT_EQ(back->uid, facts().uid);
  EXPECT_EQ(back->client_pid, facts().client_pid);
  EXPECT_EQ(back->supervisor_pid, facts().supervisor_pid);
  EXPECT_EQ(back->policy, facts().policy);
  EXPECT_EQ(back->policy_digest, facts().policy_digest);
  EXPECT_EQ(back->mode, facts().mode);
  EXPECT_EQ(back->since, facts().since);
  EXPECT_EQ(back->command, facts().command);
  EXPECT_EQ(back->waiting_calls, 321U);
}

TEST(SessionRecord, TheLongestCommandFits) {
  SessionFacts long_one = facts();
  long_one.command = std::string(4096, '\xff');
  auto back = decode_session_record(encode(long_one));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(std::get<SessionFacts>(*back).command, long_one.command);
}

EndOrder end_order() {
  return {.id = std::string(32, 'a'),
          .reason = "uid 0",
          .deadline = std::chrono::steady_clock::time_point(std::chrono::microseconds(123'456'789))};
}

TEST(SessionRecord, AnOrderToEndComesBack) {
  auto record = seal_session_record(end_order());
  ASSERT_TRUE(record);
  auto read = read_session_record(record->get());
  ASSERT_TRUE(read) << read.error().message;
  const auto* back = std::get_if<EndOrder>(&*read);
  ASSERT_NE(back, nullptr);
  EXPECT_EQ(back->id, end_order().id);
  EXPECT_EQ(back->reason, end_order().reason);
  EXPECT_EQ(back->deadline, end_order().deadline);
  EndOrder long_one = end_order();
  long_one.reason = std::string(5000, '\xff');
  EXPECT_TRUE(decode_session_record(encode(long_one))) << "the reason is cut";
}

TEST(SessionRecord, CannotBeChanged) {
  auto record = seal_session_facts(facts());
  ASSERT_TRUE(record);
  EXPECT_EQ(::pwrite(record->get(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(record->get(), 0), -1);
}

TEST(SessionRecord, UnsealedIsNotRead) {
  const std::string text = encode(facts());
  for (int seals : {0, F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE}) {
    UniqueFd fd(::memfd_create("record", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_TRUE(write_all(fd.get(), text));
    ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    EXPECT_FALSE(read_session_record(fd.get())) << seals;
  }
}

TEST(SessionRecord, AnythingElseIsAnError) {
  const std::string whole = encode(facts());
  ASSERT_TRUE(decode_session_record(whole));
  for (size_t cut = 0; cut < whole.size(); ++cut) EXPECT_FALSE(decode_session_record(whole.substr(0, cut)));
  for (auto [from, to] : {std::pair{"\"uid\":1000", "\"uid\":4294967295"},
                          {"\"uid\":1000", "\"uid\":-1"},
                          {"\"uid\":1000", "\"uid\":1000,\"uid\":0"},
                          {"\"supervisor_pid\":34", "\"supervisor_pid\":0"},
                          {"\"mode\":\"audit\"", "\"mode\":\"off\""},
                          {"\"policy\":\"agents\"", "\"policy\":\"../agents\""},
                          {"\"policy\":\"agents\"", "\"policy\":\"agents\",\"more\":1"},
                          {"\"version\":1", "\"version\":2"},
                          {"\"record\":\"session\"", "\"record\":\"policy\""},
                          {"aaaa\"", "aaaA\""}}) {
    std::string changed = whole;
    auto at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, std::string_view(from).size(), to);
    EXPECT_FALSE(decode_session_record(changed)) << changed;
  }
}

TEST(SessionRecord, AnyOtherOrderToEndIsAnError) {
  const std::string whole = encode(end_order());
  ASSERT_TRUE(decode_session_record(whole));
  for (size_t cut = 0; cut < whole.size(); ++cut) EXPECT_FALSE(decode_session_record(whole.substr(0, cut)));
  for (auto [from, to] : {std::pair{"aaaa\"", "aaaA\""},
                          {"\"deadline\":123456789", "\"deadline\":18446744073709551615"},
                          {"\"deadline\":123456789", "\"deadline\":-1"},
                          {"\"reason\":", "\"reasons\":"},
                          {"\"version\":1", "\"version\":2"},
                          {"\"record\":\"end\"", "\"record\":\"session\""}}) {
    std::string changed = whole;
    auto at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, std::string_view(from).size(), to);
    EXPECT_FALSE(decode_session_record(changed)) << changed;
  }
}

TEST(PolicyDigest, IsOfTheText) {
  EXPECT_EQ(policy_digest("version: 1\n").size(), 16U);
  EXPECT_EQ(policy_digest("version: 1\n"), policy_digest(std::string("version: 1\n")));
  EXPECT_NE(policy_digest("version: 1\n"), policy_digest("version: 1"));
}

}  // namespace
}  // namespace wrapd::daemon
