// SPDX-License-Identifier: Apache-2.0
#include "supervisor/identities.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <functional>
#include <string>

namespace wrapd::supervisor {
namespace {

constexpr auto kPatience = std::chrono::seconds(1);
constexpr int kShare = 50;                // of the time goes to looking at all, at most
constexpr size_t kMaxRemembered = 16384;  // objects; more only if more literals lead to something at once

bool is_stricter(const policy::Decision& a, const policy::Decision& b) {
  return a.verdict != b.verdict ? a.verdict < b.verdict : a.recorded < b.recorded;
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool is_before(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

// Number and device are another's once an object is gone.
bool same_object(const kernel::ObjectId& a, const kernel::ObjectId& b) {
  return a.device == b.device && a.inode == b.inode && same_time(a.born, b.born);
}

size_t ending_of(std::string_view path) {
  return std::hash<std::string_view>()(path.substr(path.rfind('/') + 1));
}

}  // namespace

Identities::Identities(kernel::Objects& kernel, int root, const policy::Layers& layers)
    : kernel_(kernel), root_(root), layers_(layers) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const policy::RuleSet& rules = layers_.layer(layer);
    for (size_t i = 0; i < rules.literal_count(); ++i) {
      policy::RuleSet::Literal literal = rules.literal(i);
      // The first matching rule counts: an earlier one may open the name that this one closes.
      if (rules.judge_path(policy::UnixOperation::connect, literal.path).rule != literal.rule) continue;
      literals_.push_back(
          {static_cast<uint8_t>(layer), literal.rule, static_cast<uint32_t>(i), ending_of(literal.path)});
    }
  }
  std::ranges::sort(literals_, {}, &Literal::ending);
  look_at_all();
}

// Where one of the literal names leads now.
void Identities::look(uint32_t literal) const {
  const Literal& at = literals_[literal];
  std::string path(layers_.layer(at.layer).literal(at.index).path);
  kernel::ObjectId id;
  // A name that does not exist, or that the caller cannot look up, has no identity to protect.
  if (kernel_.identify(root_, path.c_str() + 1, id) < 0 || !S_ISSOCK(id.mode)) return;
  auto [begin, end] = known_.equal_range(id.inode);
  if (std::any_of(begin, end, [&](const auto& known) {
        return known.second.literal == literal && same_object(known.second.id, id);
      })) {
    return;
  }
  if (known_.size() >= kMaxRemembered + literals_.size()) known_.erase(known_.begin());
  known_.emplace(id.inode, Known{id, literal});
}

void Identities::look_at_all() const {
  const auto begin = Clock::now();
  ::clock_gettime(CLOCK_REALTIME_COARSE, &looked_);
  // What has no birth time cannot be told from a later object: it counts while a name leads to it.
  std::erase_if(known_, [](const auto& known) { return !known.second.id.has_birth(); });
  for (uint32_t i = 0; i < literals_.size(); ++i) look(i);
  const auto end = Clock::now();
  next_look_ = end + std::max<Clock::duration>(kPatience, kShare * (end - begin));
}

policy::Decision Identities::decision_of(const Literal& literal) const {
  const policy::RuleSet& rules = layers_.layer(literal.layer);
  policy::Decision decision;
  decision.recorded = rules.rule(literal.rule).decision;
  decision.verdict = rules.unix_socket_mode() == policy::Mode::enforce ? decision.recorded : policy::Verdict::allow;
  decision.layer = literal.layer;
  decision.rule = literal.rule;
  return decision;
}

std::optional<policy::Decision> Identities::denial(int object, std::string_view path) const {
  if (literals_.empty()) return std::nullopt;
  kernel::ObjectId id;
  // An object that cannot be looked at is one that cannot be told from those that are denied.
  if (kernel_.identify(object, "", id) < 0) return policy::Decision{};
  std::lock_guard guard(lock_);
  if (id.links > 1 || id.mounted || !id.has_birth() || !is_before(id.changed, looked_) || Clock::now() >= next_look_) {
    look_at_all();
  } else {
    const size_t ending = ending_of(path);
    auto alike = std::ranges::equal_range(literals_, ending, {}, &Literal::ending);
    for (const Literal& literal : alike) look(static_cast<uint32_t>(&literal - literals_.data()));
  }
  std::optional<policy::Decision> denial;
  auto [begin, end] = known_.equal_range(id.inode);
  for (auto at = begin; at != end; ++at) {
    if (!same_object(at->second.id, id)) continue;
    policy::Decision decision = decision_of(literals_[at->second.literal]);
    if (!denial || is_stricter(decision, *denial)) denial = decision;
  }
  return denial;
}

}  // namespace wrapd::supervisor
