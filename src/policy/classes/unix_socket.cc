// SPDX-License-Identifier: Apache-2.0
#include "policy/classes/unix_socket.h"

#include <algorithm>

namespace wrapd::policy {
namespace {

// Nodes that are looked at to answer for all names beneath a directory: where no is no harm, and where it is.
constexpr size_t kMaxForUniform = 4096;

std::string_view without_slashes(std::string_view directory) {
  while (directory.ends_with('/')) directory.remove_suffix(1);
  return directory;
}

// True if `holds` does for these nodes and all below them; false also if they are too many.
template <class Holds>
bool for_all_beneath(const Matcher& matcher, std::span<const uint32_t> from, size_t most, Holds holds) {
  std::vector<uint32_t> waiting(from.begin(), from.end());
  for (size_t seen = 0; !waiting.empty(); ++seen) {
    if (seen == most) return false;
    uint32_t index = waiting.back();
    waiting.pop_back();
    if (!holds(index)) return false;
    Matcher::Node node = matcher.node(index);
    for (uint32_t i = 0; i < node.child_count(); ++i) waiting.push_back(node.first_child + i);
  }
  return true;
}

}  // namespace

namespace unix_socket {

const char* check(const Section& section) {
  return UnixSockets(section).check();
}

LayerVerdict judge(const Section& section, const Request& request) {
  const auto* name = std::get_if<UnixName>(&request.object);
  if (name == nullptr || (bit(request.operation) & kAllOperations) == 0) return {};
  return UnixSockets(section).judge(request.operation, *name);
}

}  // namespace unix_socket

UnixSockets::UnixSockets(const std::optional<Section>& section) : section_(section) {
  if (!section_) return;
  const auto body = section_->body();
  const auto size = Matcher::size_of(body, unix_socket::kShape);
  in_bounds_ = size && body.size() - *size >= 8;
  if (!in_bounds_) return;
  matcher_.emplace(body.data(), unix_socket::kShape);
  literals_ = load<uint32_t>(body.data() + *size);
  directories_ = load<uint32_t>(body.data() + *size + 4);
  lists_ = body.data() + *size + 8;
  in_bounds_ =
      uint64_t{literals_} * unix_socket::kLiteralBytes + uint64_t{directories_} * unix_socket::kDirectoryBytes ==
      body.size() - *size - 8;
}

const char* UnixSockets::check() const {
  if (!in_bounds_) return "wrong size";
  const uint32_t rules = section_->rule_count();
  auto marks = [&](std::span<const uint32_t> accepted) {
    return unix_socket::may_connect(accepted, [&](uint32_t rule) { return section_->decision(rule); });
  };
  if (const char* wrong = matcher_->check(rules, marks)) return wrong;
  auto is_path = [&](const std::byte* at) {
    if (!section_->text_in_bounds(at)) return false;
    const std::string_view path = section_->text(at);
    return path.size() <= 2 * kMaxPattern && path.starts_with('/') && path.find('\0') == std::string_view::npos;
  };
  for (uint32_t i = 0; i < literals_; ++i) {
    const std::byte* at = lists_ + size_t{i} * unix_socket::kLiteralBytes;
    const auto rule = load<uint32_t>(at + 8);
    if (!is_path(at) || rule >= rules) return "bad literal";
    const Verdict decision = section_->decision(rule);
    if (decision != Verdict::deny && decision != Verdict::ask) return "bad literal";
  }
  const std::byte* directories = lists_ + size_t{literals_} * unix_socket::kLiteralBytes;
  for (uint32_t i = 0; i < directories_; ++i) {
    if (!is_path(directories + size_t{i} * unix_socket::kDirectoryBytes)) return "bad directory";
  }
  return nullptr;
}

LayerVerdict UnixSockets::judge(Operation operation, const UnixName& name) const {
  using Kind = UnixName::Kind;
  if (name.kind == Kind::lost) return {uniform_beneath(operation, "/").value_or(Verdict::deny), {}};
  if (name.text.size() > kMaxJudged) return {};
  if (name.kind == Kind::path && (!name.text.starts_with('/') || name.text.find('\0') != std::string_view::npos)) {
    return {};
  }
  const uint32_t root = name.kind == Kind::abstract ? unix_socket::kAbstractRoot : unix_socket::kPathRoot;
  const uint32_t rule = matcher_->first(root, static_cast<uint32_t>(operation), name.text);
  if (rule == kNone) return {};
  return {section_->decision(rule), rule};
}

bool UnixSockets::may_allow_beneath(std::string_view directory) const {
  if (!judged()) return true;
  directory = without_slashes(directory);
  if (directory.size() > kMaxJudged) return true;
  const auto here = matcher_->alive(unix_socket::kPathRoot, directory);
  auto allows = [&](uint32_t node) {
    const uint32_t rule = rule_of(node, Operation::connect);
    return rule != kNone && section_->decision(rule) != Verdict::deny;
  };
  if (!here || std::ranges::any_of(*here, allows)) return true;
  const auto beneath = matcher_->alive(unix_socket::kPathRoot, std::string(directory) + "/");
  return !beneath || std::ranges::any_of(*beneath, [&](uint32_t node) { return matcher_->node(node).marked(); });
}

std::optional<Verdict> UnixSockets::uniform_beneath(Operation operation, std::string_view directory) const {
  if (!judged()) return Verdict::allow;
  directory = without_slashes(directory);
  if (directory.size() > kMaxJudged) return std::nullopt;
  const auto alive = matcher_->alive(unix_socket::kPathRoot, std::string(directory) + "/");
  if (!alive) return std::nullopt;
  // A '**' that is alive here and ends its pattern matches whatever follows.
  uint32_t first = kNone;
  for (uint32_t node : *alive) {
    if (matcher_->node(node).is_globstar()) first = std::min(first, rule_of(node, operation));
  }
  const Verdict verdict = first == kNone ? Verdict::deny : section_->decision(first);
  const bool same = for_all_beneath(*matcher_, *alive, kMaxForUniform, [&](uint32_t node) {
    const uint32_t rule = rule_of(node, operation);
    return rule == kNone || rule >= first || section_->decision(rule) == verdict;
  });
  return same ? std::optional(verdict) : std::nullopt;
}

uint32_t UnixSockets::denied_by(uint32_t node) const {
  for (auto operation : {Operation::connect, Operation::listen}) {
    const uint32_t rule = rule_of(node, operation);
    if (rule == kNone) continue;
    const Verdict decision = section_->decision(rule);
    if (decision == Verdict::deny || decision == Verdict::ask) return rule;
  }
  return kNone;
}

// Of each node the first rule that denies there or below (kNone is the largest). Children come behind their parents.
std::vector<uint32_t> UnixSockets::denied_at_or_below() const {
  std::vector<uint32_t> below(matcher_->node_count());
  for (uint32_t index = matcher_->node_count(); index-- > 0;) {
    below[index] = denied_by(index);
    const Matcher::Node node = matcher_->node(index);
    for (uint32_t i = 0; i < node.child_count(); ++i) {
      below[index] = std::min(below[index], below[node.first_child + i]);
    }
  }
  return below;
}

std::optional<std::vector<UnixSockets::KeptName>> UnixSockets::kept_names(size_t most_bytes) const {
  std::vector<KeptName> names;
  if (!judged()) return names;
  const std::vector<uint32_t> below = denied_at_or_below();
  struct Step {
    uint32_t node;
    size_t length;  // of the name before this node's byte
  };
  std::vector<Step> waiting;
  std::string name;
  size_t bytes = 0;
  auto expand = [&](uint32_t index, size_t length) {
    const Matcher::Node node = matcher_->node(index);
    for (uint32_t i = 0; i < node.byte_children; ++i) {
      if (below[node.first_child + i] != kNone) waiting.push_back({node.first_child + i, length});
    }
  };
  auto add = [&](uint32_t rule, bool leads) {
    bytes += name.size() + sizeof(KeptName);
    if (bytes <= most_bytes) names.push_back({name, rule, leads});
    return bytes <= most_bytes;
  };
  expand(unix_socket::kPathRoot, 0);
  while (!waiting.empty()) {
    const Step step = waiting.back();
    waiting.pop_back();
    name.resize(step.length);
    const char byte = static_cast<char>(matcher_->label(step.node));
    if (byte == '/' && !name.empty()) {
      if (!add(below[step.node], true)) return std::nullopt;
    }
    name += byte;
    if (uint32_t rule = denied_by(step.node); rule != kNone && !add(rule, false)) return std::nullopt;
    expand(step.node, name.size());
  }
  return names;
}

bool UnixSockets::allows_any_abstract() const {
  return !judged() || matcher_->node(unix_socket::kAbstractRoot).marked();
}

std::vector<std::string_view> UnixSockets::allowed_directories() const {
  if (!judged()) return {"/"};
  std::vector<std::string_view> out;
  const std::byte* at = lists_ + size_t{literals_} * unix_socket::kLiteralBytes;
  for (uint32_t i = 0; i < directories_; ++i, at += unix_socket::kDirectoryBytes) out.push_back(section_->text(at));
  return out;
}

UnixSockets::Literal UnixSockets::literal(uint32_t index) const {
  const std::byte* at = lists_ + size_t{index} * unix_socket::kLiteralBytes;
  return {section_->text(at), load<uint32_t>(at + 8)};
}

}  // namespace wrapd::policy
