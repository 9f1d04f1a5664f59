// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/unique_names.h"

#include <gtest/gtest.h>

namespace wrapd::daemon::bus {
namespace {

TEST(UniqueNames, ANameIsThereFromWhenItCame) {
  UniqueNames appearances(100);
  appearances.came(":1.7", 150);
  appearances.came(":1.8", 160);
  EXPECT_EQ(appearances.of(":1.7"), 150U);
  EXPECT_EQ(appearances.of(":1.8"), 160U);
}

TEST(UniqueNames, WhoWasThereBeforeIsOlderThanTheWatch) {
  UniqueNames appearances(100);
  appearances.came(":1.7", 150);
  EXPECT_EQ(appearances.of(":1.6"), 100U);
}

TEST(UniqueNames, ASecondComingDoesNotMakeItLater) {
  UniqueNames appearances(100);
  appearances.came(":1.7", 150);
  appearances.came(":1.7", 200);
  EXPECT_EQ(appearances.of(":1.7"), 150U);
}

TEST(UniqueNames, WhoLeavesIsForgotten) {
  UniqueNames appearances(100);
  for (unsigned i = 0; i < 2 * UniqueNames::kMaxNames; ++i) {
    const std::string name = ":1." + std::to_string(i);
    appearances.came(name, 150);
    EXPECT_EQ(appearances.of(name), 150U);
    appearances.left(name);
    EXPECT_EQ(appearances.of(name), 100U);
  }
}

TEST(UniqueNames, WhatIsBeyondTheLimitIsTakenForTheOldest) {
  UniqueNames appearances(100);
  for (unsigned i = 0; i <= UniqueNames::kMaxNames; ++i) appearances.came(":1." + std::to_string(i), 150);
  EXPECT_EQ(appearances.of(":1." + std::to_string(UniqueNames::kMaxNames - 1)), 150U);
  EXPECT_EQ(appearances.of(":1." + std::to_string(UniqueNames::kMaxNames)), 100U);
}

TEST(UniqueNames, OtherNamesTakeNoPlace) {
  UniqueNames appearances(100);
  for (unsigned i = 0; i <= UniqueNames::kMaxNames; ++i) appearances.came("org.example.N" + std::to_string(i), 150);
  appearances.came(":1.7", 160);
  EXPECT_EQ(appearances.of(":1.7"), 160U);
}

}  // namespace
}  // namespace wrapd::daemon::bus
