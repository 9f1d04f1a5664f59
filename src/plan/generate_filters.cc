// SPDX-License-Identifier: Apache-2.0

// Build-time program: writes the filter of every FilterSpec as a C++ header to stdout. There are few, and making one is
// a third of what a profile's compilation takes.

#include "plan/generate_filters.h"

#include <cstdio>

namespace {

using wrapd::plan::FilterSpec;

const char* word(bool value) {
  return value ? "true" : "false";
}

bool print(const FilterSpec& spec, const char* name) {
  auto program = wrapd::plan::generate_filter(spec);
  if (!program) {
    std::fprintf(stderr, "generate-filters: %s\n", program.error().message.c_str());
    return false;
  }
  std::printf("inline constexpr sock_filter %s[] = {\n", name);
  for (const sock_filter& i : *program) std::printf("    {0x%04x, %u, %u, 0x%08x},\n", i.code, i.jt, i.jf, i.k);
  std::printf("};\n\n");
  return true;
}

}  // namespace

int main() {
  constexpr FilterSpec kAll[] = {{.unix_sockets = false, .renames = false},
                                 {.unix_sockets = false, .renames = true},
                                 {.unix_sockets = true, .renames = false},
                                 {.unix_sockets = true, .renames = true}};
  constexpr const char* kNames[] = {"kFilter0", "kFilter1", "kFilter2", "kFilter3"};
  std::printf("// SPDX-License-Identifier: Apache-2.0\n// Made by generate_filters.cc.\n#pragma once\n\n");
  std::printf(
      "#include <linux/filter.h>\n\n#include <span>\n\n#include \"plan/plan.h\"\n\nnamespace wrapd::plan {\n\n");
  for (size_t i = 0; i < std::size(kAll); ++i) {
    if (!print(kAll[i], kNames[i])) return 1;
  }
  std::printf("struct MadeFilter {\n  FilterSpec spec;\n  std::span<const sock_filter> program;\n};\n\n");
  std::printf("inline constexpr MadeFilter kFilters[] = {\n");
  for (size_t i = 0; i < std::size(kAll); ++i) {
    std::printf("    {{.unix_sockets = %s, .renames = %s}, kFilter%zu},\n", word(kAll[i].unix_sockets),
                word(kAll[i].renames), i);
  }
  std::printf("};\n\n}  // namespace wrapd::plan\n");
  return std::fflush(stdout) == 0 ? 0 : 1;
}
