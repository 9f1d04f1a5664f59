// SPDX-License-Identifier: Apache-2.0
#include "policyfile/service_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace wrapd::policy {

using namespace policyfile;  // NOLINT(google-build-using-namespace): of one test

namespace {

using testing::ElementsAre;

std::string message(std::string_view text) {
  auto config = load_service_config(text, "f");
  return config ? "accepted" : config.error().message;
}

constexpr std::string_view kFull = R"(version: 1
access:
  - {users: [root, 1001, "1002"], groups: [daemon, 50], policies: [agents, default], default: agents}
  - {groups: [4000], policies: [g], default: g}
  - {users: ["*"], policies: [default], default: default}
  - {users: ["*+"], policies: [g], default: g}
limits: {sessions_per_user: 3, pending_per_user: 4, sessions: 5, pending: 6}
handoff: {permissive_fallback: true}
)";

TEST(ServiceConfig, TakesEverythingOver) {
  auto config = load_service_config(kFull, "f");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->access.size(), 4U);
  EXPECT_THAT(config->access[0].users, ElementsAre(0U, 1001U, 1002U));
  EXPECT_THAT(config->access[0].groups, ElementsAre(1U, 50U));
  EXPECT_FALSE(config->access[0].everybody);
  EXPECT_THAT(config->access[0].policies, ElementsAre("agents", "default"));
  EXPECT_EQ(config->access[0].default_policy, "agents");
  EXPECT_TRUE(config->access[2].accounts);
  EXPECT_FALSE(config->access[2].everybody);
  EXPECT_TRUE(config->access[3].everybody);
  EXPECT_EQ(config->pending, 6U);
  EXPECT_EQ(config->sessions_per_user, 3U);
  EXPECT_EQ(config->pending_per_user, 4U);
  EXPECT_EQ(config->sessions, 5U);
  EXPECT_TRUE(config->permissive_fallback);
}

TEST(ServiceConfig, FirstEntryThatMatchesCounts) {
  auto config = load_service_config(kFull, "f");
  ASSERT_TRUE(config);
  auto entry = [&](uid_t uid, gid_t gid, std::vector<gid_t> groups, bool account = true) {
    return config->access_for(uid, gid, groups, account) - config->access.data();
  };
  EXPECT_EQ(entry(1001, 1001, {}), 0);
  EXPECT_EQ(entry(9, 50, {}), 0);
  EXPECT_EQ(entry(9, 9, {8, 50}), 0);
  EXPECT_EQ(entry(9, 9, {4000, 50}), 0);
  EXPECT_EQ(entry(9, 9, {4000}), 1);
  EXPECT_EQ(entry(50, 9, {}), 2);  // a uid is no gid
  EXPECT_EQ(entry(50, 9, {}, false), 3);
  EXPECT_EQ(entry(9, 50, {}, false), 0);
}

TEST(ServiceConfig, NobodyElse) {
  auto config = load_service_config("version: 1\naccess: [{users: [1001], policies: [a], default: a}]\n", "f");
  ASSERT_TRUE(config) << config.error().message;
  const std::array<gid_t, 1> groups = {1001};
  EXPECT_NE(config->access_for(1001, 5, {}, false), nullptr);
  EXPECT_EQ(config->access_for(1002, 1001, groups, true), nullptr);
  EXPECT_EQ(config->access_for(0, 0, {}, true), nullptr);
  EXPECT_EQ(config->sessions_per_user, 64U);
  EXPECT_EQ(config->pending_per_user, 16U);
  EXPECT_EQ(config->sessions, 1024U);
  EXPECT_EQ(config->pending, 1024U);
  EXPECT_FALSE(config->permissive_fallback);
}

