// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/unread.h"

#include <gtest/gtest.h>

#include <map>

namespace wrapd::daemon::bus {
namespace {

using std::chrono::milliseconds;

const Unread::Clock::time_point kStart{std::chrono::hours(1)};
constexpr size_t kKiB = 1 << 10;

// A bus that answers when it is told to; what its clients have not read is what the test says.
class Bus {
 public:
  Unread::Ask ask() {
    return [this](const std::string& client, std::function<void(const Unread::Answer&)> done) {
      asked.emplace_back(client, std::move(done));
    };
  }
  void answer_all() {
    while (!asked.empty()) {
      auto [client, done] = std::move(asked.front());
      asked.erase(asked.begin());
      auto it = unread.find(client);
      done(it == unread.end() ? Unread::Answer(Unread::Gone{}) : it->second);
    }
  }
  std::vector<std::pair<std::string, std::function<void(const Unread::Answer&)>>> asked;
  std::map<std::string, Unread::Answer> unread;
};

// Takes it, asking the bus where that is needed.
bool take(Unread& unread, Bus& bus, const std::string& client, uid_t payer, Load load,
          Unread::Clock::time_point now = kStart) {
  if (unread.take(client, payer, load, now)) return true;
  bool done = false;
  unread.find_out(client, payer, load, now, [&] { done = true; });
  bus.answer_all();
  EXPECT_TRUE(done);
  return unread.take(client, payer, load, now);
}

TEST(Unread, AClientThatReadsIsAlwaysAnswered) {
  Bus bus;
  Unread unread(bus.ask());
  bus.unread[":1"] = Load{};
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(take(unread, bus, ":1", 1000, {.bytes = 100 * kKiB}));
  EXPECT_LE(unread.total().bytes, Unread::kPerClient.bytes);
}

TEST(Unread, AClientThatDoesNotReadGetsNoMore) {
  Bus bus;
  Unread unread(bus.ask());
  bus.unread[":1"] = Load{.bytes = 200 * kKiB};
  EXPECT_TRUE(take(unread, bus, ":1", 1000, {.bytes = 200 * kKiB}));
  EXPECT_FALSE(take(unread, bus, ":1", 1000, {.bytes = 100 * kKiB}));
  // It reads.
  bus.unread[":1"] = Load{.bytes = 10};
  EXPECT_TRUE(take(unread, bus, ":1", 1000, {.bytes = 100 * kKiB}));
  EXPECT_EQ(unread.of(":1").bytes, 100 * kKiB + 10);
}

TEST(Unread, OneLargeReplyFitsWhereNothingIsUnread) {
  Bus bus;
  Unread unread(bus.ask());
  EXPECT_TRUE(unread.take(":1", 1000, {.bytes = 4 << 20}, kStart));
  EXPECT_FALSE(unread.take(":1", 1000, {.bytes = 1}, kStart));
}

TEST(Unread, ManyClientsOfAUserShareItsPart) {
  Bus bus;
  Unread unread(bus.ask());
  int answered = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string client = ":" + std::to_string(i);
    bus.unread[client] = Load{.bytes = 100 * kKiB};
    answered += take(unread, bus, client, 1000, {.bytes = 100 * kKiB}) ? 1 : 0;
  }
  EXPECT_EQ(static_cast<size_t>(answered), Unread::kPerPayer.bytes / (100 * kKiB));
  EXPECT_TRUE(unread.take(":else", 1001, {.bytes = 100 * kKiB}, kStart));
}

TEST(Unread, WhatClientsThatHaveGoneDidNotReadIsForgotten) {
  Bus bus;
  Unread unread(bus.ask());
  auto now = kStart;
  for (int i = 0; i < 10000; ++i) {
    now += Unread::kSweepInterval;
    ASSERT_TRUE(take(unread, bus, ":" + std::to_string(i), 1000, {.bytes = 50 * kKiB}, now));
  }
  EXPECT_LE(unread.clients(), Unread::kMostClients);
}

TEST(Unread, NamesAreBoundedAsWellAsBytes) {
  Bus bus;
  Unread unread(bus.ask());
  int answered = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string client = ":" + std::to_string(i);
    bus.unread[client] = Load{.bytes = 1};
    answered += take(unread, bus, client, 1000, {.bytes = 1}) ? 1 : 0;
  }
  EXPECT_EQ(static_cast<size_t>(answered), Unread::kMostClients);
}

