// SPDX-License-Identifier: Apache-2.0
#include "supervisor/approvals.h"

#include <gtest/gtest.h>

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;
using Kind = Approvals::Standing::Kind;
using Notice = Approvals::Notice;
using Leaving = Approvals::Leaving;

struct Room {
  Approvals::Clock::time_point now{1h};
  Approvals approvals;
  explicit Room(policy::Approval limits = {60, 10, 5}, ApprovalBounds bounds = {})
      : approvals(limits, bounds, [this] { return now; }) {}
  Approvals::Standing ask(const std::string& key) { return approvals.ask(key, {.target = key}, "why"); }
  std::vector<Notice::Kind> kinds() {
    std::vector<Notice::Kind> out;
    for (const Notice& notice : approvals.take_notices()) out.push_back(notice.kind);
    return out;
  }
};

TEST(Approvals, AQuestionIsToldOnce) {
  Room r;
  EXPECT_FALSE(r.approvals.look_up("a"));
  auto first = r.ask("a");
  EXPECT_EQ(first.kind, Kind::open);
  EXPECT_EQ(r.ask("a").question, first.question);
  EXPECT_EQ(r.approvals.look_up("a")->question, first.question);
  auto notices = r.approvals.take_notices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].kind, Notice::Kind::asked);
  EXPECT_EQ(notices[0].call.target, "a");
  EXPECT_EQ(notices[0].guidance, "why");
  EXPECT_EQ(notices[0].deadline, r.now + 60s);
}

TEST(Approvals, AnswersStand) {
  Room r;
  for (bool allow : {true, false}) {
    std::string key = allow ? "a" : "b";
    auto asked = r.ask(key);
    EXPECT_TRUE(r.approvals.answer(asked.question, allow, "uid 7"));
    EXPECT_FALSE(r.approvals.answer(asked.question, !allow, "uid 8")) << "the first answer counts";
    EXPECT_EQ(r.approvals.standing(asked.question).kind, allow ? Kind::allowed : Kind::denied);
    r.approvals.leave(asked.question, Leaving::done);
    r.now += 24h;
    auto known = r.approvals.look_up(key);
    ASSERT_TRUE(known);
    EXPECT_EQ(known->kind, allow ? Kind::allowed : Kind::denied);
    EXPECT_EQ(known->reason, allow ? "allowed by uid 7" : "denied by uid 7");
  }
  EXPECT_FALSE(r.approvals.answer(99, true, "x"));
  EXPECT_FALSE(r.approvals.look_up("c"));
}

TEST(Approvals, UnknownQuestionsStandDenied) {
  Room r;
  EXPECT_EQ(r.approvals.standing(0).kind, Kind::denied);
  EXPECT_EQ(r.approvals.standing(12345).kind, Kind::denied);
  r.approvals.leave(12345, Leaving::done);
}

TEST(Approvals, QuestionsAreLimitedInRateNotAnswers) {
  Room r({60, 10, 5});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(r.ask(std::to_string(i)).kind, Kind::open) << i;
  auto sixth = r.ask("5");
  EXPECT_EQ(sixth.kind, Kind::denied);
  EXPECT_EQ(sixth.reason, "too many questions");
  EXPECT_EQ(sixth.question, 0U);
  EXPECT_EQ(r.ask("0").kind, Kind::open) << "an open question costs nothing";
  r.now += 99ms;
  EXPECT_EQ(r.ask("5").kind, Kind::denied);
  r.now += 2ms;
  EXPECT_EQ(r.ask("5").kind, Kind::open) << "ten a second";
  EXPECT_EQ(r.ask("6").kind, Kind::denied);
  r.now += 1h;
  for (int i = 6; i < 11; ++i) EXPECT_EQ(r.ask(std::to_string(i)).kind, Kind::open) << i;
  EXPECT_EQ(r.ask("11").kind, Kind::denied) << "a pause saves up the burst, no more";
}

TEST(Approvals, OpenOnesAreBounded) {
  Room r({60, 100, 100}, {.questions = 3});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(r.ask(std::to_string(i)).kind, Kind::open);
  EXPECT_EQ(r.ask("3").reason, "too many questions");
  r.approvals.answer(1, true, "x");
  EXPECT_EQ(r.ask("3").kind, Kind::open);
}

