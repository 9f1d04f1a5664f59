// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/layers.h"
#include "supervisor/handler.h"
#include "wire/control.h"

namespace wrapd::supervisor {

// What the user is told when the command has ended. Bounded: a program can be denied anything any number of times.
class Denials {
 public:
  static constexpr size_t kMaxLines = 64;

  explicit Denials(const policy::Layers& layers) : layers_(layers) {}
  void count(const Record& record);
  void count_lost(uint64_t events) { summary_.lost += events; }
  [[nodiscard]] const wire::Summary& summary() const { return summary_; }

 private:
  const policy::Layers& layers_;
  wire::Summary summary_;
};

}  // namespace wrapd::supervisor
