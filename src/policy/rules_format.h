// SPDX-License-Identifier: Apache-2.0
#pragma once

// The layout of a rules block; private to the compiler (rules_compile.cc) and the reader (rules.cc). All numbers are
// little-endian and read bytewise, so that a block has no alignment.
//
//   header | nodes | labels | accepts | rules | literals | prefixes | strings
//
// Nodes are numbered in breadth-first order, the two roots (paths, abstract names) first, and a node's children are
// consecutive: first those reached by a byte (sorted by that byte, which stands in the child's label), then the one
// reached by '?', by '*', by '**'. That order is its own proof: walking the nodes once, with a counter of children
// given out so far, shows that every node has exactly one parent with a smaller number. So matching ends, and only
// nodes of '*' and '**', which may also stay alive by themselves, can become alive twice in one step.

#include <cstddef>
#include <cstdint>
#include <span>

#include "policy/verdict.h"

namespace wrapd::policy::format {

inline constexpr uint64_t kMagic = 0x53454c5552505257;  // "WRPRULES"
inline constexpr uint32_t kVersion = 2;
inline constexpr uint32_t kNone = 0xffffffff;

inline constexpr uint32_t kPathRoot = 0;
inline constexpr uint32_t kAbstractRoot = 1;
inline constexpr uint32_t kRoots = 2;
inline constexpr size_t kOperations = 3;

// Header: offsets of fields in bytes.
inline constexpr size_t kHeaderMagic = 0;    // u64
inline constexpr size_t kHeaderVersion = 8;  // u32
inline constexpr size_t kHeaderSize = 12;    // u32, of the whole block
inline constexpr size_t kHeaderNodes = 16;   // u32 counts
inline constexpr size_t kHeaderAccepts = 20;
inline constexpr size_t kHeaderRules = 24;
inline constexpr size_t kHeaderLiterals = 28;
inline constexpr size_t kHeaderPrefixes = 32;
inline constexpr size_t kHeaderStrings = 36;          // bytes
inline constexpr size_t kHeaderNameOffset = 40;       // u32, in the strings
inline constexpr size_t kHeaderNameLength = 44;       // u32
inline constexpr size_t kHeaderMode = 48;             // u8, Mode in force for unix sockets
inline constexpr size_t kHeaderMonitor = 49;          // u8, 0 or 1
inline constexpr size_t kHeaderJudges = 50;           // u8, 0 or 1
inline constexpr size_t kHeaderReserved = 51;         // u8, 0
inline constexpr size_t kHeaderApprovalTimeout = 52;  // u32, seconds; 0: not said
inline constexpr size_t kHeaderApprovalRate = 56;     // u16, questions a second; 0: not said
inline constexpr size_t kHeaderApprovalBurst = 58;    // u16; 0: not said
inline constexpr size_t kHeaderBytes = 60;

// Node.
inline constexpr size_t kNodeFirstChild = 0;    // u32
inline constexpr size_t kNodeAccept = 4;        // u32, index of an accept or kNone
inline constexpr size_t kNodeByteChildren = 8;  // u16, 0 to 256
inline constexpr size_t kNodeChildren = 10;     // u8, kHasAny...
inline constexpr size_t kNodeKind = 11;         // u8, kPlain... and kMayAllowConnect
inline constexpr size_t kNodeBytes = 12;

inline constexpr uint8_t kHasAny = 1;
inline constexpr uint8_t kHasStar = 2;
inline constexpr uint8_t kHasGlobstar = 4;

inline constexpr uint8_t kPlain = 0;
inline constexpr uint8_t kStar = 1;      // stays alive on every byte but '/'
inline constexpr uint8_t kGlobstar = 2;  // stays alive on every byte
inline constexpr uint8_t kKindMask = 3;
inline constexpr uint8_t kMayAllowConnect =
    4;  // this node or one below it accepts connect for a rule that does not deny

// Accept: per operation the first rule that matches here, or kNone.
inline constexpr size_t kAcceptBytes = 4 * kOperations;

// Rule: name offset, name length, guidance offset, guidance length, decision; u32 each.
inline constexpr size_t kRuleBytes = 20;
// Literal: path offset, path length, rule; u32 each.
inline constexpr size_t kLiteralBytes = 12;
// Prefix: offset, length; u32 each.
inline constexpr size_t kPrefixBytes = 8;

[[nodiscard]] constexpr size_t operation_index(UnixOperation operation) {
  switch (operation) {
    case UnixOperation::connect:
      return 0;
    case UnixOperation::bind:
      return 1;
    case UnixOperation::listen:
      return 2;
  }
  return 0;
}

// Where each section begins; 64 bits, so that hostile counts cannot overflow.
struct Layout {
  uint64_t nodes, labels, accepts, rules, literals, prefixes, strings, end;
};

[[nodiscard]] constexpr Layout layout(uint32_t nodes, uint32_t accepts, uint32_t rules, uint32_t literals,
                                      uint32_t prefixes, uint32_t strings) {
  Layout l{};
  l.nodes = kHeaderBytes;
  l.labels = l.nodes + uint64_t{nodes} * kNodeBytes;
  l.accepts = l.labels + nodes;
  l.rules = l.accepts + uint64_t{accepts} * kAcceptBytes;
  l.literals = l.rules + uint64_t{rules} * kRuleBytes;
  l.prefixes = l.literals + uint64_t{literals} * kLiteralBytes;
  l.strings = l.prefixes + uint64_t{prefixes} * kPrefixBytes;
  l.end = l.strings + strings;
  return l;
}

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

}  // namespace wrapd::policy::format
