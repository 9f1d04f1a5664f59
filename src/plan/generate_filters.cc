// SPDX-License-Identifier: Apache-2.0

// Build-time program: writes the filter of every TrapSet as a C++ header to stdout. There are few, and making one is a
// third of what a profile's compilation takes.

#include "plan/generate_filters.h"

#include <cstdio>

int main() {
  using wrapd::plan::TrapSet;
  std::printf("// SPDX-License-Identifier: Apache-2.0\n// Made by generate_filters.cc.\n#pragma once\n\n");
  std::printf("#include <linux/filter.h>\n\n#include <span>\n\nnamespace wrapd::plan {\n\n");
  for (unsigned number = 0; number < TrapSet::kSets; ++number) {
    auto program = wrapd::plan::generate_filter(TrapSet::numbered(number));
    if (!program) {
      std::fprintf(stderr, "generate-filters: %s\n", program.error().message.c_str());
      return 1;
    }
    std::printf("inline constexpr sock_filter kFilter%u[] = {\n", number);
    for (const sock_filter& i : *program) std::printf("    {0x%04x, %u, %u, 0x%08x},\n", i.code, i.jt, i.jf, i.k);
    std::printf("};\n\n");
  }
  std::printf("// By TrapSet::number().\ninline constexpr std::span<const sock_filter> kFilters[] = {\n");
  for (unsigned number = 0; number < TrapSet::kSets; ++number) std::printf("    kFilter%u,\n", number);
  std::printf("};\n\n}  // namespace wrapd::plan\n");
  return std::fflush(stdout) == 0 ? 0 : 1;
}
