// SPDX-License-Identifier: Apache-2.0
#include "supervisor/name_rules.h"

#include <algorithm>
#include <utility>

#include "policy/classes/unix_socket.h"

namespace wrapd::supervisor {
namespace {

constexpr auto kClass = policy::Class::unix_socket;
constexpr size_t kMaxKeptBytes = 16U << 20;

bool is_open(policy::Verdict verdict) {
  return verdict == policy::Verdict::allow || verdict == policy::Verdict::audit;
}

// What is denied must not come to where it would be asked about, and neither to where nobody is asked.
bool is_wider(policy::Verdict after, policy::Verdict before) {
  return !is_open(before) && after > before;
}

}  // namespace

std::optional<policy::Decision> NameRules::forbids_socket(const std::string& from, const std::string& to) const {
  for (auto operation : {policy::Operation::connect, policy::Operation::listen}) {
    policy::Decision before = layers_.judge(policy::with_path(operation, from));
    policy::Decision after = layers_.judge(policy::with_path(operation, to));
    if (is_wider(after.recorded, before.recorded)) return before;
  }
  // A socket that was bound where that is allowed must not turn up where it is not, or where nobody was asked about it.
  policy::Decision made = layers_.judge(policy::with_path(policy::Operation::bind, from));
  policy::Decision moved = layers_.judge(policy::with_path(policy::Operation::bind, to));
  if (made.recorded != policy::Verdict::deny && !is_open(moved.recorded)) return moved;
  return std::nullopt;
}

bool NameRules::never_forbids(const std::string& from, const std::string& to) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const policy::UnixSockets layer(layers_.layer(i));
    if (!layer.judged()) continue;
    // Either way of a layer's is enough: the strictest of the layers counts before and after.
    auto opens_nothing = [&](policy::Operation operation) {
      auto before = layer.uniform_beneath(operation, from);
      if (before && is_open(*before)) return true;
      auto after = layer.uniform_beneath(operation, to);
      return after && (*after == policy::Verdict::deny || (before && *after <= *before));
    };
    auto may_come = [&] {
      auto before = layer.uniform_beneath(policy::Operation::bind, from);
      if (before && *before == policy::Verdict::deny) return true;
      auto after = layer.uniform_beneath(policy::Operation::bind, to);
      return after && is_open(*after);
    };
    if (!opens_nothing(policy::Operation::connect) || !opens_nothing(policy::Operation::listen) || !may_come())
      return false;
  }
  return true;
}

policy::Decision NameRules::unknown() const {
  policy::Decision decision;
  if (layers_.audit_only(kClass)) decision.verdict = policy::Verdict::allow;
  return decision;
}

policy::Decision NameRules::kept_by(size_t layer, std::optional<uint32_t> rule) const {
  return layers_.refusal_by(kClass, layer, policy::Verdict::deny, rule);
}

void NameRules::learn_kept() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    auto names = policy::UnixSockets(layers_.layer(i)).kept_names(kMaxKeptBytes);
    if (!names) {
      auto decision = kept_by(i, std::nullopt);
      if (!keeps_all_ || decision.verdict < keeps_all_->verdict) keeps_all_ = decision;
      continue;
    }
    for (auto& name : *names) {
      std::string last = name.path.substr(name.path.rfind('/') + 1);
      kept_.push_back({std::move(last), std::move(name.path), i, name.rule, name.leads});
    }
  }
  std::ranges::sort(kept_, {}, &Kept::last);
}

// True if the name is this one, or the same by a mount of the directory in another place. What leads to it then has the
// same last element, for a directory has one name.
bool NameRules::is_kept(const Name& name, const std::string& path) const {
  if (path == name.path) return true;
  kernel::ObjectId id;
  const auto sight = identities_.find(path.substr(0, std::max<size_t>(path.rfind('/'), 1)), id);
  if (sight != Identities::Sight::clear) return true;
  return S_ISDIR(id.mode) && id.device == name.parent.st_dev && id.inode == name.parent.st_ino;
}

// Of a denied name itself.
bool NameRules::may_be_made(const Kept& kept, std::optional<mode_t> made) const {
  if (!made) return true;
  if (S_ISSOCK(*made) && layers_.judge(policy::with_path(policy::Operation::bind, kept.path)).permits()) return true;
  // An earlier rule may open the name that this one closes.
  const policy::RuleSet& layer = layers_.layer(kept.layer);
  return is_open(layer.judge(policy::with_path(policy::Operation::connect, kept.path)).verdict) &&
         is_open(layer.judge(policy::with_path(policy::Operation::listen, kept.path)).verdict);
}

std::optional<policy::Decision> NameRules::keeps(const Name& name, std::optional<mode_t> made) {
  if (name.last.empty()) return std::nullopt;
  std::call_once(kept_once_, [&] { learn_kept(); });
  std::optional<policy::Decision> strictest = keeps_all_;
  for (const Kept& kept : std::ranges::equal_range(kept_, name.last, {}, &Kept::last)) {
    if (!kept.leads && may_be_made(kept, made)) continue;
    policy::Decision decision = kept_by(kept.layer, kept.rule);
    if ((strictest && decision.verdict >= strictest->verdict) || !is_kept(name, kept.path)) continue;
    strictest = decision;
  }
  return strictest;
}

}  // namespace wrapd::supervisor
