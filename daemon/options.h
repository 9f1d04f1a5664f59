// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "daemon/catalogue.h"

namespace wrapd::daemon {

// The command line of wrapd. The environment is not asked: root starts the service, and says so in words.
struct Options {
  CataloguePaths catalogue;
  std::string runtime_directory;
  std::string supervisor;
  std::string keeper;                 // wrapd-keeper, where the kernel cannot refuse descriptors on a socket
  std::string compiler;               // wrap-compile, for checking users' policies
  std::chrono::seconds idle_exit{0};  // 0: never
  bool help = false;
  bool version = false;
};

[[nodiscard]] Options default_options();
[[nodiscard]] Result<Options> parse_options(int argc, char** argv);
[[nodiscard]] std::string usage();

}  // namespace wrapd::daemon
