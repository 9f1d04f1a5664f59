// SPDX-License-Identifier: Apache-2.0
#include "supervisor/identities.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <string>

#include "base/unique_fd.h"
#include "policy/classes/unix_socket.h"

namespace wrapd::supervisor {
namespace {

constexpr auto kPatience = std::chrono::seconds(1);
constexpr int kShare = 50;  // of the time goes to looking at all, at most

bool is_stricter(const policy::Decision& a, const policy::Decision& b) {
  return a.verdict != b.verdict ? a.verdict < b.verdict : a.recorded < b.recorded;
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool is_before(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

timespec file_time() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now;
}

size_t ending_of(std::string_view path) {
  return std::hash<std::string_view>()(path.substr(path.rfind('/') + 1));
}

}  // namespace

Identities::Identities(kernel::Objects& kernel, int root, const policy::Layers& layers, size_t most_remembered)
    : kernel_(kernel), root_(root), layers_(layers) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const policy::RuleSet& rules = layers_.layer(layer);
    const policy::UnixSockets sockets(rules);
    for (uint32_t i = 0; i < sockets.literal_count(); ++i) {
      const auto literal = sockets.literal(i);
      // The first matching rule counts: an earlier one may open the name that this one closes.
      if (rules.judge(policy::with_path(policy::Operation::connect, literal.path)).rule != literal.rule) continue;
      literals_.push_back({static_cast<uint8_t>(layer), literal.rule, i, ending_of(literal.path)});
    }
  }
  std::ranges::sort(literals_, {}, &Literal::ending);
  most_remembered_ = most_remembered + literals_.size();
  sights_.assign(literals_.size(), Sight::clear);
  seen_.assign(literals_.size(), file_time());
  look_at_all();
}

Identities::Sight Identities::find(std::string_view path, kernel::ObjectId& id) const {
  const int rc = kernel_.identify(root_, std::string(path.substr(1)).c_str(), id);
  if (rc == 0) return Sight::clear;
  id = {};
  if (rc == -ENOENT || rc == -ENOTDIR) return Sight::clear;
  if (rc != -EACCES) return Sight::doubtful;
  // The first that can be looked at is the one that lets nobody through. What is in the way besides is a link.
  for (std::string_view above = path;;) {
    const size_t slash = above.rfind('/');
    const std::string_view last = above.substr(slash + 1);
    above = above.substr(0, slash);
    kernel::ObjectId closed;
    const int looked = kernel_.identify(root_, above.empty() ? "." : std::string(above.substr(1)).c_str(), closed);
    if (looked == -EACCES && !above.empty()) continue;
    if (looked < 0) return Sight::doubtful;
    struct stat st {};
    UniqueFd directory(kernel_.open_at(root_, above.empty() ? "." : std::string(above.substr(1)).c_str(), O_PATH, 0));
    if (!directory || kernel_.stat_at(directory.get(), std::string(last).c_str(), st) != -EACCES)
      return Sight::doubtful;
    return closed.owner == ::geteuid() ? Sight::closed : Sight::clear;
  }
}

// Where one of the literal names leads now.
void Identities::look(uint32_t literal) const {
  const Literal& at = literals_[literal];
  const timespec before = file_time();
  kernel::ObjectId id;
  sights_[literal] = find(policy::UnixSockets(layers_.layer(at.layer)).literal(at.index).path, id);
  if (sights_[literal] == Sight::clear) seen_[literal] = before;
  if (S_ISSOCK(id.mode)) remember(id, literal);
}

// A name leads to this one, so one of another birth that had its number is gone.
void Identities::remember(const kernel::ObjectId& id, uint32_t literal) const {
  const Number number{id.device, id.inode};
  auto at = known_.find(number);
  if (at == known_.end()) {
    if (known_.size() >= most_remembered_) {
      if (!without_room_ || is_stricter(decision_of(literals_[literal]), decision_of(literals_[*without_room_])))
        without_room_ = literal;
    } else {
      known_.emplace(number, Known{id.born, literal});
    }
    return;
  }
  Known& known = at->second;
  if (same_time(known.born, id.born) &&
      !is_stricter(decision_of(literals_[literal]), decision_of(literals_[known.literal]))) {
    return;
  }
  known = {id.born, literal};
}

void Identities::look_at_all() const {
  const auto begin = Clock::now();
  looked_ = file_time();
  // An object without a birth time cannot be told from a later one: it counts while a name leads to it.
  std::erase_if(known_, [](const auto& known) { return same_time(known.second.born, timespec{}); });
  obscure_.clear();
  for (uint32_t i = 0; i < literals_.size(); ++i) {
    look(i);
    if (sights_[i] != Sight::clear) obscure_.push_back(i);
  }
  const auto end = Clock::now();
  next_look_ = end + std::max<Clock::duration>(kPatience, kShare * (end - begin));
}

std::optional<uint32_t> Identities::not_told_apart_from(const kernel::ObjectId& id) const {
  std::optional<uint32_t> strictest;
  for (uint32_t literal : obscure_) {
    look(literal);
    if (sights_[literal] == Sight::clear) continue;
    if (sights_[literal] == Sight::doubtful && id.has_birth() && is_before(id.changed, seen_[literal])) continue;
    if (!strictest || is_stricter(decision_of(literals_[literal]), decision_of(literals_[*strictest]))) {
      strictest = literal;
    }
  }
  return strictest;
}

policy::Decision Identities::decision_of(const Literal& literal) const {
  constexpr auto kClass = policy::Class::unix_socket;
  const auto& section = layers_.layer(literal.layer).section(kClass);
  return layers_.refusal_by(kClass, literal.layer, section->decision(literal.rule), literal.rule);
}

std::optional<Identities::Denial> Identities::denial(int object, std::string_view path) const {
  if (literals_.empty()) return std::nullopt;
  kernel::ObjectId id;
  // An object that cannot be looked at is one that cannot be told from those that are denied.
  if (kernel_.identify(object, "", id) < 0) return Denial{{}, "object cannot be looked at"};
  std::lock_guard lock(lock_);
  if (id.links > 1 || id.mounted || !id.has_birth() || !is_before(id.changed, looked_) || Clock::now() >= next_look_) {
    look_at_all();
  } else {
    const size_t ending = ending_of(path);
    auto alike = std::ranges::equal_range(literals_, ending, {}, &Literal::ending);
    for (const Literal& literal : alike) {
      const auto index = static_cast<uint32_t>(&literal - literals_.data());
      look(index);
      if (sights_[index] != Sight::clear && std::ranges::find(obscure_, index) == obscure_.end())
        obscure_.push_back(index);
    }
  }
  const auto may_lead_here = not_told_apart_from(id);  // looks again at names, which may be seen by now
  std::optional<Denial> denial;
  auto add = [&](const Denial& other) {
    if (!denial || is_stricter(other.decision, denial->decision)) denial = other;
  };
  if (auto known = known_.find({id.device, id.inode}); known != known_.end() && same_time(known->second.born, id.born))
    add({decision_of(literals_[known->second.literal])});
  if (may_lead_here) {
    add({decision_of(literals_[*may_lead_here]), "a denied name cannot be looked up, and may lead here"});
  }
  if (without_room_) add({decision_of(literals_[*without_room_]), "too many sockets stood at denied names"});
  return denial;
}

}  // namespace wrapd::supervisor
