// SPDX-License-Identifier: Apache-2.0
#pragma once

// Many patterns as one trie of bytes, in which '*', '**' and '?' are nodes: finding the first rule whose pattern
// matches a name takes what the name's length and the wildcards alive along it take, not what the number of patterns
// does. It is part of a compiled block (block.h), made once and only read, in place, at any alignment; and it may come
// from a user, so check() is asked before anything else.
//
//   u32 nodes | u32 accepts | nodes | labels | accepts
//
// Nodes are numbered in breadth-first order, the roots first (one for each kind of name), and a node's children are
// consecutive: first those reached by a byte (sorted by that byte, which stands in the child's label), then the one
// reached by '?', by '*', by '**'. That order is its own proof: walking the nodes once, with a counter of children
// given out so far, shows that every node has exactly one parent with a smaller number. So matching ends, and only
// nodes of '*' and '**', which may also stay alive by themselves, can become alive twice in one step.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/block.h"
#include "policy/pattern.h"

namespace wrapd::policy {

struct MatcherShape {
  uint32_t roots = 1;
  uint32_t operations = 1;
};

// True for what a class wants marked among the nodes: the rules that a node accepts, one for each operation, or kNone.
using MarkRules = std::function<bool(std::span<const uint32_t> rules)>;

class Matcher {
 public:
  // Layout; for the builder and the tests.
  static constexpr size_t kHeaderNodes = 0;    // u32
  static constexpr size_t kHeaderAccepts = 4;  // u32
  static constexpr size_t kHeaderBytes = 8;
  static constexpr size_t kNodeFirstChild = 0;    // u32
  static constexpr size_t kNodeAccept = 4;        // u32, index of an accept or kNone
  static constexpr size_t kNodeByteChildren = 8;  // u16, 0 to 256
  static constexpr size_t kNodeChildren = 10;     // u8, kHasAny...
  static constexpr size_t kNodeKind = 11;         // u8, kPlain..., and kMarked
  static constexpr size_t kNodeBytes = 12;
  static constexpr uint8_t kHasAny = 1;
  static constexpr uint8_t kHasStar = 2;
  static constexpr uint8_t kHasGlobstar = 4;
  static constexpr uint8_t kPlain = 0;
  static constexpr uint8_t kStar = 1;      // stays alive on every byte but '/'
  static constexpr uint8_t kGlobstar = 2;  // stays alive on every byte
  static constexpr uint8_t kKindMask = 3;
  static constexpr uint8_t kMarked = 4;  // the rules of this node, or of one below it, are marked

  struct Node {
    uint32_t first_child;
    uint32_t accept;
    uint32_t byte_children;
    uint8_t children;
    uint8_t kind;
    [[nodiscard]] uint32_t child_count() const {
      return byte_children + static_cast<uint32_t>(std::popcount(children));
    }
    [[nodiscard]] uint32_t any() const { return first_child + byte_children; }
    [[nodiscard]] uint32_t star() const { return any() + ((children & kHasAny) != 0 ? 1 : 0); }
    [[nodiscard]] uint32_t globstar() const { return star() + ((children & kHasStar) != 0 ? 1 : 0); }
    [[nodiscard]] bool is_globstar() const { return (kind & kKindMask) == kGlobstar; }
    [[nodiscard]] bool marked() const { return (kind & kMarked) != 0; }
  };

  // How many bytes the matcher at the beginning of `bytes` takes; nothing if they hold none.
  [[nodiscard]] static std::optional<size_t> size_of(std::span<const std::byte> bytes, MatcherShape shape);

  // Borrows `bytes`, which are large enough by size_of().
  Matcher(const std::byte* bytes, MatcherShape shape);

  // The first thing that is wrong, or nullptr. Rules are numbers below `rules`.
  [[nodiscard]] const char* check(uint32_t rules, const MarkRules& marks) const;

  // The smallest rule whose pattern matches the name, or kNone; kNone also where too many patterns are alive at once.
  [[nodiscard]] uint32_t first(uint32_t root, uint32_t operation, std::string_view name) const;

  // The nodes alive behind the name, or nothing if they are too many. Valid until this thread asks again.
  [[nodiscard]] std::optional<std::span<const uint32_t>> alive(uint32_t root, std::string_view name) const;
  [[nodiscard]] uint32_t node_count() const { return nodes_; }
  [[nodiscard]] Node node(uint32_t index) const {
    const std::byte* p = base_ + kHeaderBytes + size_t{index} * kNodeBytes;
    return {load<uint32_t>(p + kNodeFirstChild), load<uint32_t>(p + kNodeAccept), load<uint16_t>(p + kNodeByteChildren),
            load<uint8_t>(p + kNodeChildren), load<uint8_t>(p + kNodeKind)};
  }
  [[nodiscard]] uint8_t label(uint32_t node) const { return load<uint8_t>(labels_ + node); }
  // The rule that the node accepts, or kNone.
  [[nodiscard]] uint32_t rule_of(const Node& node, uint32_t operation) const {
    if (node.accept == kNone) return kNone;
    return load<uint32_t>(accepts_ + (size_t{node.accept} * shape_.operations + operation) * 4);
  }
  // The child of `node` by byte `c`, or kNone.
  [[nodiscard]] uint32_t child(const Node& node, uint8_t c) const;

 private:
  [[nodiscard]] const char* check_tree() const;
  [[nodiscard]] const char* check_children(const Node& node) const;
  [[nodiscard]] const char* check_accepts(uint32_t rules) const;
  [[nodiscard]] const char* check_marks(const MarkRules& marks) const;

  const std::byte* base_;
  MatcherShape shape_;
  uint32_t nodes_;
  uint32_t accepts_count_;
  const std::byte* labels_;
  const std::byte* accepts_;
};

class MatcherBuilder {
 public:
  explicit MatcherBuilder(MatcherShape shape);

  // False: too many patterns for any block. `operations` is a mask, of bits in the order of the accepts.
  [[nodiscard]] bool insert(uint32_t root, std::span<const Token> tokens, uint32_t operations, uint32_t rule);
  [[nodiscard]] std::vector<std::byte> build(const MarkRules& marks) const;

 private:
  struct Node {
    uint32_t origin = 0;  // its number while the trie grows
    uint32_t first_child = 0;
    uint16_t byte_children = 0;
    uint8_t children = 0;
    uint8_t kind = Matcher::kPlain;
    uint8_t label = 0;
  };
  [[nodiscard]] std::vector<Node> flatten() const;
  [[nodiscard]] std::span<const uint32_t> rules_of(uint32_t origin) const;

  MatcherShape shape_;
  std::unordered_map<uint64_t, uint32_t> children_;
  std::vector<uint32_t> rules_;  // of each node, one for each operation
};

}  // namespace wrapd::policy
