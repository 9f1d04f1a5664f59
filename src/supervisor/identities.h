// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>
#include <time.h>

#include <chrono>
#include <cstdint>
#include <functional>
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
//
// A name that cannot be looked up protects nothing where it is not the program that keeps us from it: nobody but a
// directory's owner closes it. Behind a directory of the caller's own that is closed, any object may be the denied one;
// after another error, any that was made or changed since the name was looked up last.
//
// No object is forgotten while it may be alive: it goes when another is found with its number. When there is no more
// room, nothing can be told from the ones that would not fit.
class Identities {
 public:
  static constexpr size_t kMostRemembered = 65536;  // more only if more literals lead to something at once

  Identities(kernel::Objects& kernel, int root, const policy::Layers& layers, size_t most_remembered = kMostRemembered);

  struct Denial {
    policy::Decision decision;
    const char* reason = "";  // where it is not known that the object is a denied one
  };
  // The strictest denial (or question) that applies to the object behind this descriptor, whatever its name is. `path`:
  // its real path.
  [[nodiscard]] std::optional<Denial> denial(int object, std::string_view path) const;

  // What can be seen at a name. clear: `id`, or nothing (its mode is 0); also nothing where others closed the way.
  enum class Sight : uint8_t { clear, doubtful, closed };
  [[nodiscard]] Sight find(std::string_view path, kernel::ObjectId& id) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Literal {
    uint8_t layer;
    uint32_t rule;
    uint32_t index;
    size_t ending;  // hash of the last element
  };
  struct Number {
    dev_t device;
    ino_t inode;
    bool operator==(const Number&) const = default;
  };
  struct HashNumber {
    size_t operator()(const Number& number) const {
      return std::hash<uint64_t>()(number.inode ^ (uint64_t{number.device} << 40));
    }
  };
  struct Known {
    timespec born;
    uint32_t literal;  // the strictest
  };
  void look(uint32_t literal) const;
  void look_at_all() const;
  void remember(const kernel::ObjectId& id, uint32_t literal) const;
  // A literal that may lead to the object, for all that can be seen.
  [[nodiscard]] std::optional<uint32_t> not_told_apart_from(const kernel::ObjectId& id) const;
  [[nodiscard]] policy::Decision decision_of(const Literal& literal) const;

  kernel::Objects& kernel_;
  int root_;
  const policy::Layers& layers_;
  std::vector<Literal> literals_;  // sorted by their endings

  size_t most_remembered_;

  mutable std::mutex lock_;
  mutable std::unordered_map<Number, Known, HashNumber> known_;
  mutable std::optional<uint32_t> without_room_;  // the strictest literal of an object that found none
  mutable std::vector<Sight> sights_;             // of each literal, when it was looked at last
  mutable std::vector<timespec> seen_;            // when it was looked at last and seen, by the clock that stamps files
  mutable std::vector<uint32_t> obscure_;         // those that were not seen
  mutable timespec looked_{};                     // before all were looked at, by the same clock
  mutable Clock::time_point next_look_{};
};

}  // namespace wrapd::supervisor
