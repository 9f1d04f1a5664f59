// SPDX-License-Identifier: Apache-2.0
#include "supervisor/identities.h"

#include <fcntl.h>

#include <string>

#include "base/unique_fd.h"
#include "kernel/uapi.h"

namespace wrapd::supervisor {
namespace {

bool is_stricter(const policy::Decision& a, const policy::Decision& b) {
  return a.verdict != b.verdict ? a.verdict < b.verdict : a.recorded < b.recorded;
}

}  // namespace

std::vector<Identities::Identity> Identities::take() const {
  std::vector<Identity> found;
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const policy::RuleSet& rules = layers_.layer(layer);
    for (size_t i = 0; i < rules.literal_count(); ++i) {
      policy::RuleSet::Literal literal = rules.literal(i);
      std::string path(literal.path);
      // The first matching rule counts: an earlier one may open the name that this one closes.
      if (rules.judge_path(policy::UnixOperation::connect, path).rule != literal.rule) continue;
      // A name that does not exist, or that the caller cannot look up, has no identity to protect.
      UniqueFd fd(kernel_.open_at(root_, path.c_str(), O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS));
      struct stat st {};
      if (!fd || kernel_.stat(fd.get(), st) < 0 || !S_ISSOCK(st.st_mode)) continue;
      found.push_back({st.st_dev, st.st_ino, static_cast<uint8_t>(layer), literal.rule});
    }
  }
  return found;
}

std::optional<policy::Decision> Identities::find(const std::vector<Identity>& in, const struct stat& object) const {
  std::optional<policy::Decision> denial;
  for (const Identity& identity : in) {
    if (identity.device != object.st_dev || identity.inode != object.st_ino) continue;
    const policy::RuleSet& rules = layers_.layer(identity.layer);
    policy::Decision decision;
    decision.recorded = rules.rule(identity.rule).decision;
    decision.verdict = rules.unix_socket_mode() == policy::Mode::enforce ? decision.recorded : policy::Verdict::allow;
    decision.layer = identity.layer;
    decision.rule = identity.rule;
    if (!denial || is_stricter(decision, *denial)) denial = decision;
  }
  return denial;
}

std::optional<policy::Decision> Identities::denial(const struct stat& object, bool look_again) const {
  auto known = find(known_, object);
  // Nothing is stricter than an enforced denial.
  if (!look_again || (known && known->verdict == policy::Verdict::deny)) return known;
  auto now = find(take(), object);
  return now && (!known || is_stricter(*now, *known)) ? now : known;
}

}  // namespace wrapd::supervisor
