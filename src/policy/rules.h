// SPDX-License-Identifier: Apache-2.0
#pragma once

// The compiled form of a policy's rules: one flat, position-independent block of bytes that the service makes once and
// every supervisor maps read-only from the same sealed memfd. Matching walks a byte trie with wildcard loops, so its
// cost depends on the length of the name and on how many wildcards are alive along it, not on the number of rules, and
// nothing is built or allocated at a session's start.
//
// The block may come from a user (a compiled profile): RuleSet::open() checks every index, so that nothing later can
// leave the block, loop for ever or allocate by what it says.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/model.h"
#include "policy/verdict.h"

namespace wrapd::policy {

inline constexpr size_t kMaxRulesBytes = 64U << 20;        // an administrator's policy
inline constexpr size_t kMaxProfileRulesBytes = 1U << 20;  // a user's profile

// Fills in the variables (their values match literally) and compiles. Errors name file and line.
[[nodiscard]] Result<std::vector<std::byte>> compile_rules(const Policy& policy, const Variables& variables);

// The directories that lead to names which a rule denies or asks about, as far as the patterns say without their
// wildcards: who could replace one of them by a link would have such a socket made elsewhere.
[[nodiscard]] Result<std::set<std::string>> denied_directories(const Policy& policy, const Variables& variables);

struct RuleView {
  std::string_view name;
  std::string_view guidance;
  Verdict decision = Verdict::deny;
};

// The verdict of one layer. rule: index into the layer's rules, or -1 where no rule matched.
struct LayerVerdict {
  Verdict verdict = Verdict::deny;
  int32_t rule = -1;
};

class RuleSet {
 public:
  // Checks the whole block. The view borrows `block`, which must outlive it.
  [[nodiscard]] static Result<RuleSet> open(std::span<const std::byte> block);

  [[nodiscard]] std::string_view policy_name() const;
  [[nodiscard]] Mode unix_socket_mode() const;  // what is done with this layer's verdicts on unix sockets
  [[nodiscard]] bool monitor_unsupported() const;
  [[nodiscard]] bool judges_unix_sockets() const;
  [[nodiscard]] Approval approval() const;  // within the bounds of model.h; zero where the policy does not say

  // First matching rule wins; none: deny. A layer that does not judge unix sockets answers allow with rule -1.
  // `name` is an absolute, normal path without NUL, or an abstract name (without '@', any bytes).
  [[nodiscard]] LayerVerdict judge_path(UnixOperation operation, std::string_view path) const;
  [[nodiscard]] LayerVerdict judge_abstract(UnixOperation operation, std::string_view name) const;

  // True if some path beneath or at `directory` could be connected to, be it after a question: what a directory's
  // rename could bring into reach.
  [[nodiscard]] bool may_allow_beneath(std::string_view directory) const;
  // True if some abstract name may be connected to, be it after a question.
  [[nodiscard]] bool allows_any_abstract() const;
  // The directories in which names lie that some rule lets be connected to or listened on, be it after a question. One
  // that ends in '/' stands for all directories beneath it as well: its pattern has a wildcard for a directory.
  [[nodiscard]] std::vector<std::string_view> allowed_connect_prefixes() const;

  // The one verdict that all names beneath `directory` get, or nothing if they differ or it would take long to tell.
  [[nodiscard]] std::optional<Verdict> uniform_beneath(UnixOperation operation, std::string_view directory) const;
  // What must stay what it is, so that names which are denied (or asked about) for connect or listen lead where they
  // are judged: the directories before the first wildcard, and the names that have none.
  struct KeptName {
    std::string path;
    int32_t rule;
    bool leads;  // a directory on the way to denied names; else it is one
  };
  // Nothing if they take more than so many bytes.
  [[nodiscard]] std::optional<std::vector<KeptName>> kept_names(size_t most_bytes) const;

  // Literal paths that are denied or asked about, whose (device, inode) is compared as well; index -> {path, rule}.
  struct Literal {
    std::string_view path;
    int32_t rule;
  };
  [[nodiscard]] size_t literal_count() const;
  [[nodiscard]] Literal literal(size_t index) const;

  [[nodiscard]] size_t rule_count() const;
  [[nodiscard]] RuleView rule(int32_t index) const;  // index from a LayerVerdict of this set, not -1

 private:
  explicit RuleSet(std::span<const std::byte> block) : block_(block) {}
  std::span<const std::byte> block_;
};

}  // namespace wrapd::policy
