// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "base/io.h"
#include "policy/pattern.h"
#include "policy/rules.h"
#include "policy/rules_format.h"

namespace wrapd::policy {
namespace {

using namespace format;  // NOLINT(google-build-using-namespace): the layout's own writer

// Children are ordered by label: bytes, then these.
constexpr uint16_t kLabelAny = 256;
constexpr uint16_t kLabelStar = 257;
constexpr uint16_t kLabelGlobstar = 258;

constexpr std::array<uint32_t, kOperations> kNoRules = {kNone, kNone, kNone};

// A node costs kNodeBytes + 1 in the block; what cannot fit is not worth building.
constexpr size_t kMaxNodes = kMaxRulesBytes / (kNodeBytes + 1);

class Trie {
 public:
  Trie() : accepts_(kRoots, kNoRules) {}

  [[nodiscard]] bool insert(const Pattern& pattern, uint8_t operations, uint32_t rule) {
    uint32_t node = pattern.abstract ? kAbstractRoot : kPathRoot;
    for (const Token& token : pattern.tokens) {
      auto [found, added] = children_.try_emplace(key(node, label_of(token)), static_cast<uint32_t>(accepts_.size()));
      if (added) {
        if (accepts_.size() >= kMaxNodes) return false;
        accepts_.push_back(kNoRules);
      }
      node = found->second;
    }
    for (auto operation : {UnixOperation::connect, UnixOperation::bind, UnixOperation::listen}) {
      if ((operations & static_cast<uint8_t>(operation)) == 0) continue;
      uint32_t& first = accepts_[node][operation_index(operation)];
      first = std::min(first, rule);
    }
    return true;
  }

  struct Node {
    uint32_t first_child = 0;
    uint16_t byte_children = 0;
    uint8_t children = 0;
    uint8_t kind = kPlain;
    uint8_t label = 0;
    std::array<uint32_t, kOperations> accept = kNoRules;
  };

  // The nodes in breadth-first order.
  [[nodiscard]] std::vector<Node> flatten() const {
    struct Edge {
      uint64_t key;
      uint32_t child;
    };
    std::vector<Edge> edges;
    edges.reserve(children_.size());
    for (const auto& [k, child] : children_) edges.push_back({k, child});
    std::ranges::sort(edges, {}, &Edge::key);

    std::vector<uint32_t> order = {kPathRoot, kAbstractRoot};
    order.reserve(accepts_.size());
    std::vector<Node> out(accepts_.size());
    for (size_t at = 0; at < order.size(); ++at) {
      Node& node = out[at];
      node.first_child = static_cast<uint32_t>(order.size());
      node.accept = accepts_[order[at]];
      auto edge = std::ranges::lower_bound(edges, key(order[at], 0), {}, &Edge::key);
      for (; edge != edges.end() && edge->key >> kLabelBits == order[at]; ++edge) {
        Node& child = out[order.size()];
        switch (edge->key & ((1U << kLabelBits) - 1)) {
          case kLabelAny:
            node.children |= kHasAny;
            break;
          case kLabelStar:
            node.children |= kHasStar;
            child.kind = kStar;
            break;
          case kLabelGlobstar:
            node.children |= kHasGlobstar;
            child.kind = kGlobstar;
            break;
          default:
            ++node.byte_children;
            child.label = static_cast<uint8_t>(edge->key & 0xff);
        }
        order.push_back(edge->child);
      }
    }
    return out;
  }