TEST(Unread, ManyUsersLeaveTheOthersTheirPart) {
  Bus bus;
  Unread unread(bus.ask());
  uid_t uid = 1000;
  for (;; ++uid) {
    const std::string client = ":" + std::to_string(uid);
    bus.unread[client] = Load{.bytes = 1 << 20};
    if (!take(unread, bus, client, uid, {.bytes = 1 << 20}, kStart + milliseconds(uid))) break;
    ASSERT_LT(uid, 1100U);
  }
  EXPECT_LE(unread.total().bytes, Unread::kInAll.bytes);
  // Who has nothing unread is answered, one after the other, and so is root whatever it asks for.
  for (uid_t other = 5000; other < 5100; ++other) {
    EXPECT_TRUE(unread.take(":" + std::to_string(other), other, {.bytes = 60 * kKiB}, kStart));
    EXPECT_FALSE(unread.take(":" + std::to_string(other), other, {.bytes = 60 * kKiB}, kStart));
  }
  EXPECT_TRUE(unread.take(":root", 0, {.bytes = 4 << 20}, kStart));
  EXPECT_LE(unread.total().bytes, Unread::kInAll.bytes + 100 * Unread::kShare.bytes);
}

TEST(Unread, DescriptorsAreFewAndSomeAreRoots) {
  Bus bus;
  Unread unread(bus.ask());
  int given = 0;
  for (uid_t uid = 1000; uid < 1100; ++uid) {
    for (int client = 0; client < 10; ++client) {
      const std::string name = ":" + std::to_string(uid) + "." + std::to_string(client);
      for (int i = 0; i < 10; ++i) given += unread.take(name, uid, {.bytes = 100, .descriptors = 1}, kStart) ? 1 : 0;
      EXPECT_LE(unread.of(name).descriptors, Unread::kPerClient.descriptors);
    }
  }
  EXPECT_EQ(static_cast<size_t>(given), Unread::kMostDescriptors);
  EXPECT_TRUE(unread.take(":root", 0, {.bytes = 100, .descriptors = 1}, kStart));
}

TEST(Unread, OneProgramOfRootsDoesNotHoldUpTheOthers) {
  Bus bus;
  Unread unread(bus.ask());
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(unread.take(":hung" + std::to_string(i), 0, {.bytes = 1 << 20}, kStart));
  EXPECT_TRUE(unread.take(":administrator", 0, {.bytes = 1 << 20}, kStart));
}

TEST(Unread, RefusalsAreCountedAndEndInSilence) {
  Bus bus;
  Unread unread(bus.ask());
  bus.unread[":1"] = Load{.bytes = 10 << 20};
  int refusals = 0;
  for (int i = 0; i < 100000; ++i) refusals += unread.take_refusal(":1", 1000, 256, kStart) ? 1 : 0;
  EXPECT_EQ(static_cast<size_t>(refusals), (Unread::kPerClient.bytes + Unread::kRefusalRoom) / 256);
  // It is spoken to again once it reads; the bus is asked without anybody waiting.
  bus.unread[":1"] = Load{};
  EXPECT_FALSE(unread.take_refusal(":1", 1000, 256, kStart));
  bus.answer_all();
  EXPECT_TRUE(unread.take_refusal(":1", 1000, 256, kStart));
}

