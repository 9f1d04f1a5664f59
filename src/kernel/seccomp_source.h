// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.h"
#include "kernel/trap_source.h"

namespace wrapd::kernel {

// seccomp_unotify(2).
class SeccompSource final : public TrapSource {
 public:
  // Takes over the listener; none: there is nothing to receive.
  explicit SeccompSource(UniqueFd listener);

  int descriptor() const override { return listener_.get(); }
  int receive(Notification& call) override;
  int answer(uint64_t id, const Answer& answer) override;
  bool valid(uint64_t id) override;

 private:
  [[nodiscard]] int give_descriptor(uint64_t id, const Answer& answer);
  [[nodiscard]] int respond(uint64_t id, int error, int64_t value, uint32_t flags);

  UniqueFd listener_;
};

}  // namespace wrapd::kernel
