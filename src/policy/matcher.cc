// SPDX-License-Identifier: Apache-2.0
#include "policy/matcher.h"

#include <algorithm>
#include <array>

namespace wrapd::policy {
namespace {

// More patterns alive at once than this, and the name is denied: it bounds what a hostile profile can cost. Rules of
// ordinary shape keep fewer than ten alive, since patterns share their beginnings.
constexpr size_t kMaxAlive = 512;

// The nodes alive at one place of a name. Nodes of '*' and '**' are entered once a step, see matcher.h; `seen_` is
// never cleared but told apart by the step's number, so that a call costs nothing for its size.
class Walk {
 public:
  // False: too many nodes are alive.
  [[nodiscard]] bool run(const Matcher& matcher, uint32_t root, std::string_view name) {
    count_ = 0;
    next_step();
    if (!enter(matcher, root, alive_[current_])) return false;
    return std::ranges::all_of(name, [&](char c) { return count_ == 0 || step(matcher, static_cast<uint8_t>(c)); });
  }

  [[nodiscard]] std::span<const uint32_t> alive() const { return std::span(alive_[current_]).first(count_); }

 private:
  using Nodes = std::array<uint32_t, kMaxAlive>;
  static constexpr size_t kSlots = 2 * kMaxAlive;  // a power of two
  struct Slot {
    uint32_t node;
    uint32_t step;
  };

  [[nodiscard]] bool step(const Matcher& matcher, uint8_t c) {
    const auto& from = alive_[current_];
    auto& to = alive_[1 - current_];
    size_t from_count = count_;
    count_ = 0;
    next_step();
    for (size_t i = 0; i < from_count; ++i) {
      Matcher::Node node = matcher.node(from[i]);
      uint8_t kind = node.kind & Matcher::kKindMask;
      if ((kind == Matcher::kGlobstar || (kind == Matcher::kStar && c != '/')) && !add_once(from[i], to)) return false;
      if (uint32_t child = matcher.child(node, c); child != kNone && !enter(matcher, child, to)) return false;
      if ((node.children & Matcher::kHasAny) != 0 && c != '/' && !enter(matcher, node.any(), to)) return false;
    }
    current_ = 1 - current_;
    return true;
  }

  void next_step() {
    if (++step_ == 0) {
      seen_.fill({});
      step_ = 1;
    }
  }

  bool add(uint32_t node, Nodes& to) {
    if (count_ == kMaxAlive) return false;
    to[count_++] = node;
    return true;
  }

  bool add_once(uint32_t node, Nodes& to) {
    const uint32_t hash = node * 0x9e3779b1U;
    for (size_t slot = hash % kSlots;; slot = (slot + 1) % kSlots) {
      if (seen_[slot].step != step_) {
        // At most kMaxAlive slots of a step are taken, so a free one is always found.
        if (!add(node, to)) return false;
        seen_[slot] = {node, step_};
        return true;
      }
      if (seen_[slot].node == node) return true;
    }
  }

  // Adds a node that is no '*' or '**', and those behind it that may match nothing.
  bool enter(const Matcher& matcher, uint32_t index, Nodes& to) {
    if (!add(index, to)) return false;
    Matcher::Node node = matcher.node(index);
    if ((node.children & Matcher::kHasStar) != 0 && !add_once(node.star(), to)) return false;
    return (node.children & Matcher::kHasGlobstar) == 0 || add_once(node.globstar(), to);
  }

  std::array<Nodes, 2> alive_;
  std::array<Slot, kSlots> seen_;
  size_t current_ = 0;
  size_t count_ = 0;
  uint32_t step_ = 0;
};

Walk& walk_of_this_thread() {
  static thread_local Walk walk;
  return walk;
}

}  // namespace

std::optional<size_t> Matcher::size_of(std::span<const std::byte> bytes, MatcherShape shape) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  // 64 bits, so that hostile counts cannot overflow.
  const uint64_t nodes = load<uint32_t>(bytes.data() + kHeaderNodes);
  const uint64_t accepts = load<uint32_t>(bytes.data() + kHeaderAccepts);
  const uint64_t size = kHeaderBytes + nodes * (kNodeBytes + 1) + accepts * shape.operations * 4;
  return size <= bytes.size() ? std::optional<size_t>(size) : std::nullopt;
}

