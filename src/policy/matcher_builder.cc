// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "policy/matcher.h"

namespace wrapd::policy {
namespace {

// Children are ordered by label: bytes, then these.
constexpr uint16_t kLabelAny = 256;
constexpr uint16_t kLabelStar = 257;
constexpr uint16_t kLabelGlobstar = 258;
constexpr unsigned kLabelBits = 9;

// What cannot fit into a block is not worth building.
constexpr size_t kMaxNodes = kMaxRulesBytes / (Matcher::kNodeBytes + 1);

uint64_t key(uint32_t node, uint16_t label) {
  return uint64_t{node} << kLabelBits | label;
}

uint16_t label_of(const Token& token) {
  switch (token.kind) {
    case TokenKind::any_byte:
      return kLabelAny;
    case TokenKind::star:
      return kLabelStar;
    case TokenKind::globstar:
      return kLabelGlobstar;
    default:
      return token.value;
  }
}

}  // namespace

MatcherBuilder::MatcherBuilder(MatcherShape shape)
    : shape_(shape), rules_(size_t{shape.roots} * shape.operations, kNone) {}

bool MatcherBuilder::insert(uint32_t root, std::span<const Token> tokens, uint32_t operations, uint32_t rule) {
  uint32_t node = root;
  for (const Token& token : tokens) {
    const auto fresh = static_cast<uint32_t>(rules_.size() / shape_.operations);
    auto [found, added] = children_.try_emplace(key(node, label_of(token)), fresh);
    if (added) {
      if (fresh >= kMaxNodes) return false;
      rules_.insert(rules_.end(), shape_.operations, kNone);
    }
    node = found->second;
  }
  for (uint32_t operation = 0; operation < shape_.operations; ++operation) {
    uint32_t& first = rules_[size_t{node} * shape_.operations + operation];
    if ((operations >> operation & 1) != 0) first = std::min(first, rule);
  }
  return true;
}

std::span<const uint32_t> MatcherBuilder::rules_of(uint32_t origin) const {
  return std::span(rules_).subspan(size_t{origin} * shape_.operations, shape_.operations);
}

// The nodes in breadth-first order.
std::vector<MatcherBuilder::Node> MatcherBuilder::flatten() const {
  struct Edge {
    uint64_t key;
    uint32_t child;
  };
  std::vector<Edge> edges;
  edges.reserve(children_.size());
  for (const auto& [k, child] : children_) edges.push_back({k, child});
  std::ranges::sort(edges, {}, &Edge::key);

  std::vector<Node> out(rules_.size() / shape_.operations);
  uint32_t next = shape_.roots;
  for (uint32_t root = 0; root < shape_.roots; ++root) out[root].origin = root;
  for (Node& node : out) {
    node.first_child = next;
    auto edge = std::ranges::lower_bound(edges, key(node.origin, 0), {}, &Edge::key);
    for (; edge != edges.end() && edge->key >> kLabelBits == node.origin; ++edge) {
      Node& child = out[next++];
      child.origin = edge->child;
      switch (edge->key & ((1U << kLabelBits) - 1)) {
        case kLabelAny:
          node.children |= Matcher::kHasAny;
          break;
        case kLabelStar:
          node.children |= Matcher::kHasStar;
          child.kind = Matcher::kStar;
          break;
        case kLabelGlobstar:
          node.children |= Matcher::kHasGlobstar;
          child.kind = Matcher::kGlobstar;
          break;
        default:
          ++node.byte_children;
          child.label = static_cast<uint8_t>(edge->key & 0xff);
      }
    }
  }
  return out;
}

std::vector<std::byte> MatcherBuilder::build(const MarkRules& marks) const {
  std::vector<Node> nodes = flatten();
  auto accepts_any = [&](const Node& node) {
    return std::ranges::any_of(rules_of(node.origin), [](uint32_t rule) { return rule != kNone; });
  };
  // Children come behind their parents.
  for (size_t n = nodes.size(); n-- > 0;) {
    const size_t children = nodes[n].byte_children + static_cast<size_t>(std::popcount(nodes[n].children));
    bool marked = accepts_any(nodes[n]) && marks(rules_of(nodes[n].origin));
    for (size_t i = 0; i < children && !marked; ++i) {
      marked = (nodes[nodes[n].first_child + i].kind & Matcher::kMarked) != 0;
    }
    if (marked) nodes[n].kind |= Matcher::kMarked;
  }

  const auto accepts = static_cast<uint32_t>(std::ranges::count_if(nodes, accepts_any));
  std::vector<std::byte> out;
  append(out, static_cast<uint32_t>(nodes.size()));
  append(out, accepts);
  uint32_t next_accept = 0;
  for (const Node& node : nodes) {
    append(out, node.first_child);
    append(out, accepts_any(node) ? next_accept++ : kNone);
    append(out, node.byte_children);
    append(out, node.children);
    append(out, node.kind);
  }
  for (const Node& node : nodes) append(out, node.label);
  for (const Node& node : nodes) {
    if (!accepts_any(node)) continue;
    for (uint32_t rule : rules_of(node.origin)) append(out, rule);
  }
  return out;
}

}  // namespace wrapd::policy
