// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "audit/sink.h"

namespace wrapd::daemon {

// Keeps events where a test looks for them.
class Keep final : public audit::Sink {
 public:
  explicit Keep(std::vector<audit::Event>& events) : events_(events) {}
  Result<> write(const audit::Event& event) override {
    events_.push_back(event);
    return {};
  }

 private:
  std::vector<audit::Event>& events_;
};

}  // namespace wrapd::daemon
