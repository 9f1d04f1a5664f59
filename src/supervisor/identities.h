// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernel/kernel.h"
#include "policy/layers.h"

namespace wrapd::supervisor {

// The objects behind the literal names that are denied or asked about. A name says little about a socket: a hard link,
// a bind mount or a link in the place of a directory gives it another one. So what the literal names lead to is looked
// up again when an object is judged, and what they led to before is remembered, by a birth time that no later object
// with its number has.
//
// An object keeps its own last name element, whatever leads to its directory, unless it has several links or is mounted
// by itself. So the literals that end as its name does are looked up each time, and all of them if it has other ends,
// if it has changed (was made, moved or linked) since all were looked up, and after a while: a literal name that was
// made a link itself is noticed then, or with the next change.
class Identities {
 public:
  Identities(kernel::Objects& kernel, int root, const policy::Layers& layers);

  // The strictest denial (or question) that applies to the object behind this descriptor, whatever its name is. `path`:
  // its real path.
  [[nodiscard]] std::optional<policy::Decision> denial(int object, std::string_view path) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Literal {
    uint8_t layer;
    int32_t rule;
    uint32_t index;
    size_t ending;  // hash of the last element
  };
  struct Known {
    kernel::ObjectId id;
    uint32_t literal;
  };
  void look(uint32_t literal) const;
  void look_at_all() const;
  [[nodiscard]] policy::Decision decision_of(const Literal& literal) const;

  kernel::Objects& kernel_;
  int root_;
  const policy::Layers& layers_;
  std::vector<Literal> literals_;  // sorted by their endings

  mutable std::mutex lock_;
  mutable std::unordered_multimap<ino_t, Known> known_;
  mutable timespec looked_{};  // before all were looked at, by the clock that stamps files
  mutable Clock::time_point next_look_{};
};

}  // namespace wrapd::supervisor
