// SPDX-License-Identifier: Apache-2.0
#include "daemon/quota.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace wrapd::daemon {
namespace {

// Not those of any uid.
constexpr uint64_t kSubordinate = uint64_t{1} << 32;
constexpr size_t kRootShare = 16;     // one place of so many
constexpr size_t kAccountsShare = 4;  // one more of so many is no stranger's

// FNV-1a: the same owner is the same user after a reload, whatever else the file says.
uint32_t hash_of(std::string_view name) {
  uint32_t hash = 2166136261U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

std::optional<uint64_t> number(std::string_view text) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

SubordinateIds SubordinateIds::parse(std::string_view text) {
  std::vector<Range> all;
  while (!text.empty() && all.size() < kMostRanges) {
    const size_t line_end = text.find('\n');
    const std::string_view line = text.substr(0, line_end);
    text = line_end == std::string_view::npos ? std::string_view() : text.substr(line_end + 1);
    const size_t one = line.find(':');
    const size_t two = one == std::string_view::npos ? one : line.find(':', one + 1);
    if (one == 0 || two == std::string_view::npos) continue;
    const auto first = number(line.substr(one + 1, two - one - 1));
    const auto count = number(line.substr(two + 1));
    // Id 0 is root's, whatever a file says.
    if (!first || !count || *first == 0 || *count == 0) continue;
    all.push_back({.first = *first, .end = *first + *count, .user = kSubordinate | hash_of(line.substr(0, one))});
  }
  std::ranges::stable_sort(all, {}, &Range::first);
  SubordinateIds ids;
  for (Range range : all) {
    // Where ranges overlap, which subuid(5) advises against, the one that begins earlier has the ids.
    if (!ids.ranges_.empty()) range.first = std::max(range.first, ids.ranges_.back().end);
    if (range.first < range.end) ids.ranges_.push_back(range);
  }
  return ids;
}

const SubordinateIds::Range* SubordinateIds::find(uid_t uid) const {
  auto after = std::ranges::upper_bound(ranges_, uint64_t{uid}, {}, &Range::first);
  if (after == ranges_.begin()) return nullptr;
  const Range& range = *std::prev(after);
  return uid < range.end ? &range : nullptr;
}

uint64_t SubordinateIds::user_of(uid_t uid) const {
  const Range* range = find(uid);
  return range == nullptr ? uid : range->user;
}

Standing SubordinateIds::standing_of(uid_t uid) const {
  if (uid == 0) return Standing::root;
  return contains(uid) ? Standing::no_account : Standing::account;
}

bool Quota::full(size_t limit, Standing standing) const noexcept {
  const auto& has = counts_->standing;
  const size_t for_root = limit / kRootShare;
  const size_t for_accounts = limit / kAccountsShare;
  const size_t strangers = has[static_cast<size_t>(Standing::no_account)];
  const size_t others = strangers + has[static_cast<size_t>(Standing::account)];
  if (total() >= limit) return true;
  if (standing == Standing::root) return false;
  if (others >= limit - for_root) return true;
  return standing == Standing::no_account && strangers >= limit - for_root - for_accounts;
}

}  // namespace wrapd::daemon
