// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/broker_link.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/token_bucket.h"
#include "policy/model.h"
#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;
using wire::SupervisorState;

struct Service {
  UniqueFd end;
  std::optional<BrokerLink> link;
  BrokerLink::Clock::time_point now = BrokerLink::Clock::now();

  Service() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    end.reset(pair[0]);
    link.emplace(UniqueFd(pair[1]));
  }
  std::optional<wire::SupervisorReport> next() {
    auto packet = wire::receive_packet(end.get(), wire::kMaxChannelMessage, 0);
    if (!packet || packet->eof()) return std::nullopt;
    auto report = wire::decode_supervisor_report(packet->bytes);
    EXPECT_TRUE(report) << packet->bytes;
    if (!report) return std::nullopt;
    return *report;
  }
  template <class Report>
  std::vector<Report> all() {
    std::vector<Report> out;
    while (auto report = next()) {
      if (auto* wanted = std::get_if<Report>(&*report)) out.push_back(*wanted);
    }
    return out;
  }
  void order(const wire::ServiceOrder& order) { raw(wire::encode(order)); }
  void raw(const std::string& text) { EXPECT_TRUE(wire::send_packet(end.get(), text, {}, true)); }
  // Until the channel takes nothing more.
  void fill() {
    while (wire::send_packet(link->fd(), std::string(1000, 'x'), {}, true)) {
    }
  }
  void drain() {
    while (wire::receive_packet(end.get(), 2000, 0)) {
    }
  }
};

wire::CallReport call(const std::string& target) {
  return {.operation = "connect", .target = target};
}

TEST(BrokerLink, AStateIsNeverLost) {
  Service s;
  s.fill();
  s.link->report(SupervisorState::running);
  s.link->flush(s.now);
  s.link->report(SupervisorState::terminating);
  s.link->flush(s.now);
  EXPECT_NE(s.link->events() & POLLOUT, 0) << "the session is to wait for room";
  s.drain();
  s.link->flush(s.now);
  EXPECT_EQ(s.link->events(), POLLIN);
  auto states = s.all<wire::StateReport>();
  ASSERT_EQ(states.size(), 2U);
  EXPECT_EQ(states[0].state, SupervisorState::running);
  EXPECT_EQ(states[1].state, SupervisorState::terminating);
}

TEST(BrokerLink, CountersAreSummedUp) {
  Service s;
  for (uint64_t n = 1; n <= 1000; ++n) {
    s.link->report(wire::CounterReport{.denied = n});
    s.link->flush(s.now);
    if (n == 500) s.now += 1001ms;
  }
  EXPECT_EQ(s.link->next_flush(s.now), s.now + 1s);
  s.link->report(SupervisorState::finished);
  s.link->flush_all(1s);
  std::vector<uint64_t> seen;
  bool finished = false;
  while (auto report = s.next()) {
    if (auto* counters = std::get_if<wire::CounterReport>(&*report)) {
      EXPECT_FALSE(finished) << "the totals come before the end";
      seen.push_back(counters->denied);
    }
    finished |= std::holds_alternative<wire::StateReport>(*report);
  }
  EXPECT_TRUE(finished);
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0], 1U);
  EXPECT_EQ(seen[1], 501U);
  EXPECT_EQ(seen[2], 1000U);
}

TEST(BrokerLink, DenialsAreLimitedAndAllCounted) {
  Service s;
  for (int i = 0; i < 500; ++i) s.link->report_denial(call(std::to_string(i)), s.now);
  auto first = s.all<wire::DenialReport>();
  EXPECT_EQ(first.size(), 10U);
  auto due = s.link->next_flush(s.now);
  ASSERT_TRUE(due);
  EXPECT_LE(*due, s.now + 101ms);
  s.link->flush(*due);
  auto rest = s.all<wire::DenialReport>();
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].call.target, "499") << "the latest";
  EXPECT_EQ(rest[0].count, 490U);
  EXPECT_EQ(s.link->next_flush(*due), std::nullopt);
}

// As busy as programs and a policy can make it, for ten seconds.
TEST(BrokerLink, StaysWithinWhatTheServiceTakes) {
  Service s;
  TokenBucket taken(wire::kMaxReportsPerSecond, wire::kMaxReportsAtOnce);
  TokenBucket questions(policy::kMaxApprovalRate, policy::kMaxApprovalBurst);
  uint64_t question = 0;
  uint64_t denied = 0;
  size_t reports = 0;
  for (const auto end = s.now + 10s; s.now < end; s.now += 1ms) {
    for (int i = 0; i < 10; ++i) s.link->report_denial(call("x"), s.now);
    s.link->report(wire::CounterReport{.denied = denied += 10});
    if (questions.take(s.now)) s.link->report_question({.question = ++question, .call = call("x")}, s.now + 10s);
    s.link->flush(s.now);
    if (question > 0) s.link->report_gone({.question = question, .how = "withdrawn"});
    s.link->flush(s.now);
    while (s.next()) {
      ++reports;
      ASSERT_TRUE(taken.take(s.now)) << reports;
    }
  }
  EXPECT_GT(reports, 2000U) << "nothing to be bounded";
}

