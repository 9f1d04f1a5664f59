// SPDX-License-Identifier: Apache-2.0
#pragma once

// The system calls that the filter can bring to the supervisor: one table, which the filter's generator and the
// supervisor's dispatch both read. A plan traps whole groups. Several classes of rules may need the same group; a group
// has one handler. What differs between architectures stands here and nowhere else.

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "policy/request.h"

namespace wrapd::plan {

enum class TrapGroup : uint8_t {
  sockets,          // connect, bind, listen
  socket_creation,  // socket and socketpair, of AF_UNIX and neither SOCK_STREAM nor SOCK_SEQPACKET
  rename_link,      // rename, link, symlink and their kin
};

struct Group {
  std::string_view word;   // in messages
  policy::Class of_class;  // what a refusal is recorded as that comes before any class has judged
};
// In the order of the enumeration.
inline constexpr std::array kGroups = {
    Group{"sockets", policy::Class::unix_socket},
    Group{"socket_creation", policy::Class::unix_socket},
    Group{"rename_link", policy::Class::unix_socket},
};
inline constexpr auto kTrapGroups = [] {
  std::array<std::string_view, kGroups.size()> words;
  std::ranges::transform(kGroups, words.begin(), &Group::word);
  return words;
}();

class TrapSet {
 public:
  static constexpr unsigned kSets = 1U << kTrapGroups.size();

  constexpr TrapSet() = default;
  constexpr TrapSet(std::initializer_list<TrapGroup> groups) {
    for (TrapGroup group : groups) bits_ |= bit(group);
  }
  // The set with this number, below kSets.
  [[nodiscard]] static constexpr TrapSet numbered(unsigned number) {
    TrapSet set;
    set.bits_ = number % kSets;
    return set;
  }
  [[nodiscard]] constexpr unsigned number() const { return bits_; }
  [[nodiscard]] constexpr bool has(TrapGroup group) const { return (bits_ & bit(group)) != 0; }
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
  constexpr TrapSet& operator|=(TrapSet other) {
    bits_ |= other.bits_;
    return *this;
  }
  bool operator==(const TrapSet&) const = default;

  // False if no group has this word, or if the set has the group already.
  [[nodiscard]] constexpr bool add(std::string_view word) {
    const auto* at = std::ranges::find(kTrapGroups, word);
    if (at == kTrapGroups.end()) return false;
    const auto group = static_cast<TrapGroup>(at - kTrapGroups.begin());
    if (has(group)) return false;
    bits_ |= bit(group);
    return true;
  }
  [[nodiscard]] std::vector<std::string_view> words() const {
    std::vector<std::string_view> words;
    for (size_t i = 0; i < kTrapGroups.size(); ++i) {
      if (has(static_cast<TrapGroup>(i))) words.push_back(kTrapGroups[i]);
    }
    return words;
  }

 private:
  static constexpr unsigned bit(TrapGroup group) { return 1U << static_cast<unsigned>(group); }
  unsigned bits_ = 0;
};

// What a layer that judges unix sockets needs. Moved names are another question (plan.cc).
inline constexpr TrapSet kUnixSocketTraps{TrapGroup::sockets, TrapGroup::socket_creation};
// The same of all classes, in the order of their numbers.
inline constexpr std::array<TrapSet, policy::kClasses> kClassTraps = {kUnixSocketTraps};
static_assert(std::ranges::none_of(kClassTraps, &TrapSet::empty));

// A call under one name on every architecture.
enum class Call : uint8_t {
  connect,
  bind,
  listen,
  socket,
  socketpair,
  rename,
  renameat,
  renameat2,
  link,
  linkat,
  symlink,
  symlinkat,
};

struct Trap {
  int number;
  Call call;
  TrapGroup group;
  const char* operation;  // what records call it
};

inline constexpr Trap kTraps[] = {
    {__NR_connect, Call::connect, TrapGroup::sockets, "connect"},
    {__NR_bind, Call::bind, TrapGroup::sockets, "bind"},
    {__NR_listen, Call::listen, TrapGroup::sockets, "listen"},
    {__NR_socket, Call::socket, TrapGroup::socket_creation, "socket"},
    {__NR_socketpair, Call::socketpair, TrapGroup::socket_creation, "socketpair"},
#ifdef __x86_64__  // aarch64 has the newer forms alone
    {__NR_rename, Call::rename, TrapGroup::rename_link, "rename"},
    {__NR_link, Call::link, TrapGroup::rename_link, "link"},
    {__NR_symlink, Call::symlink, TrapGroup::rename_link, "symlink"},
#endif
    {__NR_renameat, Call::renameat, TrapGroup::rename_link, "rename"},
    {__NR_renameat2, Call::renameat2, TrapGroup::rename_link, "rename"},
    {__NR_linkat, Call::linkat, TrapGroup::rename_link, "link"},
    {__NR_symlinkat, Call::symlinkat, TrapGroup::rename_link, "symlink"},
};

// nullptr: no group has this number.
[[nodiscard]] constexpr const Trap* find_trap(int number) {
  const Trap* trap = std::ranges::find(kTraps, number, &Trap::number);
  return trap == std::end(kTraps) ? nullptr : trap;
}

}  // namespace wrapd::plan
