// SPDX-License-Identifier: Apache-2.0
#pragma once

// The layout of a compiled block. All numbers are little-endian and read bytewise, so that a block has no alignment.
//
//   header | the policy's name | a section for each class that the policy judges, in the order of their numbers
//   section: header | rules | what the class adds | strings
//
// A block may come from a user: RuleSet::open() checks all of it (rules.h), each class its own part.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/verdict.h"

namespace wrapd::policy {

inline constexpr size_t kMaxRulesBytes = 64U << 20;        // an administrator's policy
inline constexpr size_t kMaxProfileRulesBytes = 1U << 20;  // a user's profile

// No rule, no node.
inline constexpr uint32_t kNone = 0xffffffff;

namespace block {

inline constexpr uint64_t kMagic = 0x53454c5552505257;  // "WRPRULES"
inline constexpr uint32_t kVersion = 3;

// Offsets of the header's fields in bytes.
inline constexpr size_t kMagicAt = 0;             // u64
inline constexpr size_t kVersionAt = 8;           // u32
inline constexpr size_t kSizeAt = 12;             // u32, of the whole block
inline constexpr size_t kNameLengthAt = 16;       // u32
inline constexpr size_t kMonitorAt = 20;          // u8, 0 or 1
inline constexpr size_t kSectionsAt = 21;         // u8
inline constexpr size_t kReservedAt = 22;         // u16, 0
inline constexpr size_t kApprovalTimeoutAt = 24;  // u32, seconds; 0: not said
inline constexpr size_t kApprovalRateAt = 28;     // u16, questions a second; 0: not said
inline constexpr size_t kApprovalBurstAt = 30;    // u16; 0: not said
inline constexpr size_t kHeaderBytes = 32;

// Of a section's header.
inline constexpr size_t kClassAt = 0;     // u8
inline constexpr size_t kModeAt = 1;      // u8, enforce or audit
inline constexpr size_t kZeroAt = 2;      // u16, 0
inline constexpr size_t kLengthAt = 4;    // u32, of the whole section
inline constexpr size_t kRulesAt = 8;     // u32, their number
inline constexpr size_t kStringsAt = 12;  // u32, their bytes
inline constexpr size_t kSectionHeaderBytes = 16;

// A rule: its name, its guidance (offset and length in the strings, u32 each), its decision (u32).
inline constexpr size_t kRuleBytes = 20;
inline constexpr size_t kRuleGuidance = 8;
inline constexpr size_t kRuleDecision = 16;

}  // namespace block

template <class T>
[[nodiscard]] T load(const std::byte* p) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>(value | static_cast<T>(static_cast<T>(p[i]) << (8 * i)));
  return value;
}

template <class T>
void store(std::byte* p, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) p[i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
}

template <class T>
void append(std::vector<std::byte>& out, T value) {
  out.resize(out.size() + sizeof(T));
  store(out.data() + out.size() - sizeof(T), value);
}

[[nodiscard]] inline std::string_view text_of(std::span<const std::byte> bytes) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes seen as characters
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct RuleView {
  std::string_view name;
  std::string_view guidance;
  Verdict decision = Verdict::deny;
};

// A section of a block, whose bounds are known to be right. Borrows the block.
class Section {
 public:
  explicit Section(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] Mode mode() const { return static_cast<Mode>(load<uint8_t>(bytes_.data() + block::kModeAt)); }
  [[nodiscard]] uint32_t rule_count() const { return u32(block::kRulesAt); }
  [[nodiscard]] RuleView rule(uint32_t index) const {
    const std::byte* p = rule_at(index);
    return {text(p), text(p + block::kRuleGuidance), decision(index)};
  }
  [[nodiscard]] Verdict decision(uint32_t index) const {
    return static_cast<Verdict>(load<uint32_t>(rule_at(index) + block::kRuleDecision));
  }
  // What the class adds.
  [[nodiscard]] std::span<const std::byte> body() const {
    const size_t begin = block::kSectionHeaderBytes + size_t{rule_count()} * block::kRuleBytes;
    return bytes_.subspan(begin, bytes_.size() - begin - u32(block::kStringsAt));
  }
  // The string whose offset and length (u32 each) stand here.
  [[nodiscard]] std::string_view text(const std::byte* at) const {
    return strings().substr(load<uint32_t>(at), load<uint32_t>(at + 4));
  }

  // True for bounds that are right, when it is not known yet.
  [[nodiscard]] bool in_bounds() const {
    return bytes_.size() >=
           block::kSectionHeaderBytes + uint64_t{rule_count()} * block::kRuleBytes + uint64_t{u32(block::kStringsAt)};
  }
  [[nodiscard]] bool text_in_bounds(const std::byte* at) const {
    return uint64_t{load<uint32_t>(at)} + load<uint32_t>(at + 4) <= u32(block::kStringsAt);
  }
  [[nodiscard]] const std::byte* rule_at(uint32_t index) const {
    return bytes_.data() + block::kSectionHeaderBytes + size_t{index} * block::kRuleBytes;
  }

 private:
  [[nodiscard]] uint32_t u32(size_t at) const { return load<uint32_t>(bytes_.data() + at); }
  [[nodiscard]] std::string_view strings() const { return text_of(bytes_.last(u32(block::kStringsAt))); }

  std::span<const std::byte> bytes_;
};

// What a class writes for its section.
class SectionWriter {
 public:
  template <class T>
  void add(T value) {
    append(body_, value);
  }
  void add_bytes(std::span<const std::byte> bytes) { body_.insert(body_.end(), bytes.begin(), bytes.end()); }
  void add_text(std::string_view text) { refer(body_, text); }
  // Offset and length of a text. Equal texts are kept once.
  void refer(std::vector<std::byte>& out, std::string_view text) {
    auto [found, added] = offsets_.try_emplace(std::string(text), static_cast<uint32_t>(strings_.size()));
    if (added) strings_ += text;
    append(out, found->second);
    append(out, static_cast<uint32_t>(text.size()));
  }
  [[nodiscard]] const std::vector<std::byte>& body() const { return body_; }
  [[nodiscard]] std::string_view strings() const { return strings_; }

 private:
  std::vector<std::byte> body_;
  std::map<std::string, uint32_t, std::less<>> offsets_;
  std::string strings_;
};

}  // namespace wrapd::policy
