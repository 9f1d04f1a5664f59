// SPDX-License-Identifier: Apache-2.0
#include "wire/supervisor_channel.h"

#include <gtest/gtest.h>

#include <climits>

namespace wrapd::wire {
namespace {

CallReport full_call() {
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  return {.operation = "connect",
          .target = every,
          .second = "/" + every,
          .abstract = true,
          .rule = "r",
          .policy = "p",
          .pid = INT_MAX,
          .comm = "a\"b\\c\n",
          .exe = "/x\xff"};
}

void expect_same(const CallReport& a, const CallReport& b) {
  EXPECT_EQ(a.operation, b.operation);
  EXPECT_EQ(a.target, b.target);
  EXPECT_EQ(a.second, b.second);
  EXPECT_EQ(a.abstract, b.abstract);
  EXPECT_EQ(a.rule, b.rule);
  EXPECT_EQ(a.policy, b.policy);
  EXPECT_EQ(a.pid, b.pid);
  EXPECT_EQ(a.comm, b.comm);
  EXPECT_EQ(a.exe, b.exe);
}

template <class Report>
Report back(const Report& report) {
  std::string text = encode(SupervisorReport{report});
  EXPECT_LE(text.size(), kMaxChannelMessage);
  auto decoded = decode_supervisor_report(text);
  EXPECT_TRUE(decoded) << text;
  if (!decoded || !std::holds_alternative<Report>(*decoded)) {
    ADD_FAILURE() << "another kind: " << text;
    return {};
  }
  return std::get<Report>(*decoded);
}

TEST(SupervisorReport, ComesBackAsItWas) {
  for (auto state :
       {SupervisorState::ready, SupervisorState::running, SupervisorState::terminating, SupervisorState::finished}) {
    EXPECT_EQ(back(StateReport{state}).state, state);
  }
  CounterReport counters{.allowed = 1, .denied = UINT64_MAX, .audited = 3, .lost = 4};
  EXPECT_EQ(back(counters), counters);
  DenialReport denial{.call = full_call(), .count = 7};
  expect_same(back(denial).call, denial.call);
  EXPECT_EQ(back(denial).count, 7U);
  QuestionReport question{.question = UINT64_MAX, .call = full_call(), .guidance = "why\n", .timeout_ms = 60000};
  auto same = back(question);
  expect_same(same.call, question.call);
  EXPECT_EQ(same.question, question.question);
  EXPECT_EQ(same.guidance, question.guidance);
  EXPECT_EQ(same.timeout_ms, question.timeout_ms);
  for (const char* how : {"allowed", "denied", "expired", "withdrawn"}) {
    EXPECT_EQ(back(QuestionGoneReport{.question = 3, .how = how}).how, how);
  }
}

// A program may choose what it is called and what it asks for.
TEST(SupervisorReport, TheLongestStillFits) {
  CallReport call{.operation = std::string(5000, '\xff'),
                  .target = std::string(5000, '\x01'),
                  .second = std::string(5000, '\x02'),
                  .rule = std::string(5000, '"'),
                  .policy = std::string(5000, '\\'),
                  .pid = -1,
                  .comm = std::string(5000, '\xff'),
                  .exe = std::string(5000, '\n')};
  auto same = back(QuestionReport{.question = 1, .call = call, .guidance = std::string(5000, '\xff'), .timeout_ms = 1});
  EXPECT_EQ(same.call.pid, 0);
  EXPECT_TRUE(call.target.starts_with(same.call.target.substr(0, 1000)));
  auto plain = back(DenialReport{.call = {.operation = "connect", .target = "/" + std::string(4094, 'a')}, .count = 1});
  EXPECT_EQ(plain.call.target.size(), 4095U) << "a path is not cut";
}

TEST(SupervisorReport, NonsenseIsRefused) {
  const char* bad[] = {
      "",
      "[]",
      R"({"version":1})",
      R"({"version":2,"report":"state","state":"ready"})",
      R"({"version":1,"report":"state","state":"?"})",
      R"({"version":1,"report":"state","state":"ready","uid":0})",
      R"({"version":1,"report":"state"})",
      R"({"version":1,"report":"identity","uid":0})",
      R"({"version":1,"report":["state"],"state":"ready"})",
      R"({"version":1,"report":"counters","allowed":1,"denied":2,"audited":3})",
      R"({"version":1,"report":"counters","allowed":-1,"denied":2,"audited":3,"lost":0})",
      R"({"version":1,"report":"denial","count":1})",
      R"({"version":1,"report":"denial","call":{},"count":1})",
      R"({"version":1,"report":"question-gone","question":1,"how":"maybe"})",
      R"({"version":1,"order":"terminate","reason":"x"})",
      R"({"version":1,"report":"state","state":"ready"}{})",
  };
  for (const char* text : bad) EXPECT_FALSE(decode_supervisor_report(text)) << text;
  std::string good = encode(SupervisorReport{DenialReport{.call = full_call(), .count = 1}});
  ASSERT_TRUE(decode_supervisor_report(good));
  EXPECT_FALSE(decode_supervisor_report(good + std::string(kMaxChannelMessage, ' ')));
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(decode_supervisor_report(good.substr(0, n))) << n;
}

TEST(ServiceOrder, ComesBackAsItWas) {
  auto report = decode_service_order(encode(ServiceOrder{ReportOrder{}}));
  ASSERT_TRUE(report);
  EXPECT_TRUE(std::holds_alternative<ReportOrder>(*report));
  auto end = decode_service_order(encode(ServiceOrder{TerminateOrder{.reason = "uid 0\x1b"}}));
  ASSERT_TRUE(end);
  EXPECT_EQ(std::get<TerminateOrder>(*end).reason, "uid 0\x1b");
  for (bool allow : {true, false}) {
    auto answer = decode_service_order(encode(ServiceOrder{AnswerOrder{.question = 8, .allow = allow, .by = "uid 1"}}));
    ASSERT_TRUE(answer);
    EXPECT_EQ(std::get<AnswerOrder>(*answer).question, 8U);
    EXPECT_EQ(std::get<AnswerOrder>(*answer).allow, allow);
    EXPECT_EQ(std::get<AnswerOrder>(*answer).by, "uid 1");
  }
}

TEST(ServiceOrder, NonsenseIsRefused) {
  const char* bad[] = {
      "",
      R"({"version":1,"order":"answer","question":1,"by":"x"})",
      R"({"version":1,"order":"answer","question":1,"allow":"true","by":"x"})",
      R"({"version":1,"order":"answer","question":1,"allow":1,"by":"x"})",
      R"({"version":1,"order":"answer","question":1,"allow":true,"allow":false,"by":"x"})",
      R"({"version":1,"order":"terminate"})",
      R"({"version":1,"order":"terminate","reason":"a","reason":"b"})",
      R"({"version":1,"order":"report","extra":1})",
      R"({"version":1,"order":"exec"})",
      R"({"order":"report"})",
      R"({"version":1,"report":"state","state":"ready"})",
  };
  for (const char* text : bad) EXPECT_FALSE(decode_service_order(text)) << text;
}

}  // namespace
}  // namespace wrapd::wire
