// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "kernel/kernel.h"
#include "policy/layers.h"

namespace wrapd::supervisor {

// The objects behind the literal names that are denied or asked about. A name says little about a socket: a hard link,
// a bind mount or a rename gives it another one. Identities are taken when the session starts, and again when an object
// turns up under a name that may not be its only one.
class Identities {
 public:
  Identities(kernel::Objects& kernel, int root, const policy::Layers& layers)
      : kernel_(kernel), root_(root), layers_(layers) {
    known_ = take();
  }

  // The strictest denial (or question) that applies to this object whatever its name. `look_again`: also if the literal
  // names lead to it now.
  [[nodiscard]] std::optional<policy::Decision> denial(const struct stat& object, bool look_again) const;

 private:
  struct Identity {
    dev_t device;
    ino_t inode;
    uint8_t layer;
    int32_t rule;
  };
  [[nodiscard]] std::vector<Identity> take() const;
  [[nodiscard]] std::optional<policy::Decision> find(const std::vector<Identity>& in, const struct stat& object) const;

  kernel::Objects& kernel_;
  int root_;
  const policy::Layers& layers_;
  std::vector<Identity> known_;
};

}  // namespace wrapd::supervisor
