// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>

namespace wrapd::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

wire::DenialLine docker() {
  return {.operation = "connect",
          .target = "/run/docker.sock",
          .count = 2,
          .rule = "no-docker",
          .policy = "agents",
          .guidance = "Ask the build service instead."};
}

TEST(SummaryTest, SaysNothingWhenNothingWasDenied) {
  EXPECT_EQ(summary_text({.allowed = 100}, {}), "");
}

TEST(SummaryTest, SaysWhatHowOftenWhichRuleAndWhatToDo) {
  wire::Summary summary{.denied = 2, .denials = {docker()}};
  EXPECT_EQ(summary_text(summary, {}),
            "wrap: 2 operations denied\n"
            "  connect /run/docker.sock, 2 times (rule no-docker of policy agents)\n"
            "    Ask the build service instead.\n"
            "    to allow: in policy agents put before that rule {name: NAME, paths: [\"/run/docker.sock\"], "
            "operations: [connect], decision: allow}\n");
}

TEST(SummaryTest, OffersNoRuleWhereNoneWouldHelp) {
  wire::DenialLine moved = docker();
  moved.operation = "rename";
  moved.second = "/tmp/new\033[2J";
  wire::DenialLine datagram{.operation = "socket", .count = 1, .policy = "agents", .reason = "not supported yet"};
  std::string text = summary_text({.denied = 3, .denials = {moved, datagram}}, {});
  EXPECT_THAT(text, HasSubstr("rename /run/docker.sock to /tmp/new\\x1b[2J, 2 times"));
  EXPECT_THAT(text, HasSubstr("  socket: not supported yet\n"));
  EXPECT_THAT(text, Not(HasSubstr("to allow")));
  wire::DenialLine linked = docker();
  linked.operation = "symlink";
  text = summary_text({.denied = 2, .denials = {linked}}, {});
  EXPECT_THAT(text, HasSubstr("    a link there would let a socket be made, and reached, elsewhere\n"));
  EXPECT_THAT(text, Not(HasSubstr("to allow")));
}

TEST(SummaryTest, SaysOfAQuestionWhichRuleAskedAndWhatBecameOfIt) {
  wire::DenialLine asked = docker();
  asked.reason = "nobody answered in time";
  EXPECT_EQ(summary_text({.denied = 2, .denials = {asked}}, {}),
            "wrap: 2 operations denied\n"
            "  connect /run/docker.sock, 2 times (rule no-docker of policy agents): nobody answered in time\n"
            "    Ask the build service instead.\n");
  asked.guidance = "";
  asked.enforced = false;
  asked.reason = "somebody would have been\033[2J asked";
  EXPECT_EQ(summary_text({.audited = 2, .denials = {asked}}, {}),
            "wrap: 2 operations allowed that enforcing would have denied\n"
            "  would have denied connect /run/docker.sock, 2 times (rule no-docker of policy agents): "
            "somebody would have been\\x1b[2J asked\n");
}

TEST(SummaryTest, NamesTheUsersOwnProfileAndAbstractNames) {
  wire::Summary summary{
      .denied = 1, .denials = {{.operation = "bind", .target = "x", .abstract = true, .count = 1, .policy = "mine"}}};
  std::string text = summary_text(summary, {.profile_file = "p.yaml", .profile_policy = "mine"});
  EXPECT_THAT(text, HasSubstr("wrap: 1 operation denied\n  bind @x (no rule of policy mine allows it)\n"));
  EXPECT_THAT(text,
              HasSubstr("to allow: to p.yaml add {name: NAME, paths: [\"@x\"], operations: [bind], decision: allow}"));
}

TEST(SummaryTest, NamesTheListOfAClassWhoseRulesHaveNoPaths) {
  wire::DenialLine line{.operation = "kill", .target = "1", .count = 1, .rule = "r", .policy = "p", .rules = "x_rules"};
  EXPECT_THAT(summary_text({.denied = 1, .denials = {line}}, {}),
              HasSubstr("    to allow: in policy p put before that rule a rule to x_rules\n"));
  line.rule.clear();
  EXPECT_THAT(summary_text({.denied = 1, .denials = {line}}, {}), HasSubstr("to policy p add a rule to x_rules\n"));
}

TEST(SummaryTest, ShowsWhatALongNameEndsIn) {
  wire::DenialLine line = docker();
  line.target = "/tmp/" + std::string(4000, 'x') + "/docker.sock";
  EXPECT_THAT(summary_text({.denied = 1, .denials = {line}}, {}), HasSubstr("xx/docker.sock, 2 times (rule"));
}

TEST(SummaryTest, TellsAuditFromDenial) {
  wire::DenialLine line = docker();
  line.enforced = false;
  std::string text = summary_text({.audited = 2, .denials = {line}}, {});
  EXPECT_THAT(text, HasSubstr("2 operations allowed that enforcing would have denied"));
  EXPECT_THAT(text, HasSubstr("would have denied connect /run/docker.sock"));
  EXPECT_THAT(text, Not(HasSubstr("operations denied")));
}

TEST(SummaryTest, IsAtMostAScreenful) {
  wire::Summary summary{.denied = 1000, .lost = 3, .more = 7};
  for (int i = 0; i < 200; ++i) summary.denials.push_back(docker());
  std::string text = summary_text(summary, {});
  EXPECT_LE(std::ranges::count(text, '\n'), static_cast<std::ptrdiff_t>(kSummaryLines));
  EXPECT_THAT(text, HasSubstr("  and 202 others, see the audit log\n"));
  EXPECT_THAT(text, HasSubstr("wrap: 3 audit events could not be recorded\n"));
}

TEST(SummaryTest, EscapesWhatAProgramChose) {
  wire::DenialLine line = docker();
  line.target = "/tmp/x\nwrap: all is well\033[2J";
  line.rule = "r\n";
  line.guidance = "g\033[0m";
  std::string text = summary_text({.denied = 1, .denials = {line}}, {});
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_EQ(std::ranges::count(text, '\n'), 4);
  EXPECT_THAT(text, HasSubstr("/tmp/x\\x0awrap: all is well\\x1b[2J"));
}

TEST(WaitingTest, SaysWhatWaitsInOneBoundedLine) {
  EXPECT_EQ(waiting_text({.operation = "connect", .target = "/run/asked.sock"}),
            "wrap: connect /run/asked.sock waits for an answer (wrapctl approvals)\n");
  EXPECT_EQ(waiting_text({.operation = "connect", .target = "", .abstract = true}),
            "wrap: connect @ waits for an answer (wrapctl approvals)\n");
  std::string wide;
  while (wide.size() < 4000) wide += "\U0001f600";
  std::string text = waiting_text({.operation = "bind", .target = "a\n\033[2J" + wide + "/end"});
  EXPECT_THAT(text, HasSubstr("bind a\\x0a\\x1b[2J"));
  EXPECT_THAT(text, HasSubstr("/end waits for an answer"));
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_LE(text.size(), static_cast<size_t>(PIPE_BUF));
}

TEST(SummaryTest, OffersNoRuleThatWouldMatchMoreThanTheName) {
  for (const char* name : {"/tmp/*", "/tmp/a?", "/tmp/${HOME}", "/tmp/\"", "/tmp/[a]", ""}) {
    wire::DenialLine line = docker();
    line.target = name;
    EXPECT_THAT(summary_text({.denied = 1, .denials = {line}}, {}), Not(HasSubstr("decision: allow"))) << name;
  }
}

}  // namespace
}  // namespace wrapd::client
