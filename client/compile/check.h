// SPDX-License-Identifier: Apache-2.0
#pragma once

// wrap-compile --check [--become UID:GID]
//
// Says what is wrong with the policy in the sealed memfd that is its standard input: a line each on stdout and exit
// status 1; exit status 0 if nothing is. The service starts it as root, with --become: then groups, ids and
// capabilities are dropped for good and resources limited before a byte of the text is read.

#include <cstddef>

namespace wrapd::compile {

inline constexpr size_t kMaxCheckedText = 1U << 20;
inline constexpr int kExitProblems = 1;
inline constexpr int kExitFailure = 2;  // nothing was checked; stderr says why

// The arguments after --check.
[[nodiscard]] int run_check(int argc, char** argv);

}  // namespace wrapd::compile