Matcher::Matcher(const std::byte* bytes, MatcherShape shape)
    : base_(bytes),
      shape_(shape),
      nodes_(load<uint32_t>(bytes + kHeaderNodes)),
      accepts_count_(load<uint32_t>(bytes + kHeaderAccepts)),
      labels_(bytes + kHeaderBytes + size_t{nodes_} * kNodeBytes),
      accepts_(labels_ + nodes_) {}

const char* Matcher::check(uint32_t rules, const MarkRules& marks) const {
  if (const char* wrong = check_tree()) return wrong;
  if (const char* wrong = check_accepts(rules)) return wrong;
  return check_marks(marks);
}

const char* Matcher::check_tree() const {
  if (nodes_ < shape_.roots) return "no roots";
  uint64_t next = shape_.roots;
  for (uint32_t i = 0; i < nodes_; ++i) {
    const Node node = this->node(i);
    const bool plain = (node.kind & kKindMask) == kPlain;
    if (i >= next) return "node without parent";
    if (i < shape_.roots && !plain) return "bad root";
    if (node.byte_children > 256 || (node.children & ~(kHasAny | kHasStar | kHasGlobstar)) != 0) return "bad node";
    if ((node.kind & ~(kKindMask | kMarked)) != 0) return "bad node";
    if (!plain && (node.children & (kHasStar | kHasGlobstar)) != 0) return "stars in a row";
    if (node.first_child != next || node.child_count() > nodes_ - next) return "bad children";
    if (node.accept != kNone && node.accept >= accepts_count_) return "bad accept";
    if (const char* wrong = check_children(node)) return wrong;
    next += node.child_count();
  }
  return next == nodes_ ? nullptr : "bad children";
}

const char* Matcher::check_children(const Node& node) const {
  auto kind_of = [&](uint32_t child) { return this->node(child).kind & kKindMask; };
  for (uint32_t i = 0; i < node.byte_children; ++i) {
    const uint32_t child = node.first_child + i;
    if (i > 0 && label(child - 1) >= label(child)) return "unsorted labels";
    if (kind_of(child) != kPlain) return "bad kind";
  }
  if ((node.children & kHasAny) != 0 && kind_of(node.any()) != kPlain) return "bad kind";
  if ((node.children & kHasStar) != 0 && kind_of(node.star()) != kStar) return "bad kind";
  if ((node.children & kHasGlobstar) != 0 && kind_of(node.globstar()) != kGlobstar) return "bad kind";
  return nullptr;
}

const char* Matcher::check_accepts(uint32_t rules) const {
  for (size_t i = 0; i < size_t{accepts_count_} * shape_.operations; ++i) {
    const auto rule = load<uint32_t>(accepts_ + 4 * i);
    if (rule != kNone && rule >= rules) return "bad accept";
  }
  return nullptr;
}

// Right for each node, given its children: then right for all.
const char* Matcher::check_marks(const MarkRules& marks) const {
  std::vector<uint32_t> rules(shape_.operations);
  for (uint32_t i = 0; i < nodes_; ++i) {
    const Node node = this->node(i);
    for (uint32_t operation = 0; operation < shape_.operations; ++operation) {
      rules[operation] = rule_of(node, operation);
    }
    bool marked = node.accept != kNone && marks(rules);
    for (uint32_t c = 0; c < node.child_count() && !marked; ++c) marked = this->node(node.first_child + c).marked();
    if (marked != node.marked()) return "bad summary";
  }
  return nullptr;
}

uint32_t Matcher::first(uint32_t root, uint32_t operation, std::string_view name) const {
  Walk& walk = walk_of_this_thread();
  if (!walk.run(*this, root, name)) return kNone;
  uint32_t first = kNone;
  for (uint32_t index : walk.alive()) first = std::min(first, rule_of(node(index), operation));
  return first;
}

std::optional<std::span<const uint32_t>> Matcher::alive(uint32_t root, std::string_view name) const {
  Walk& walk = walk_of_this_thread();
  if (!walk.run(*this, root, name)) return std::nullopt;
  return walk.alive();
}

uint32_t Matcher::child(const Node& node, uint8_t c) const {
  uint32_t low = node.first_child;
  uint32_t high = low + node.byte_children;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    const uint8_t l = label(middle);
    if (l == c) return middle;
    if (l < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return kNone;
}

}  // namespace wrapd::policy