TEST(ServiceConfig, WithoutAFileEverybodyWithAnAccountGetsTheDefault) {
  auto config = default_service_config();
  EXPECT_EQ(config.access_for(1234, 1234, {}, false), nullptr);
  EXPECT_NE(config.access_for(0, 0, {}, false), nullptr) << "root needs no user database";
  const AccessRule* rule = config.access_for(1234, 1234, {}, true);
  ASSERT_NE(rule, nullptr);
  EXPECT_EQ(rule->default_policy, "default");
  EXPECT_THAT(rule->policies, ElementsAre("default"));
  EXPECT_FALSE(config.permissive_fallback);
}

TEST(ServiceConfig, ErrorsSayWhereAndWhatWouldBeRight) {
  auto access = [](const std::string& entry) { return "version: 1\naccess:\n  - {" + entry + "}\n"; };
  const std::string good = "users: [1], policies: [a], default: a";
  const std::pair<std::string, std::string> cases[] = {
      {"", "1:1: the file is empty; begin with 'version: 1'"},
      {"version: 1\n", "1:1: the configuration has no 'access'; add it"},
      {"access: []\n", "1:1: the configuration has no 'version'; add 'version: 1'"},
      {"version: 1\naccess: []\n", "2:9: 'access' is empty, so that nobody could use the service; add an entry"},
      {"version: 1\nacces: []\n", "2:1: unknown key 'acces' in the configuration; did you mean 'access'?"},
      {access(good) + "limit: {}\n", "4:1: unknown key 'limit' in the configuration; did you mean 'limits'?"},
      {access("policies: [a], default: a"),
       "3:5: the access entry has neither 'users' nor 'groups'; for everybody with an account write users: [\"*\"]"},
      {access("users: [], policies: [a], default: a"), "3:13: 'users' is empty; name a user or remove the key"},
      {access("users: [nobody-of-this-name], policies: [a], default: a"),
       "3:14: unknown user 'nobody-of-this-name'; name one that exists, or write its number"},
      {access("groups: [none-of-this-name], policies: [a], default: a"),
       "3:15: unknown group 'none-of-this-name'; name one that exists, or write its number"},
      {access("groups: [\"*\"], policies: [a], default: a"),
       "3:15: unknown group '*'; name one that exists, or write its number"},
      {access("users: [4294967295], policies: [a], default: a"),
       "3:14: unknown user '4294967295'; name one that exists, or write its number"},
      {access("users: [-1], policies: [a], default: a"),
       "3:14: unknown user '-1'; name one that exists, or write its number"},
      {access("users: [1], default: a"), "3:5: the access entry has no 'policies'; add it"},
      {access("users: [1], policies: [], default: a"), "3:28: 'policies' is empty; name at least one"},
      {access("users: [1], policies: [a]"), "3:5: the access entry has no 'default'; add it"},
      {access("users: [1], policies: [a], default: b"),
       "3:42: default 'b' is not among the entry's policies; add it there"},
      {access("users: [1], policies: [../a], default: a"),
       "3:29: policy name '../a' is not a name; write 1 to 64 characters of A-Z a-z 0-9 . _ - that do not begin with a "
       "dot"},
      {access(good) + "limits: {sessions: 0}\n", "4:20: 'sessions' is '0'; write a whole number from 1 to 1000000"},
      {access(good) + "limits: {sessions: 010}\n", "4:20: 'sessions' is '010'; write a whole number from 1 to 1000000"},
      {access(good) + "limits: {sessions: \"10\"}\n",
       "4:20: 'sessions' is a quoted text; write a whole number from 1 to 1000000"},
      {access(good) + "limits: {sessions: 1e3}\n", "4:20: 'sessions' is '1e3'; write a whole number from 1 to 1000000"},
      {access(good) + "limits: {sessions: 99999999999}\n",
       "4:20: 'sessions' is '99999999999'; write a whole number from 1 to 1000000"},
      {access(good) + "handoff: {permissive_fallback: yes}\n",
       "4:32: 'permissive_fallback' is 'yes'; write true or false, without quotes"},
      {access(good) + "---\n",
       "4:1: a second document, or text that does not belong to the first; a file is one document"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(message(text), "f:" + expected) << text;
}

}  // namespace
}  // namespace wrapd::policy
