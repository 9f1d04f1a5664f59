// SPDX-License-Identifier: Apache-2.0
#include "policy/rules.h"

#include <algorithm>
#include <array>
#include <bit>

#include "policy/pattern.h"
#include "policy/rules_format.h"

namespace wrapd::policy {
namespace {

using namespace format;  // NOLINT(google-build-using-namespace): the layout's own reader

// Unchecked access to a block whose bounds were checked by open().
class Block {
 public:
  explicit Block(std::span<const std::byte> bytes) : base_(bytes.data()), layout_(read_layout(bytes.data())) {}

  [[nodiscard]] uint32_t u32(size_t at) const { return load<uint32_t>(base_ + at); }
  [[nodiscard]] uint16_t u16(size_t at) const { return load<uint16_t>(base_ + at); }
  [[nodiscard]] uint8_t u8(size_t at) const { return load<uint8_t>(base_ + at); }
  [[nodiscard]] const Layout& at() const { return layout_; }

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
  };
  [[nodiscard]] Node node(uint32_t index) const {
    const std::byte* p = base_ + layout_.nodes + size_t{index} * kNodeBytes;
    return {load<uint32_t>(p + kNodeFirstChild), load<uint32_t>(p + kNodeAccept), load<uint16_t>(p + kNodeByteChildren),
            load<uint8_t>(p + kNodeChildren), load<uint8_t>(p + kNodeKind)};
  }
  [[nodiscard]] uint8_t label(uint32_t node) const { return u8(layout_.labels + node); }
  [[nodiscard]] uint32_t accept(uint32_t index, UnixOperation operation) const {
    return u32(layout_.accepts + size_t{index} * kAcceptBytes + 4 * operation_index(operation));
  }
  // The child of `node` by byte `c`, or kNone.
  [[nodiscard]] uint32_t child(const Node& node, uint8_t c) const {
    uint32_t low = node.first_child;
    uint32_t high = low + node.byte_children;
    while (low < high) {
      uint32_t middle = low + (high - low) / 2;
      uint8_t l = label(middle);
      if (l == c) return middle;
      if (l < c) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return kNone;
  }
  [[nodiscard]] std::string_view text(uint32_t offset, uint32_t length) const {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes seen as characters
    return {reinterpret_cast<const char*>(base_ + layout_.strings + offset), length};
  }
  [[nodiscard]] std::string_view text_at(size_t at) const { return text(u32(at), u32(at + 4)); }
  [[nodiscard]] Verdict decision(uint32_t rule) const {
    return static_cast<Verdict>(u32(layout_.rules + size_t{rule} * kRuleBytes + 16));
  }

  static Layout read_layout(const std::byte* p) {
    auto count = [p](size_t at) { return load<uint32_t>(p + at); };
    return layout(count(kHeaderNodes), count(kHeaderAccepts), count(kHeaderRules), count(kHeaderLiterals),
                  count(kHeaderPrefixes), count(kHeaderStrings));
  }

 private:
  const std::byte* base_;
  Layout layout_;
};

bool known(uint32_t decision) {
  return decision <= static_cast<uint32_t>(Verdict::allow);
}

// More patterns alive at once than this, and the name is denied: it bounds what a hostile profile can cost. Rules of
// ordinary shape keep fewer than ten alive, since patterns share their beginnings.
constexpr size_t kMaxAlive = 512;

// The nodes alive at one place of a name. Nodes of '*' and '**' are entered once a step, see rules_format.h; `seen_` is
// never cleared but told apart by the step's number, so that a call costs nothing for its size.
class Walk {
 public:
  // False: too many nodes are alive.
  [[nodiscard]] bool start(const Block& block, uint32_t root) {
    count_ = 0;
    next_step();
    return enter(block, root, alive_[current_]);
  }

  [[nodiscard]] bool step(const Block& block, uint8_t c) {
    const auto& from = alive_[current_];
    auto& to = alive_[1 - current_];
    size_t from_count = count_;
    count_ = 0;
    next_step();
    for (size_t i = 0; i < from_count; ++i) {
      Block::Node node = block.node(from[i]);
      uint8_t kind = node.kind & kKindMask;
      if ((kind == kGlobstar || (kind == kStar && c != '/')) && !add_once(from[i], to)) return false;
      if (uint32_t child = block.child(node, c); child != kNone && !enter(block, child, to)) return false;
      if ((node.children & kHasAny) != 0 && c != '/' && !enter(block, node.any(), to)) return false;
    }
    current_ = 1 - current_;
    return true;
  }