TEST(Unread, RefusalsToClientsThatHaveGoneAreForgotten) {
  constexpr uid_t kNoAccount = static_cast<uid_t>(-1);
  Bus bus;
  Unread unread(bus.ask());
  auto now = kStart;
  int silent = 0;
  for (int i = 0; i < 6000; ++i) {
    now += milliseconds(1);
    silent += unread.take_refusal(":" + std::to_string(i), kNoAccount, 256, now) ? 0 : 1;
    if (i % 50 == 0) bus.answer_all();
    ASSERT_LE(unread.clients(), Unread::kMostClients);
  }
  // In a flood some are left out, for a moment each time.
  EXPECT_LT(silent, 6000 / 2);
  now += Unread::kSweepInterval;
  static_cast<void>(unread.take_refusal(":later", kNoAccount, 256, now));
  bus.answer_all();
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(unread.take_refusal(":later" + std::to_string(i), kNoAccount, 256, now));
  }
}

TEST(Unread, RefusalsThatOthersDoNotReadDoNotSilenceAnybodyForLong) {
  Bus bus;
  Unread unread(bus.ask());
  // All are in the way of one who has a part of its own unread already.
  for (uid_t uid = 1000; uid < 1024; ++uid) {
    const std::string client = ":" + std::to_string(uid);
    bus.unread[client] = Load{.bytes = 1 << 20};
    EXPECT_TRUE(unread.take(client, uid, {.bytes = 1 << 20}, kStart));
  }
  bus.answer_all();
  bus.unread.clear();  // they go
  for (int i = 0; unread.take_refusal(":new" + std::to_string(i), 5000, 4 * kKiB, kStart); ++i) ASSERT_LT(i, 1000);
  bus.answer_all();
  EXPECT_TRUE(unread.take_refusal(":new", 5000, 4 * kKiB, kStart));
}

TEST(Unread, WhatWasSentAfterTheQueryStays) {
  Bus bus;
  Unread unread(bus.ask());
  bus.unread[":1"] = Load{};
  unread.add(":1", 1000, {.bytes = 200 * kKiB}, kStart);
  ASSERT_EQ(bus.asked.size(), 1U);
  unread.add(":1", 1000, {.bytes = 7}, kStart);
  bus.answer_all();
  EXPECT_EQ(unread.of(":1").bytes, 7U);
}

// The bus's count is of all that anybody sent to that client.
TEST(Unread, WhatOthersSendToAClientIsNotHeldAgainstAnybody) {
  Bus bus;
  Unread unread(bus.ask());
  for (int i = 0; i < 4; ++i) {
    const std::string client = ":stuffed" + std::to_string(i);
    bus.unread[client] = Load{.bytes = 112 << 20, .descriptors = 64};
    unread.add(client, 1000, {.bytes = 200 * kKiB}, kStart);
    bus.answer_all();
    EXPECT_EQ(unread.of(client).bytes, 200 * kKiB);
    EXPECT_EQ(unread.of(client).descriptors, 0U);
  }
  EXPECT_EQ(unread.total().bytes, 800 * kKiB);
  EXPECT_EQ(unread.total().descriptors, 0U);
  // Neither the others nor the same user.
  EXPECT_TRUE(unread.take(":other", 1001, {.bytes = 1 << 20}, kStart));
  EXPECT_TRUE(unread.take(":other2", 1002, {.bytes = 100, .descriptors = 1}, kStart));
  EXPECT_TRUE(unread.take(":same", 1000, {.bytes = 100 * kKiB}, kStart));
}

TEST(Unread, WhatWasSentAfterTheQueryStaysAlsoWhereOthersSend) {
  Bus bus;
  Unread unread(bus.ask());
  bus.unread[":1"] = Load{.bytes = 10 << 20};
  unread.add(":1", 1000, {.bytes = 200 * kKiB}, kStart);
  unread.add(":1", 1000, {.bytes = 7}, kStart);
  bus.answer_all();
  EXPECT_EQ(unread.of(":1").bytes, 200 * kKiB + 7);
}