 private:
  static constexpr unsigned kLabelBits = 9;
  static uint64_t key(uint32_t node, uint16_t label) { return uint64_t{node} << kLabelBits | label; }
  static uint16_t label_of(const Token& token) {
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

  std::unordered_map<uint64_t, uint32_t> children_;
  std::vector<std::array<uint32_t, kOperations>> accepts_;  // one for each node
};

class Strings {
 public:
  // Equal strings are kept once.
  uint32_t add(std::string_view text) {
    auto [found, added] = offsets_.try_emplace(std::string(text), static_cast<uint32_t>(bytes_.size()));
    if (added) bytes_ += text;
    return found->second;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::map<std::string, uint32_t, std::less<>> offsets_;
  std::string bytes_;
};

std::optional<std::string> literal_path(const Pattern& pattern) {
  if (pattern.abstract) return std::nullopt;
  std::string path;
  for (const Token& t : pattern.tokens) {
    if (t.kind != TokenKind::byte) return std::nullopt;
    path += static_cast<char>(t.value);
  }
  return path;
}

// The directory that every match lies beneath.
std::string literal_directory(const Pattern& pattern) {
  std::string path;
  for (const Token& t : pattern.tokens) {
    if (t.kind != TokenKind::byte) break;
    path += static_cast<char>(t.value);
  }
  size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

// True if matches lie in directories that the pattern does not name.
bool has_wild_directory(const Pattern& pattern) {
  auto wild = std::ranges::find_if(pattern.tokens, [](const Token& t) { return t.kind != TokenKind::byte; });
  return std::any_of(wild, pattern.tokens.end(), [](const Token& t) {
    return t.kind == TokenKind::globstar || (t.kind == TokenKind::byte && t.value == '/');
  });
}

constexpr uint8_t kReaching =
    static_cast<uint8_t>(UnixOperation::connect) | static_cast<uint8_t>(UnixOperation::listen);

struct RuledLiteral {
  std::string path;
  uint32_t rule;
};

struct Parts {
  Trie trie;
  std::vector<RuledLiteral> literals;
  std::set<std::string> prefixes;
};

Result<> add_rule(Parts& parts, const UnixSocketRule& rule, uint32_t index, const Variables& variables) {
  bool connects = (rule.operations & static_cast<uint8_t>(UnixOperation::connect)) != 0;
  for (const std::string& text : rule.paths) {
    auto written = parse_pattern(text);
    auto pattern = written ? expand(*written, variables) : std::move(written);
    if (!pattern) return fail("'" + printable(text, 256) + "': " + pattern.error().message);
    if (!parts.trie.insert(*pattern, rule.operations, index)) {
      return fail("the patterns up to here are too many to compile; use fewer or shorter ones");
    }
    if (pattern->abstract) continue;
    if (rule.decision != Verdict::deny && (rule.operations & kReaching) != 0) {
      parts.prefixes.insert(literal_directory(*pattern) + (has_wild_directory(*pattern) ? "/" : ""));
    }
    if (!connects) continue;
    if (rule.decision != Verdict::deny && rule.decision != Verdict::ask) continue;
    if (auto path = literal_path(*pattern); path && path->size() <= kMaxJudged) {
      parts.literals.push_back({std::move(*path), index});
    }
  }
  return {};
}

class Writer {
 public:
  explicit Writer(size_t size) : block_(size) {}
  template <class T>
  void put(size_t at, T value) {
    store(block_.data() + at, value);
  }
  void put(size_t at, std::string_view text) {
    std::ranges::copy(std::as_bytes(std::span(text)), block_.begin() + static_cast<ptrdiff_t>(at));
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(block_); }

 private:
  std::vector<std::byte> block_;
};

bool accepts_connect(const Trie::Node& node, const std::vector<UnixSocketRule>& rules) {
  uint32_t rule = node.accept[operation_index(UnixOperation::connect)];
  return rule != kNone && rules[rule].decision != Verdict::deny;
}

void mark_allowing(std::vector<Trie::Node>& nodes, const std::vector<UnixSocketRule>& rules) {
  for (size_t n = nodes.size(); n-- > 0;) {
    size_t children = nodes[n].byte_children + static_cast<size_t>(std::popcount(nodes[n].children));
    bool allows = accepts_connect(nodes[n], rules);
    for (size_t i = 0; i < children && !allows; ++i) {
      allows = (nodes[nodes[n].first_child + i].kind & kMayAllowConnect) != 0;
    }
    if (allows) nodes[n].kind |= kMayAllowConnect;
  }
}

Result<std::vector<std::byte>> write_block(const Policy& policy, const Parts& parts) {
  static const std::vector<UnixSocketRule> kEmpty;
  const auto& rules = policy.judges_unix_sockets() ? *policy.unix_socket_rules : kEmpty;
  std::vector<Trie::Node> nodes = parts.trie.flatten();
  mark_allowing(nodes, rules);

  std::vector<std::array<uint32_t, kOperations>> accepts;
  for (const auto& node : nodes) {
    if (node.accept != kNoRules) accepts.push_back(node.accept);
  }

  Strings strings;
  uint32_t name = strings.add(policy.name);
  struct Reference {
    uint32_t offset;
    uint32_t length;
  };
  auto refer = [&](std::string_view text) { return Reference{strings.add(text), static_cast<uint32_t>(text.size())}; };
  std::vector<std::pair<Reference, Reference>> rule_texts;
  for (const auto& rule : rules) {
    Reference rule_name = refer(rule.name);
    rule_texts.emplace_back(rule_name, refer(rule.guidance));
  }
  std::vector<Reference> literal_texts;
  literal_texts.reserve(parts.literals.size());
  for (const auto& literal : parts.literals) literal_texts.push_back(refer(literal.path));
  std::vector<Reference> prefix_texts;
  prefix_texts.reserve(parts.prefixes.size());
  for (const auto& prefix : parts.prefixes) prefix_texts.push_back(refer(prefix));

  auto count = [](const auto& c) { return static_cast<uint32_t>(c.size()); };
  Layout l = layout(count(nodes), count(accepts), count(rules), count(parts.literals), count(parts.prefixes),
                    count(strings.bytes()));
  if (l.end > kMaxRulesBytes) {
    return fail("compiles to " + std::to_string(l.end) + " bytes, more than " + std::to_string(kMaxRulesBytes) +
                "; use fewer or shorter patterns");
  }

  Writer w(l.end);
  w.put(kHeaderMagic, kMagic);
  w.put(kHeaderVersion, kVersion);
  w.put(kHeaderSize, static_cast<uint32_t>(l.end));
  w.put(kHeaderNodes, count(nodes));
  w.put(kHeaderAccepts, count(accepts));
  w.put(kHeaderRules, count(rules));
  w.put(kHeaderLiterals, count(parts.literals));
  w.put(kHeaderPrefixes, count(parts.prefixes));
  w.put(kHeaderStrings, count(strings.bytes()));
  w.put(kHeaderNameOffset, name);
  w.put(kHeaderNameLength, count(policy.name));
  w.put(kHeaderMode, static_cast<uint8_t>(policy.unix_socket_mode()));
  w.put(kHeaderMonitor, static_cast<uint8_t>(policy.monitor_unsupported));
  w.put(kHeaderJudges, static_cast<uint8_t>(policy.judges_unix_sockets()));

  w.put(kHeaderApprovalTimeout, policy.approval.timeout_seconds);
  w.put(kHeaderApprovalRate, policy.approval.rate);
  w.put(kHeaderApprovalBurst, policy.approval.burst);

  uint32_t next_accept = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    size_t at = l.nodes + i * kNodeBytes;
    w.put(at + kNodeFirstChild, nodes[i].first_child);
    w.put(at + kNodeAccept, nodes[i].accept != kNoRules ? next_accept++ : kNone);
    w.put(at + kNodeByteChildren, nodes[i].byte_children);
    w.put(at + kNodeChildren, nodes[i].children);
    w.put(at + kNodeKind, nodes[i].kind);
    w.put(l.labels + i, nodes[i].label);
  }
  for (size_t i = 0; i < accepts.size(); ++i) {
    for (size_t o = 0; o < kOperations; ++o) w.put(l.accepts + i * kAcceptBytes + 4 * o, accepts[i][o]);
  }
  for (size_t i = 0; i < rules.size(); ++i) {
    size_t at = l.rules + i * kRuleBytes;
    w.put(at, rule_texts[i].first.offset);
    w.put(at + 4, rule_texts[i].first.length);
    w.put(at + 8, rule_texts[i].second.offset);
    w.put(at + 12, rule_texts[i].second.length);
    w.put(at + 16, static_cast<uint32_t>(rules[i].decision));
  }
  for (size_t i = 0; i < literal_texts.size(); ++i) {
    size_t at = l.literals + i * kLiteralBytes;
    w.put(at, literal_texts[i].offset);
    w.put(at + 4, literal_texts[i].length);
    w.put(at + 8, parts.literals[i].rule);
  }
  for (size_t i = 0; i < prefix_texts.size(); ++i) {
    size_t at = l.prefixes + i * kPrefixBytes;
    w.put(at, prefix_texts[i].offset);
    w.put(at + 4, prefix_texts[i].length);
  }
  w.put(l.strings, std::string_view(strings.bytes()));
  return w.take();
}

}  // namespace

Result<std::set<std::string>> denied_directories(const Policy& policy, const Variables& variables) {
  std::set<std::string> directories;
  if (!policy.judges_unix_sockets()) return directories;
  for (const auto& rule : *policy.unix_socket_rules) {
    if ((rule.operations & kReaching) == 0) continue;
    if (rule.decision != Verdict::deny && rule.decision != Verdict::ask) continue;
    for (const std::string& text : rule.paths) {
      auto written = parse_pattern(text);
      auto pattern = written ? expand(*written, variables) : std::move(written);
      if (!pattern) return std::unexpected(pattern.error());
      if (!pattern->abstract) directories.insert(literal_directory(*pattern));
    }
  }
  return directories;
}

Result<std::vector<std::byte>> compile_rules(const Policy& policy, const Variables& variables) {
  auto located = [&](int line, const std::string& message) {
    return fail(policy.file + (line > 0 ? ":" + std::to_string(line) : "") + ": " + message);
  };
  Parts parts;
  if (policy.judges_unix_sockets()) {
    if (policy.unix_socket_rules->size() > kMaxRules) return located(0, "too many rules");
    uint32_t index = 0;
    for (const auto& rule : *policy.unix_socket_rules) {
      if (auto added = add_rule(parts, rule, index++, variables); !added) {
        return located(rule.line, "rule '" + printable(rule.name) + "': " + added.error().message);
      }
    }
  }
  auto block = write_block(policy, parts);
  if (!block) return located(0, block.error().message);
  auto rules = RuleSet::open(*block);
  if (!rules) return located(0, rules.error().message);

  // A literal that an earlier rule lets through is not denied or asked about.
  auto shadowed = std::erase_if(parts.literals, [&](const RuledLiteral& literal) {
    return rules->judge_path(UnixOperation::connect, literal.path).rule != static_cast<int32_t>(literal.rule);
  });
  return shadowed == 0 ? std::move(block) : write_block(policy, parts);
}

}  // namespace wrapd::policy
