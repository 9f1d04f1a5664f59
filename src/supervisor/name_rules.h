// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the rules say of names that are made, moved or taken away. A socket that may not be connected to must not come
// to a name under which it might be, and what leads to a denied name stays what it is.

#include <sys/stat.h>

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "policy/layers.h"
#include "supervisor/identities.h"

namespace wrapd::supervisor {

class NameRules {
 public:
  NameRules(const policy::Layers& layers, const Identities& identities) : layers_(layers), identities_(identities) {}

  // The decision that forbids a socket that lives at `from` to be known as `to`, if any does.
  [[nodiscard]] std::optional<policy::Decision> forbids_socket(const std::string& from, const std::string& to) const;
  // True if no socket beneath `from` could be forbidden beneath `to`, as far as the rules alone tell.
  [[nodiscard]] bool never_forbids(const std::string& from, const std::string& to) const;
  // The decision about a directory that cannot be looked through, and so might hold such a socket. It names no rule.
  [[nodiscard]] policy::Decision unknown() const;

  struct Name {
    const std::string& last;  // element
    const std::string& path;  // in the session's root
    const struct stat& parent;
  };
  // The decision that keeps this name what it is, because it leads to a name that is denied, by whatever way the
  // program has come to it. `made`: what is to get the name, if something is: at a denied name itself there may be
  // nothing else than a socket that may be bound there.
  [[nodiscard]] std::optional<policy::Decision> keeps(const Name& name, std::optional<mode_t> made);

 private:
  // By the last elements of the names. One of a layer that has too many keeps all names.
  struct Kept {
    std::string last;
    std::string path;
    size_t layer;
    uint32_t rule;
    bool leads;
  };
  void learn_kept();
  [[nodiscard]] bool is_kept(const Name& name, const std::string& path) const;
  [[nodiscard]] bool may_be_made(const Kept& kept, std::optional<mode_t> made) const;
  [[nodiscard]] policy::Decision kept_by(size_t layer, std::optional<uint32_t> rule) const;

  const policy::Layers& layers_;
  const Identities& identities_;
  std::once_flag kept_once_;  // at the first call: a session's start costs nothing for each rule
  std::vector<Kept> kept_;    // sorted
  std::optional<policy::Decision> keeps_all_;
};

}  // namespace wrapd::supervisor
