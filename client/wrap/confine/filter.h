// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>

#include <span>
#include <string>

#include "base/io.h"
#include "base/result.h"

namespace wrapd::client {

// A seccomp program that somebody else compiled.
class FilterProgram {
 public:
  FilterProgram() = default;  // none
  // The whole of a sealed memfd. `whose` is for errors: "the service's".
  [[nodiscard]] static Result<FilterProgram> map(int memfd, const std::string& whose);
  [[nodiscard]] std::span<const sock_filter> instructions() const;

 private:
  SealedMapping memory_;
};

}  // namespace wrapd::client