  [[nodiscard]] bool run(const Block& block, std::string_view name) {
    return std::ranges::all_of(name, [&](char c) { return count_ == 0 || step(block, static_cast<uint8_t>(c)); });
  }

  [[nodiscard]] std::span<const uint32_t> alive() const { return std::span(alive_[current_]).first(count_); }

 private:
  using Nodes = std::array<uint32_t, kMaxAlive>;
  static constexpr size_t kSlots = 2 * kMaxAlive;  // a power of two
  struct Slot {
    uint32_t node;
    uint32_t step;
  };

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
  bool enter(const Block& block, uint32_t index, Nodes& to) {
    if (!add(index, to)) return false;
    Block::Node node = block.node(index);
    if ((node.children & kHasStar) != 0 && !add_once(node.star(), to)) return false;
    return (node.children & kHasGlobstar) == 0 || add_once(node.globstar(), to);
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

LayerVerdict judge(std::span<const std::byte> bytes, uint32_t root, UnixOperation operation, std::string_view name) {
  Block block(bytes);
  if (name.size() > kMaxJudged) return {};
  Walk& walk = walk_of_this_thread();
  if (!walk.start(block, root) || !walk.run(block, name)) return {};
  uint32_t first = kNone;
  for (uint32_t index : walk.alive()) {
    uint32_t accept = block.node(index).accept;
    if (accept != kNone) first = std::min(first, block.accept(accept, operation));
  }
  if (first == kNone) return {};
  return {block.decision(first), static_cast<int32_t>(first)};
}

// Nodes that are looked at to answer for all names beneath a directory: where no is no harm, and where it is.
constexpr size_t kMaxForUniform = 4096;

// True if `holds` does for these nodes and all below them; false also if they are too many.
template <class Holds>
bool for_all_beneath(const Block& block, std::span<const uint32_t> from, size_t most, Holds holds) {
  std::vector<uint32_t> waiting(from.begin(), from.end());
  for (size_t seen = 0; !waiting.empty(); ++seen) {
    if (seen == most) return false;
    uint32_t index = waiting.back();
    waiting.pop_back();
    if (!holds(index)) return false;
    Block::Node node = block.node(index);
    for (uint32_t i = 0; i < node.child_count(); ++i) waiting.push_back(node.first_child + i);
  }
  return true;
}

// One pass over everything that a block says; see RuleSet::open().
class Checker {
 public:
  explicit Checker(std::span<const std::byte> bytes) : bytes_(bytes), block_(bytes) {}

  // The first thing that is wrong, or nullptr.
  [[nodiscard]] const char* check() const {
    if (const char* wrong = check_header()) return wrong;
    if (const char* wrong = check_nodes()) return wrong;
    if (const char* wrong = check_allowing()) return wrong;
    if (const char* wrong = check_accepts()) return wrong;
    if (const char* wrong = check_rules()) return wrong;
    return check_paths();
  }

 private:
  [[nodiscard]] uint32_t count(size_t at) const { return block_.u32(at); }

  [[nodiscard]] bool text_in_bounds(size_t at) const {
    return uint64_t{block_.u32(at)} + block_.u32(at + 4) <= count(kHeaderStrings);
  }

  [[nodiscard]] const char* check_header() const {
    if (block_.u8(kHeaderMode) > static_cast<uint8_t>(Mode::disabled)) return "unknown mode";
    if (block_.u8(kHeaderMonitor) > 1 || block_.u8(kHeaderJudges) > 1 || block_.u8(kHeaderReserved) != 0) {
      return "unknown flag";
    }
    if (block_.u8(kHeaderJudges) != 0 && block_.u8(kHeaderMode) == static_cast<uint8_t>(Mode::disabled)) {
      return "judges although disabled";
    }
    if (count(kHeaderApprovalTimeout) > kMaxApprovalTimeout || block_.u16(kHeaderApprovalRate) > kMaxApprovalRate ||
        block_.u16(kHeaderApprovalBurst) > kMaxApprovalBurst) {
      return "approval out of range";
    }
    if (count(kHeaderNodes) < kRoots) return "no roots";
    if (count(kHeaderRules) > kMaxRules) return "too many rules";
    if (!text_in_bounds(kHeaderNameOffset) || !valid_name(block_.text_at(kHeaderNameOffset))) return "bad policy name";
    return nullptr;
  }

  [[nodiscard]] const char* check_nodes() const {
    uint32_t nodes = count(kHeaderNodes);
    uint32_t accepts = count(kHeaderAccepts);
    uint64_t next = kRoots;
    for (uint32_t i = 0; i < nodes; ++i) {
      Block::Node node = block_.node(i);
      if (i >= next) return "node without parent";
      if (i < kRoots && (node.kind & kKindMask) != kPlain) return "bad root";
      if (node.byte_children > 256 || (node.children & ~(kHasAny | kHasStar | kHasGlobstar)) != 0) return "bad node";
      if ((node.kind & ~(kKindMask | kMayAllowConnect)) != 0) return "bad node";
      if ((node.kind & kKindMask) != kPlain && (node.children & (kHasStar | kHasGlobstar)) != 0)
        return "stars in a row";
      if (node.first_child != next || node.child_count() > nodes - next) return "bad children";
      if (node.accept != kNone && node.accept >= accepts) return "bad accept";
      if (const char* wrong = check_children(node)) return wrong;
      next += node.child_count();
    }
    return next == nodes ? nullptr : "bad children";
  }

  [[nodiscard]] const char* check_children(const Block::Node& node) const {
    auto kind_of = [&](uint32_t child) { return block_.node(child).kind & kKindMask; };
    for (uint32_t i = 0; i < node.byte_children; ++i) {
      uint32_t child = node.first_child + i;
      if (i > 0 && block_.label(child - 1) >= block_.label(child)) return "unsorted labels";
      if (kind_of(child) != kPlain) return "bad kind";
    }
    if ((node.children & kHasAny) != 0 && kind_of(node.any()) != kPlain) return "bad kind";
    if ((node.children & kHasStar) != 0 && kind_of(node.star()) != kStar) return "bad kind";
    if ((node.children & kHasGlobstar) != 0 && kind_of(node.globstar()) != kGlobstar) return "bad kind";
    return nullptr;
  }

  // Right for each node, given its children: then right for all.
  [[nodiscard]] const char* check_allowing() const {
    for (uint32_t i = 0; i < count(kHeaderNodes); ++i) {
      Block::Node node = block_.node(i);
      bool allows = false;
      if (node.accept != kNone) {
        uint32_t rule = block_.accept(node.accept, UnixOperation::connect);
        if (rule != kNone && rule >= count(kHeaderRules)) return "bad accept";
        allows = rule != kNone && block_.decision(rule) != Verdict::deny;
      }
      for (uint32_t c = 0; c < node.child_count() && !allows; ++c) {
        allows = (block_.node(node.first_child + c).kind & kMayAllowConnect) != 0;
      }
      if (allows != ((node.kind & kMayAllowConnect) != 0)) return "bad summary";
    }
    return nullptr;
  }

  [[nodiscard]] const char* check_accepts() const {
    for (size_t i = 0; i < size_t{count(kHeaderAccepts)} * kOperations; ++i) {
      uint32_t rule = block_.u32(block_.at().accepts + 4 * i);
      if (rule != kNone && rule >= count(kHeaderRules)) return "bad accept";
    }
    return nullptr;
  }

  [[nodiscard]] const char* check_rules() const {
    for (uint32_t i = 0; i < count(kHeaderRules); ++i) {
      size_t at = block_.at().rules + size_t{i} * kRuleBytes;
      if (!text_in_bounds(at) || !valid_name(block_.text_at(at))) return "bad rule name";
      if (!text_in_bounds(at + 8) || !valid_guidance(block_.text_at(at + 8))) return "bad guidance";
      if (!known(block_.u32(at + 16))) return "unknown decision";
    }
    return nullptr;
  }

  [[nodiscard]] bool path_at(size_t at) const {
    if (!text_in_bounds(at)) return false;
    std::string_view path = block_.text_at(at);
    return path.size() <= 2 * kMaxPattern && path.starts_with('/') && path.find('\0') == std::string_view::npos;
  }

  [[nodiscard]] const char* check_paths() const {
    for (uint32_t i = 0; i < count(kHeaderLiterals); ++i) {
      size_t at = block_.at().literals + size_t{i} * kLiteralBytes;
      uint32_t rule = block_.u32(at + 8);
      if (!path_at(at) || rule >= count(kHeaderRules)) return "bad literal";
      Verdict decision = block_.decision(rule);
      if (decision != Verdict::deny && decision != Verdict::ask) return "bad literal";
    }
    for (uint32_t i = 0; i < count(kHeaderPrefixes); ++i) {
      if (!path_at(block_.at().prefixes + size_t{i} * kPrefixBytes)) return "bad prefix";
    }
    return nullptr;
  }

  std::span<const std::byte> bytes_;
  Block block_;
};

}  // namespace

Result<RuleSet> RuleSet::open(std::span<const std::byte> block) {
  auto refuse = [](const char* what) {
    return fail(std::string("compiled rules: ") + what + "; compile them again with this version");
  };
  if (block.size() > kMaxRulesBytes) return refuse("too large");
  if (block.size() < kHeaderBytes) return refuse("cut short");
  if (load<uint64_t>(block.data() + kHeaderMagic) != kMagic) return refuse("not compiled rules");
  if (load<uint32_t>(block.data() + kHeaderVersion) != kVersion) return refuse("another version's");
  if (load<uint32_t>(block.data() + kHeaderSize) != block.size() ||
      Block::read_layout(block.data()).end != block.size()) {
    return refuse("wrong size");
  }
  if (const char* wrong = Checker(block).check()) return refuse(wrong);
  return RuleSet(block);
}

std::string_view RuleSet::policy_name() const {
  return Block(block_).text_at(kHeaderNameOffset);
}

Mode RuleSet::unix_socket_mode() const {
  return static_cast<Mode>(Block(block_).u8(kHeaderMode));
}

bool RuleSet::monitor_unsupported() const {
  return Block(block_).u8(kHeaderMonitor) != 0;
}

bool RuleSet::judges_unix_sockets() const {
  return Block(block_).u8(kHeaderJudges) != 0;
}

Approval RuleSet::approval() const {
  Block block(block_);
  return {.timeout_seconds = block.u32(kHeaderApprovalTimeout),
          .rate = block.u16(kHeaderApprovalRate),
          .burst = block.u16(kHeaderApprovalBurst)};
}

LayerVerdict RuleSet::judge_path(UnixOperation operation, std::string_view path) const {
  if (!judges_unix_sockets()) return {Verdict::allow, -1};
  if (!path.starts_with('/') || path.find('\0') != std::string_view::npos) return {};
  return judge(block_, kPathRoot, operation, path);
}

LayerVerdict RuleSet::judge_abstract(UnixOperation operation, std::string_view name) const {
  if (!judges_unix_sockets()) return {Verdict::allow, -1};
  return judge(block_, kAbstractRoot, operation, name);
}

bool RuleSet::may_allow_beneath(std::string_view directory) const {
  if (!judges_unix_sockets()) return true;
  while (directory.ends_with('/')) directory.remove_suffix(1);
  Block block(block_);
  Walk& walk = walk_of_this_thread();
  if (directory.size() > kMaxJudged || !walk.start(block, kPathRoot) || !walk.run(block, directory)) return true;
  auto allows_here = [&](uint32_t index) {
    uint32_t accept = block.node(index).accept;
    uint32_t rule = accept == kNone ? kNone : block.accept(accept, UnixOperation::connect);
    return rule != kNone && block.decision(rule) != Verdict::deny;
  };
  if (std::ranges::any_of(walk.alive(), allows_here)) return true;
  if (!walk.run(block, "/")) return true;
  return std::ranges::any_of(walk.alive(),
                             [&](uint32_t index) { return (block.node(index).kind & kMayAllowConnect) != 0; });
}

std::optional<Verdict> RuleSet::uniform_beneath(UnixOperation operation, std::string_view directory) const {
  if (!judges_unix_sockets()) return Verdict::allow;
  while (directory.ends_with('/')) directory.remove_suffix(1);
  Block block(block_);
  Walk& walk = walk_of_this_thread();
  if (directory.size() > kMaxJudged || !walk.start(block, kPathRoot) || !walk.run(block, directory) ||
      !walk.run(block, "/")) {
    return std::nullopt;
  }
  auto rule_of = [&](uint32_t index) {
    uint32_t accept = block.node(index).accept;
    return accept == kNone ? kNone : block.accept(accept, operation);
  };
  // A '**' that is alive here and ends its pattern matches whatever follows.
  uint32_t first = kNone;
  for (uint32_t index : walk.alive()) {
    if ((block.node(index).kind & kKindMask) == kGlobstar) first = std::min(first, rule_of(index));
  }
  const Verdict verdict = first == kNone ? Verdict::deny : block.decision(first);
  bool same = for_all_beneath(block, walk.alive(), kMaxForUniform, [&](uint32_t index) {
    uint32_t rule = rule_of(index);
    return rule == kNone || rule >= first || block.decision(rule) == verdict;
  });
  return same ? std::optional(verdict) : std::nullopt;
}

std::optional<std::vector<RuleSet::KeptName>> RuleSet::kept_names(size_t most_bytes) const {
  std::vector<KeptName> names;
  if (!judges_unix_sockets()) return names;
  Block block(block_);
  auto denies = [&](uint32_t index) {
    uint32_t accept = block.node(index).accept;
    if (accept == kNone) return kNone;
    for (auto operation : {UnixOperation::connect, UnixOperation::listen}) {
      uint32_t rule = block.accept(accept, operation);
      if (rule == kNone) continue;
      Verdict decision = block.decision(rule);
      if (decision == Verdict::deny || decision == Verdict::ask) return rule;
    }
    return kNone;
  };
  // The first rule that denies at or below each node (kNone is the largest). Children come behind their parents.
  std::vector<uint32_t> below(block.u32(kHeaderNodes));
  for (uint32_t index = block.u32(kHeaderNodes); index-- > 0;) {
    below[index] = denies(index);
    Block::Node node = block.node(index);
    for (uint32_t i = 0; i < node.child_count(); ++i)
      below[index] = std::min(below[index], below[node.first_child + i]);
  }
  struct Step {
    uint32_t node;
    size_t length;  // of the name before this node's byte
  };
  std::vector<Step> waiting;
  std::string name;
  size_t bytes = 0;
  auto expand = [&](uint32_t index, size_t length) {
    Block::Node node = block.node(index);
    for (uint32_t i = 0; i < node.byte_children; ++i) {
      if (below[node.first_child + i] != kNone) waiting.push_back({node.first_child + i, length});
    }
  };
  auto add = [&](uint32_t rule, bool leads) {
    bytes += name.size() + sizeof(KeptName);
    if (bytes <= most_bytes) names.push_back({name, static_cast<int32_t>(rule), leads});
    return bytes <= most_bytes;
  };
  expand(kPathRoot, 0);
  while (!waiting.empty()) {
    const Step step = waiting.back();
    waiting.pop_back();
    name.resize(step.length);
    const char byte = static_cast<char>(block.label(step.node));
    if (byte == '/' && !name.empty()) {
      if (!add(below[step.node], true)) return std::nullopt;
    }
    name += byte;
    if (uint32_t rule = denies(step.node); rule != kNone && !add(rule, false)) return std::nullopt;
    expand(step.node, name.size());
  }
  return names;
}

bool RuleSet::allows_any_abstract() const {
  return !judges_unix_sockets() || (Block(block_).node(kAbstractRoot).kind & kMayAllowConnect) != 0;
}

std::vector<std::string_view> RuleSet::allowed_connect_prefixes() const {
  if (!judges_unix_sockets()) return {"/"};
  Block block(block_);
  std::vector<std::string_view> out;
  for (uint32_t i = 0; i < block.u32(kHeaderPrefixes); ++i) {
    out.push_back(block.text_at(block.at().prefixes + size_t{i} * kPrefixBytes));
  }
  return out;
}

size_t RuleSet::literal_count() const {
  return Block(block_).u32(kHeaderLiterals);
}

RuleSet::Literal RuleSet::literal(size_t index) const {
  Block block(block_);
  size_t at = block.at().literals + index * kLiteralBytes;
  return {block.text_at(at), static_cast<int32_t>(block.u32(at + 8))};
}

size_t RuleSet::rule_count() const {
  return Block(block_).u32(kHeaderRules);
}

RuleView RuleSet::rule(int32_t index) const {
  Block block(block_);
  size_t at = block.at().rules + static_cast<size_t>(index) * kRuleBytes;
  return {block.text_at(at), block.text_at(at + 8), block.decision(static_cast<uint32_t>(index))};
}

}  // namespace wrapd::policy
