// SPDX-License-Identifier: Apache-2.0
#pragma once

// Unix sockets by their names: paths, and abstract names. Its section of a block is
//
//   matcher | u32 literals | u32 directories | literals (text, u32 rule) | directories (text)

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "policy/classes.h"
#include "policy/matcher.h"
#include "policy/rules.h"

namespace wrapd::policy {

// Entry of the table of classes.
namespace unix_socket {
inline constexpr std::array kOperations = {Operation::connect, Operation::bind, Operation::listen};
inline constexpr uint32_t kAllOperations = bit(Operation::connect) | bit(Operation::bind) | bit(Operation::listen);
inline constexpr std::array<std::string_view, 2> kRuleKeys = {"paths", "operations"};
void read(YamlReader& r, const YamlReader::Map& map, const YamlNode& node, Rule& rule);
[[nodiscard]] Result<> compile(const std::string& file, const std::vector<Rule>& rules, const Variables& variables,
                               SectionWriter& section);
[[nodiscard]] const char* check(const Section& section);
[[nodiscard]] LayerVerdict judge(const Section& section, const Request& request);

// Roots of the matcher.
inline constexpr uint32_t kPathRoot = 0;
inline constexpr uint32_t kAbstractRoot = 1;
inline constexpr MatcherShape kShape = {.roots = 2, .operations = kOperations.size()};
inline constexpr size_t kLiteralBytes = 12;
inline constexpr size_t kDirectoryBytes = 8;

// True if the rules of a node let something be connected to, be it after a question: what the matcher marks.
template <class DecisionOf>
[[nodiscard]] bool may_connect(std::span<const uint32_t> rules, DecisionOf decision_of) {
  const uint32_t rule = rules[static_cast<size_t>(Operation::connect)];
  return rule != kNone && decision_of(rule) != Verdict::deny;
}
}  // namespace unix_socket

inline constexpr ClassEntry kUnixSocketClass = {.id = Class::unix_socket,
                                                .noun = "unix socket",
                                                .rules_key = "unix_socket_rules",
                                                .seccomp_key = "unix_socket",
                                                .sandbox_key = "unix_sockets",
                                                .event = "unix_socket_op",
                                                .message_id = "0177d646117e4ad6a125e668c4fcbd5f",
                                                .operations = unix_socket::kOperations,
                                                .rule_keys = unix_socket::kRuleKeys,
                                                .read = unix_socket::read,
                                                .compile = unix_socket::compile,
                                                .check = unix_socket::check,
                                                .judge = unix_socket::judge};

// The directories that lead to names which a rule denies or asks about, as far as the patterns say without their
// wildcards: who could replace one of them by a link would have such a socket made elsewhere.
[[nodiscard]] Result<std::set<std::string>> denied_directories(const Policy& policy, const Variables& variables);

// True if a rule lets a path be bound.
[[nodiscard]] bool binds_paths(const Policy& policy);

// What one layer says of unix sockets besides its verdicts. Borrows the block.
class UnixSockets {
 public:
  explicit UnixSockets(const RuleSet& layer) : UnixSockets(layer.section(Class::unix_socket)) {}
  explicit UnixSockets(const std::optional<Section>& section);

  [[nodiscard]] bool judged() const { return section_.has_value(); }
  // Of a layer that does: ClassEntry's.
  [[nodiscard]] const char* check() const;
  [[nodiscard]] LayerVerdict judge(Operation operation, const UnixName& name) const;

  // True if some path beneath or at `directory` could be connected to, be it after a question: what a directory's
  // rename could bring into reach.
  [[nodiscard]] bool may_allow_beneath(std::string_view directory) const;
  // True if some abstract name may be connected to, be it after a question.
  [[nodiscard]] bool allows_any_abstract() const;
  // The directories in which names lie that some rule lets be connected to or listened on, be it after a question. One
  // that ends in '/' stands for all directories beneath it as well: its pattern has a wildcard for a directory.
  [[nodiscard]] std::vector<std::string_view> allowed_directories() const;
  // The one verdict that all names beneath `directory` get, or nothing if they differ or it would take long to tell.
  [[nodiscard]] std::optional<Verdict> uniform_beneath(Operation operation, std::string_view directory) const;

  // What must stay what it is, so that names which are denied (or asked about) for connect or listen lead where they
  // are judged: the directories before the first wildcard, and the names that have none.
  struct KeptName {
    std::string path;
    uint32_t rule;
    bool leads;  // a directory on the way to denied names; else it is one
  };
  // Nothing if they take more than so many bytes.
  [[nodiscard]] std::optional<std::vector<KeptName>> kept_names(size_t most_bytes) const;

  // Literal paths that are denied or asked about for connect, whose (device, inode) is compared as well.
  struct Literal {
    std::string_view path;
    uint32_t rule;
  };
  [[nodiscard]] uint32_t literal_count() const { return literals_; }
  [[nodiscard]] Literal literal(uint32_t index) const;

 private:
  [[nodiscard]] uint32_t rule_of(uint32_t node, Operation operation) const {
    return matcher_->rule_of(matcher_->node(node), static_cast<uint32_t>(operation));
  }
  // The first rule that keeps this very name from being connected to or listened on, or kNone.
  [[nodiscard]] uint32_t denied_by(uint32_t node) const;
  [[nodiscard]] std::vector<uint32_t> denied_at_or_below() const;

  std::optional<Section> section_;
  std::optional<Matcher> matcher_;
  const std::byte* lists_ = nullptr;  // the literals, then the directories
  uint32_t literals_ = 0;
  uint32_t directories_ = 0;
  bool in_bounds_ = true;
};

}  // namespace wrapd::policy
