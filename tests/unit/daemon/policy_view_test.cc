// SPDX-License-Identifier: Apache-2.0
#include "daemon/policy_view.h"

#include <gtest/gtest.h>

#include "policyfile/load.h"

namespace wrapd::daemon {
namespace {

constexpr uid_t kAlice = 1001;
constexpr uid_t kNobody = 1002;

std::shared_ptr<const CataloguePolicy> policy_named(const std::string& name) {
  auto entry = std::make_shared<CataloguePolicy>();
  entry->text = "version: 1\nname: " + name + "\n";
  entry->policy = policyfile::load_policy(entry->text, "/etc/wrapd/policies/" + name + ".yaml").value();
  return entry;
}

// Alice may use a, broken and missing; `secret` is for others. Nobody may use anything.
Catalogue catalogue() {
  Catalogue out;
  out.config.access.push_back({.users = {kAlice}, .policies = {"a", "broken", "missing"}, .default_policy = "a"});
  out.policies["a"] = policy_named("a");
  out.policies["secret"] = policy_named("secret");
  out.rejected.push_back(
      {.file = "/etc/wrapd/policies/broken.yaml", .name = "broken", .why = "broken.yaml:1:1: secret"});
  return out;
}

PeerCredentials caller(uid_t uid) {
  return {.pid = 1, .uid = uid, .gid = uid, .groups = {}};
}

TEST(VisiblePolicies, AreThoseGranted) {
  const auto seen = visible_policies(catalogue(), caller(kAlice));
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].name, "a");
  EXPECT_TRUE(seen[0].is_default);
  EXPECT_EQ(seen[0].mode, "enforce");
  EXPECT_EQ(seen[0].problem, "");
  EXPECT_EQ(seen[1].name, "broken");
  EXPECT_EQ(seen[1].problem.find("secret"), std::string::npos) << "the text of the file is root's";
  EXPECT_FALSE(seen[2].problem.empty());
  EXPECT_TRUE(visible_policies(catalogue(), caller(kNobody)).empty());
}

TEST(VisiblePolicies, RootSeesAll) {
  std::vector<std::string> names;
  for (const auto& policy : visible_policies(catalogue(), caller(0))) names.push_back(policy.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "broken", "secret"}));
}

TEST(VisiblePolicies, WhatIsNotGrantedLooksLikeWhatIsNot) {
  for (uid_t uid : {kAlice, kNobody}) {
    auto secret = visible_policy_text(catalogue(), caller(uid), "secret");
    auto none = visible_policy_text(catalogue(), caller(uid), "secreT");
    ASSERT_FALSE(secret);
    ASSERT_FALSE(none);
    EXPECT_EQ(secret.error().code, none.error().code);
    EXPECT_EQ(secret.error().message, "there is no policy secret for you");
    EXPECT_EQ(none.error().message, "there is no policy secreT for you");
    EXPECT_EQ(usable_policy(catalogue(), caller(uid), "secret").error().code,
              usable_policy(catalogue(), caller(uid), "secreT").error().code);
  }
  // Nor does a broken one of somebody else's show.
  EXPECT_EQ(visible_policy_text(catalogue(), caller(kNobody), "broken").error().code, "NoSuchPolicy");
}

TEST(VisiblePolicies, TextIsWhatWasLoaded) {
  auto text = visible_policy_text(catalogue(), caller(kAlice), "a");
  ASSERT_TRUE(text);
  EXPECT_EQ(text->text, "version: 1\nname: a\n");
  EXPECT_EQ(visible_policy_text(catalogue(), caller(0), "broken").error().message, "broken: broken.yaml:1:1: secret");
}

TEST(UsablePolicy, NoNameIsTheDefault) {
  EXPECT_EQ((*usable_policy(catalogue(), caller(kAlice), ""))->policy.name, "a");
  EXPECT_EQ(usable_policy(catalogue(), caller(kNobody), "").error().code, "NotPermitted");
}

}  // namespace
}  // namespace wrapd::daemon
