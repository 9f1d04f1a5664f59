// SPDX-License-Identifier: Apache-2.0
#pragma once

// What is judged is a name, and what is acted on is an object. Here the two come together: an object that we hold, with
// the name that leads to it in the session's root. The text that the kernel gives for a descriptor is no such name by
// itself: an object that was unlinked, that lies in another mount namespace, in a detached tree or outside of our root
// has a text as well, and a file may really be called "x (deleted)". So the name is looked up, and must lead back.

#include <string>

#include "kernel/kernel.h"
#include "supervisor/path_walk.h"

namespace wrapd::supervisor {

class NamedObject {
 public:
  // ENOENT for an object that has no name any more; a refusal for one that has none in the session's root.
  [[nodiscard]] static ForTarget<NamedObject> of(kernel::Objects& kernel, int root, Located located);

  [[nodiscard]] int fd() const { return located_.fd.get(); }  // O_PATH
  [[nodiscard]] const struct stat& st() const { return located_.st; }
  [[nodiscard]] const std::string& path() const { return path_; }  // real: absolute, without links
  // The path of what is called `name` in this directory.
  [[nodiscard]] std::string beneath(const std::string& name) const;
  [[nodiscard]] const Located& located() const { return located_; }
  [[nodiscard]] Located release() && { return std::move(located_); }

 private:
  NamedObject(Located located, std::string path) : located_(std::move(located)), path_(std::move(path)) {}
  Located located_;
  std::string path_;
};

}  // namespace wrapd::supervisor