TEST(BrokerLink, QuestionsAreKeptUntilTheyAreTold) {
  Service s;
  s.fill();
  for (uint64_t n : {1U, 2U}) s.link->report_question({.question = n, .call = call("x")}, s.now + 10s);
  s.link->flush(s.now);
  s.link->report_gone({.question = 1, .how = "expired"});
  s.drain();
  s.now += 4s;
  s.link->flush(s.now);
  auto report = s.next();
  ASSERT_TRUE(report && std::holds_alternative<wire::QuestionReport>(*report));
  EXPECT_EQ(std::get<wire::QuestionReport>(*report).question, 2U);
  EXPECT_EQ(std::get<wire::QuestionReport>(*report).timeout_ms, 6000U) << "what is left of it";
  EXPECT_FALSE(s.next()) << "nobody was told of the first";
  s.link->report_gone({.question = 2, .how = "allowed"});
  s.link->flush(s.now);
  report = s.next();
  ASSERT_TRUE(report && std::holds_alternative<wire::QuestionGoneReport>(*report));
  EXPECT_EQ(std::get<wire::QuestionGoneReport>(*report).how, "allowed");
}

TEST(BrokerLink, ARestartedServiceIsToldAgain) {
  Service s;
  s.link->report(SupervisorState::ready);
  s.link->report(SupervisorState::running);
  s.link->report(wire::CounterReport{.allowed = 3});
  s.link->report_question({.question = 9, .call = call("x")}, s.now + 10s);
  s.link->flush(s.now);
  s.drain();
  s.order(wire::ReportOrder{});
  EXPECT_TRUE(s.link->receive().empty());
  s.link->flush(s.now);
  std::vector<wire::SupervisorReport> reports;
  while (auto report = s.next()) reports.push_back(*report);
  ASSERT_EQ(reports.size(), 3U);
  EXPECT_EQ(std::get<wire::CounterReport>(reports[0]).allowed, 3U);
  EXPECT_EQ(std::get<wire::StateReport>(reports[1]).state, SupervisorState::running) << "how it is now";
  EXPECT_EQ(std::get<wire::QuestionReport>(reports[2]).question, 9U);
}

TEST(BrokerLink, OrdersComeThroughNonsense) {
  Service s;
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  UniqueFd reading(pipe[0]), writing(pipe[1]);
  s.raw("{");
  s.raw(std::string(wire::kMaxChannelMessage + 1, 'x'));
  ASSERT_TRUE(
      wire::send_packet(s.end.get(), wire::encode(wire::ServiceOrder{wire::ReportOrder{}}), {&pipe[0], 1}, true));
  s.raw(R"({"version":1,"order":"answer","question":1,"allow":1,"by":"x"})");
  s.order(wire::AnswerOrder{.question = 5, .allow = true, .by = "uid 7"});
  s.order(wire::TerminateOrder{.reason = "uid 0"});
  auto orders = s.link->receive();
  ASSERT_EQ(orders.size(), 2U);
  EXPECT_EQ(std::get<wire::AnswerOrder>(orders[0]).by, "uid 7");
  EXPECT_EQ(std::get<wire::TerminateOrder>(orders[1]).reason, "uid 0");
  EXPECT_EQ(s.link->unknown_orders(), 4U);
  EXPECT_FALSE(s.link->closed());
}

TEST(BrokerLink, TheEndOfTheChannelIsNoEnd) {
  Service s;
  s.link->report(SupervisorState::running);
  s.end.reset();
  s.link->flush(s.now);
  EXPECT_TRUE(s.link->receive().empty());
  EXPECT_TRUE(s.link->closed());
  EXPECT_EQ(s.link->fd(), -1);
  s.link->report(SupervisorState::finished);
  s.link->report_denial(call("x"), s.now);
  s.link->report_question({.question = 1}, s.now);
  s.link->flush_all(10s);
}

TEST(BrokerLink, TheLastWordWaitsForRoomButNotForEver) {
  Service s;
  s.fill();
  s.link->report(SupervisorState::finished);
  s.link->flush_all(20ms);
  std::thread reader([&] { s.drain(); });
  s.link->flush_all(10s);
  reader.join();
  // Either the drain has taken it, or it is still there.
  EXPECT_EQ(s.link->events(), POLLIN);
}

}  // namespace
}  // namespace wrapd::supervisor