TEST(Unread, DescriptorsThatWereNotTakenStopOnlyThoseWhoWantSome) {
  Bus bus;
  Unread unread(bus.ask());
  for (size_t i = 0; i < Unread::kPerClient.descriptors; ++i) {
    ASSERT_TRUE(unread.take(":1", 1000, {.bytes = 1 * kKiB, .descriptors = 1}, kStart));
  }
  EXPECT_FALSE(unread.take(":1", 1000, {.bytes = 1 * kKiB, .descriptors = 1}, kStart));
  EXPECT_TRUE(unread.take(":1", 1000, {.bytes = 100 * kKiB}, kStart));
  // And the places of all.
  for (uid_t uid = 2000; unread.take(":u" + std::to_string(uid), uid, {.bytes = 1, .descriptors = 1}, kStart); ++uid) {
    ASSERT_LT(uid, 2100U);
  }
  EXPECT_TRUE(unread.take(":large", 1000, {.bytes = 200 * kKiB}, kStart));
}

TEST(Unread, OneProgramThatDoesNotReadDoesNotKeepItsUserFromSmallCalls) {
  constexpr Load kOrder{.bytes = 512};
  Bus bus;
  Unread unread(bus.ask());
  for (int i = 0; i < 8; ++i) {
    const std::string client = ":hoards" + std::to_string(i);
    bus.unread[client] = Load{.bytes = 1 << 20};
    static_cast<void>(take(unread, bus, client, 1000, {.bytes = 200 * kKiB}));
    while (unread.take_refusal(client, 1000, 256, kStart)) {
    }
  }
  EXPECT_FALSE(unread.take(":new", 1000, {.bytes = 10 * kKiB}, kStart));
  int taken = 0;
  while (unread.take(":new", 1000, kOrder, kStart)) ++taken;
  EXPECT_EQ(static_cast<size_t>(taken), Unread::kAnyway / kOrder.bytes);
  // One that has read them gets the next.
  bus.unread[":new"] = Load{};
  EXPECT_TRUE(take(unread, bus, ":new", 1000, kOrder));
}

TEST(Unread, TheBusIsAskedAFewThingsAtATime) {
  Bus bus;
  Unread unread(bus.ask());
  for (int i = 0; i < 200; ++i) unread.add(":" + std::to_string(i), 1000, {.bytes = 10 * kKiB}, kStart);
  bool done = false;
  unread.find_out(":new", 1000, {.bytes = 4 * kKiB}, kStart, [&] { done = true; });
  EXPECT_EQ(bus.asked.size(), Unread::kAtOnce);
  EXPECT_FALSE(done);
  bus.answer_all();
  EXPECT_TRUE(done);
  EXPECT_EQ(unread.clients(), 0U);
  EXPECT_EQ(unread.total().bytes, 0U);
}

TEST(Unread, ABusThatDoesNotSayItIsNotHeldAgainstAnybodyForLong) {
  Bus bus;
  Unread unread(bus.ask());
  bus.unread[":1"] = Unread::Unavailable{};
  // `charged` is long ago for the real clock, which decides when the answer comes.
  EXPECT_TRUE(take(unread, bus, ":1", 1000, {.bytes = 200 * kKiB}, Unread::Clock::now() - std::chrono::seconds(2)));
  EXPECT_TRUE(take(unread, bus, ":1", 1000, {.bytes = 200 * kKiB}, Unread::Clock::now()));
  EXPECT_FALSE(take(unread, bus, ":1", 1000, {.bytes = 200 * kKiB}, Unread::Clock::now()));
}

TEST(Unread, WhoPaysMayBecomeKnownLater) {
  Bus bus;
  Unread unread(bus.ask());
  EXPECT_TRUE(unread.take_refusal(":1", static_cast<uid_t>(-1), 256, kStart));
  EXPECT_TRUE(unread.take(":1", 0, {.bytes = 100}, kStart));
  EXPECT_EQ(unread.of(":1").bytes, 356U);
  EXPECT_EQ(unread.total().bytes, 0U);  // root's are not among all
}

}  // namespace
}  // namespace wrapd::daemon::bus
