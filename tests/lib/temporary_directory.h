// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/unique_fd.h"

namespace wrapd::test {

// An empty directory with a real path, by itself in `parent`; it goes with all that is in it at the end.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& parent = "/tmp", mode_t mode = 0700) {
    std::string name = parent + "/wrapd-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr || ::chmod(name.c_str(), mode) < 0) {
      std::perror(name.c_str());
      std::abort();
    }
    path_ = std::filesystem::canonical(name);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;  // what is left is found by scripts/lib/footprint
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Of the directory itself; closed with it.
  [[nodiscard]] int fd() const {
    if (!fd_) fd_.reset(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd_.get();
  }

 private:
  std::string path_;
  mutable UniqueFd fd_;
};

}  // namespace wrapd::test
