// SPDX-License-Identifier: Apache-2.0

// Holds the tables of system calls against docs/filter.md, and the document against every number below kUnknownFrom
// that the kernel's headers or libseccomp know: none is let through that nobody has looked at.

#include <gtest/gtest.h>
#include <seccomp.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "plan/syscalls.h"
#include "plan/traps.h"

namespace wrapd::plan {
namespace {

using Names = std::set<std::string>;

// What stands between backquotes in the first column of a section's table, without arguments.
std::map<std::string, Names> document() {
  std::map<std::string, Names> sections;
  std::ifstream file(std::string(WRAPD_SOURCE_ROOT) + "/docs/filter.md");
  EXPECT_TRUE(file.is_open());
  std::string section;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) section = line.substr(3);
    if (!line.starts_with("| `")) continue;
    const std::string calls = line.substr(0, line.find(" | "));
    for (size_t open = calls.find('`'); open != std::string::npos;) {
      const size_t close = calls.find('`', open + 1);
      const std::string call = calls.substr(open + 1, close - open - 1);
      sections[section].insert(call.substr(0, call.find('(')));
      open = calls.find('`', close + 1);
    }
  }
  return sections;
}

// Number -> name, as the headers have them. Some names are defined by another name.
std::map<int, std::string> native_calls() {
  std::map<std::string, std::string> macros;
  std::ifstream file(SYSCALL_NUMBERS);
  EXPECT_TRUE(file.is_open());
  for (std::string define, name, value; file >> define >> name;) {
    std::getline(file, value);
    macros[name] = value.substr(std::min<size_t>(value.size(), 1));
  }
  std::map<int, std::string> calls;
  for (const auto& [name, text] : macros) {
    if (!name.starts_with("__NR_") || name == "__NR_syscalls" || name == "__NR_arch_specific_syscall") continue;
    auto value = text;
    for (auto other = macros.find(value); other != macros.end(); other = macros.find(value)) value = other->second;
    char* end = nullptr;
    const long number = std::strtol(value.c_str(), &end, 0);
    if (end != value.c_str() && *end == '\0') calls[static_cast<int>(number)] = name.substr(5);
  }
  EXPECT_GT(calls.size(), 250U);
  return calls;
}

Names all_of(const std::map<std::string, Names>& sections) {
  Names all;
  for (const auto& [section, names] : sections) all.insert(names.begin(), names.end());
  return all;
}

TEST(ReviewedTest, EveryNumberThatIsNotRefusedAsUnknownIsInTheDocument) {
  const Names known = all_of(document());
  for (const auto& [number, name] : native_calls()) {
    if (static_cast<uint32_t>(number) < kUnknownFrom) {
      EXPECT_TRUE(known.contains(name)) << number << " " << name;
    }
  }
}

TEST(ReviewedTest, OfBothArchitectures) {
  const Names known = all_of(document());
  int found = 0;
  for (uint32_t architecture : {SCMP_ARCH_X86_64, SCMP_ARCH_AARCH64}) {
    for (int number = 0; number < static_cast<int>(kUnknownFrom); ++number) {
      char* name = seccomp_syscall_resolve_num_arch(architecture, number);
      if (name == nullptr) continue;
      ++found;
      EXPECT_TRUE(known.contains(name)) << number << " " << name;
      std::free(name);
    }
  }
  EXPECT_GT(found, 500);
}

// The names of those calls of a section that this architecture has.
Names native(const Names& section, const std::map<int, std::string>& calls) {
  Names names;
  for (const auto& [number, name] : calls) {
    if (section.contains(name)) names.insert(name);
  }
  return names;
}

TEST(ReviewedTest, TablesAreTheDocuments) {
  auto sections = document();
  const auto calls = native_calls();
  Names trapped;
  Names refused;
  for (const Trap& trap : kTraps) trapped.insert(calls.at(trap.number));
  for (const Refusal& refusal : kRefusals) refused.insert(calls.at(refusal.nr));
  EXPECT_EQ(trapped, native(sections["Brought to the supervisor"], calls));
  EXPECT_EQ(refused, native(sections["Refused whatever the arguments"], calls));
  for (const std::string& name : sections["Looked at and allowed"]) {
    EXPECT_FALSE(trapped.contains(name) || refused.contains(name)) << name;
  }
}

// What records call a call, and what handlers know it by, is what the kernel calls it.
TEST(ReviewedTest, TrapsAreNamedAsTheCall) {
  const auto calls = native_calls();
  std::set<Call> seen;
  for (const Trap& trap : kTraps) {
    EXPECT_TRUE(calls.at(trap.number).starts_with(trap.operation)) << trap.number;
    EXPECT_TRUE(seen.insert(trap.call).second) << trap.number;
    EXPECT_EQ(find_trap(trap.number), &trap);
  }
  EXPECT_EQ(find_trap(-1), nullptr);
  EXPECT_EQ(find_trap(__NR_getpid), nullptr);
}

}  // namespace
}  // namespace wrapd::plan
