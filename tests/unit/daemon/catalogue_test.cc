// SPDX-License-Identifier: Apache-2.0
#include "daemon/catalogue.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/daemon/temporary_directory.h"

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
  TemporaryDirectory top_;
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
