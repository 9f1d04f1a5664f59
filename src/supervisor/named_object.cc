// SPDX-License-Identifier: Apache-2.0
#include "supervisor/named_object.h"

#include <string_view>
#include <utility>

namespace wrapd::supervisor {
namespace {

constexpr std::string_view kGone = " (deleted)";
constexpr int kTries = 4;  // while directories on the way are moved

}  // namespace

ForTarget<NamedObject> NamedObject::of(kernel::Objects& kernel, int root, Located located) {
  if (located.st.st_nlink == 0) return target_errno(ENOENT);
  for (int i = 0; i < kTries; ++i) {
    auto text = kernel.real_path(located.fd.get());
    if (!text || !text->starts_with('/')) break;
    struct stat found {};
    int rc = kernel.stat_at(root, *text == "/" ? "." : text->c_str() + 1, found);
    if (rc == 0 && found.st_dev == located.st.st_dev && found.st_ino == located.st.st_ino) {
      return NamedObject(std::move(located), std::move(*text));
    }
    // A program may work in a directory to which it could not come by name. Of the root's own mount the kernel's text
    // is the name, unless it may be one that is gone: an object that was unlinked can have other names left.
    if (rc == -EACCES && !text->ends_with(kGone) && kernel.mount_id(located.fd.get()) == kernel.mount_id(root)) {
      return NamedObject(std::move(located), std::move(*text));
    }
  }
  return refusal("object has no name in the session's root");
}

std::string NamedObject::beneath(const std::string& name) const {
  return path_ == "/" ? "/" + name : path_ + "/" + name;
}

}  // namespace wrapd::supervisor