TEST(Approvals, AnswersAreBoundedAndTheForgottenAreAskedAgain) {
  Room r({60, 100, 100}, {.answers = 10});
  for (int i = 0; i < 20; ++i) r.approvals.answer(r.ask(std::to_string(i)).question, true, "x");
  EXPECT_FALSE(r.approvals.look_up("9"));
  EXPECT_TRUE(r.approvals.look_up("10"));
}

TEST(Approvals, TheDeadlineIsTheFirstOnes) {
  Room r;
  auto asked = r.ask("a");
  r.now += 59s;
  EXPECT_EQ(r.ask("a").question, asked.question);
  EXPECT_EQ(r.approvals.next_deadline(), r.now + 1s);
  r.now += 1s;
  r.approvals.expire();
  EXPECT_EQ(r.kinds(), (std::vector{Notice::Kind::asked, Notice::Kind::expired}));
  EXPECT_EQ(r.approvals.standing(asked.question).reason, "nobody answered in time");
  EXPECT_FALSE(r.approvals.answer(asked.question, true, "x")) << "too late";
  EXPECT_EQ(r.approvals.next_deadline(), std::nullopt);
  // A call that was interrupted just before does not get a second minute; later it is asked again.
  EXPECT_EQ(r.approvals.look_up("a")->kind, Kind::denied);
  r.now += 6s;
  EXPECT_FALSE(r.approvals.look_up("a"));
  EXPECT_NE(r.ask("a").question, asked.question);
}

TEST(Approvals, WithoutCallsAQuestionIsWithdrawn) {
  Room r;
  auto asked = r.ask("a");
  (void)r.approvals.look_up("a");
  r.approvals.leave(asked.question, Leaving::done);
  EXPECT_EQ(r.kinds(), (std::vector{Notice::Kind::asked}));
  r.approvals.leave(asked.question, Leaving::done);
  EXPECT_EQ(r.kinds(), (std::vector{Notice::Kind::withdrawn}));
  EXPECT_EQ(r.approvals.standing(asked.question).kind, Kind::denied);
  EXPECT_FALSE(r.approvals.answer(asked.question, true, "x"));
  EXPECT_FALSE(r.approvals.look_up("a"));
}

TEST(Approvals, AnInterruptedCallMayComeBack) {
  Room r;
  auto asked = r.ask("a");
  r.approvals.leave(asked.question, Leaving::interrupted);
  EXPECT_EQ(r.approvals.next_deadline(), r.now + 5s);
  r.now += 4s;
  r.approvals.expire();
  EXPECT_EQ(r.ask("a").question, asked.question);
  r.now += 10s;
  r.approvals.expire();
  EXPECT_EQ(r.kinds(), (std::vector{Notice::Kind::asked})) << "a call waits";
  r.approvals.leave(asked.question, Leaving::interrupted);
  r.now += 6s;
  r.approvals.expire();
  EXPECT_EQ(r.kinds(), (std::vector{Notice::Kind::withdrawn}));
}

TEST(Approvals, AnAnswerWhileNoCallWaitsStands) {
  Room r;
  auto asked = r.ask("a");
  r.approvals.leave(asked.question, Leaving::interrupted);
  EXPECT_TRUE(r.approvals.answer(asked.question, true, "x"));
  EXPECT_EQ(r.approvals.look_up("a")->kind, Kind::allowed);
}

TEST(Approvals, ClosedNobodyIsAsked) {
  Room r;
  auto open = r.ask("a");
  auto known = r.ask("b");
  r.approvals.answer(known.question, true, "x");
  (void)r.kinds();
  r.approvals.close("away");
  r.approvals.close("again");
  EXPECT_EQ(r.kinds(), (std::vector{Notice::Kind::withdrawn}));
  EXPECT_EQ(r.approvals.standing(open.question).reason, "away");
  EXPECT_FALSE(r.approvals.answer(open.question, true, "x"));
  EXPECT_EQ(r.ask("c").reason, "away");
  EXPECT_EQ(r.approvals.look_up("b")->kind, Kind::allowed) << "what was answered stays answered";
}

}  // namespace
}  // namespace wrapd::supervisor
