// SPDX-License-Identifier: Apache-2.0
#include "daemon/catalogue.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/users.h"

namespace wrapd::daemon {
namespace {

namespace fs = std::filesystem;

class CatalogueFiles : public ::testing::Test {
 protected:
  void SetUp() override { WRAPD_NEEDS_ROOT(); }
  void write(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(top_.path() + "/" + name).parent_path());
    std::ofstream(top_.path() + "/" + name) << text;
  }
  [[nodiscard]] Result<std::shared_ptr<const Catalogue>> load() const {
    return load_catalogue({.config = top_.path() + "/wrapd.yaml",
                           .policies = top_.path() + "/policies",
                           .vendor_policies = top_.path() + "/vendor"});
  }
  test::TemporaryDirectory top_;
};

const std::string kPolicy = "version: 1\nname: NAME\n";

std::string policy_named(const std::string& name) {
  std::string text = kPolicy;
  return text.replace(text.find("NAME"), 4, name);
}

TEST_F(CatalogueFiles, WithoutAnyFileThereIsTheDefaultConfiguration) {
  auto catalogue = load();
  ASSERT_TRUE(catalogue) << catalogue.error().message;
  EXPECT_TRUE((*catalogue)->policies.empty());
  ASSERT_EQ((*catalogue)->config.access.size(), 1U);
  EXPECT_EQ((*catalogue)->config.access[0].default_policy, "default");
}

TEST_F(CatalogueFiles, OtherFilesAreNotPolicies) {
  write("policies/a.yaml", policy_named("a"));
  write("policies/a.yaml~", "garbage");
  write("policies/.b.yaml", "garbage");
  write("policies/c.yml", "garbage");
  auto catalogue = load();
  ASSERT_TRUE(catalogue);
  EXPECT_EQ((*catalogue)->policies.size(), 1U);
  EXPECT_TRUE((*catalogue)->rejected.empty());
  EXPECT_TRUE((*catalogue)->find("a"));
  EXPECT_FALSE((*catalogue)->find("b"));
}

TEST_F(CatalogueFiles, ABrokenFileKeepsItsNameFromOthers) {
  write("policies/a.yaml", "garbage: [");
  write("vendor/other.yaml", policy_named("a"));
  auto catalogue = load();
  ASSERT_TRUE(catalogue);
  EXPECT_FALSE((*catalogue)->find("a"));
  EXPECT_NE((*catalogue)->rejection("a"), nullptr);
}

// A name that is not there says nothing; one that leads nowhere was meant to say something.
TEST_F(CatalogueFiles, WhatCannotBeReadIsNotMissing) {
  write("vendor/default.yaml", policy_named("default"));
  ASSERT_TRUE(load());
  for (const char* name : {"/wrapd.yaml", "/policies"}) {
    const std::string path = top_.path() + name;
    for (const std::string& target : {std::string("nowhere"), path, top_.path() + "/vendor/default.yaml/x"}) {
      fs::create_symlink(target, path);
      auto catalogue = load();
      ASSERT_FALSE(catalogue) << name << " -> " << target;
      EXPECT_NE(catalogue.error().message.find(path), std::string::npos) << catalogue.error().message;
      fs::remove(path);
    }
    ASSERT_TRUE(load());
  }
  fs::create_directory(top_.path() + "/wrapd.yaml");
  EXPECT_FALSE(load());
  fs::remove(top_.path() + "/wrapd.yaml");
  write("policies", "a file");
  EXPECT_FALSE(load());
}

TEST_F(CatalogueFiles, ADanglingPolicyIsBrokenAndNotTheVendors) {
  write("vendor/default.yaml", policy_named("default"));
  fs::create_directory(top_.path() + "/policies");
  fs::create_symlink("nowhere", top_.path() + "/policies/default.yaml");
  auto catalogue = load();
  ASSERT_TRUE(catalogue) << catalogue.error().message;
  EXPECT_FALSE((*catalogue)->find("default"));
  EXPECT_NE((*catalogue)->rejection("default"), nullptr);
}

TEST_F(CatalogueFiles, TheDirectoryOfTheConfigurationMayBeAbsentToo) {
  auto in = [this](const std::string& directory) {
    return load_catalogue({.config = directory + "/wrapd.yaml",
                           .policies = directory + "/policies",
                           .vendor_policies = top_.path() + "/vendor"});
  };
  EXPECT_TRUE(in(top_.path() + "/etc"));
  fs::create_symlink("nowhere", top_.path() + "/etc");
  auto catalogue = in(top_.path() + "/etc");
  ASSERT_FALSE(catalogue);
  EXPECT_EQ(catalogue.error().message, top_.path() + "/etc: a link that leads nowhere; mend or remove it");
  EXPECT_FALSE(in(top_.path() + "/etc/below"));
}

TEST_F(CatalogueFiles, WhatIsGrantedMustBeThere) {
  write("wrapd.yaml", "version: 1\naccess:\n  - {users: ['*'], policies: [a, gone], default: a}\n");
  write("policies/a.yaml", policy_named("a"));
  auto catalogue = load();
  ASSERT_FALSE(catalogue);
  EXPECT_EQ(catalogue.error().message,
            top_.path() + "/wrapd.yaml:3:34: there is no policy 'gone'; install it, or do not grant it");
  write("vendor/any.yaml", policy_named("gone"));
  EXPECT_TRUE(load());
  // Among files that cannot be read may be the one: the others are served, and both are told.
  write("vendor/any.yaml", "garbage: [");
  catalogue = load();
  ASSERT_TRUE(catalogue) << catalogue.error().message;
  EXPECT_TRUE((*catalogue)->find("a"));
  ASSERT_EQ((*catalogue)->rejected.size(), 2U);
  EXPECT_EQ((*catalogue)->rejected[1].file, top_.path() + "/wrapd.yaml");
}

TEST_F(CatalogueFiles, WritableConfigurationIsRefused) {
  write("wrapd.yaml", "version: 1\n");
  ASSERT_TRUE(::chmod((top_.path() + "/wrapd.yaml").c_str(), 0664) == 0);
  EXPECT_FALSE(load());
  ASSERT_TRUE(::chmod((top_.path() + "/wrapd.yaml").c_str(), 0644) == 0);
  ASSERT_TRUE(::chmod(top_.path().c_str(), 01777) == 0);
  EXPECT_FALSE(load()) << "somebody else can put another in its place";
}

}  // namespace
}  // namespace wrapd::daemon
