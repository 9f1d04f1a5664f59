// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <thread>

#include "base/unique_fd.h"

namespace wrapd::daemon {

// A FUSE file system whose server takes each request and never answers: who asks it sleeps where SIGKILL does not wake.
// The mount lies in a mount namespace of this process's own; who waits is let go at the end.
class HungFileSystem {
 public:
  explicit HungFileSystem(const std::string& directory) : directory_(directory) {
    static const bool kOwnNamespace =
        ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    device_.reset(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!kOwnNamespace || !device_) return;
    const std::string options =
        "fd=" + std::to_string(device_.get()) + ",rootmode=40000,user_id=0,group_id=0,allow_other";
    mounted_ = ::mount("hung", directory.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
    if (::pipe2(stop_, O_CLOEXEC) == 0 && mounted_) server_ = std::thread([this] { serve(); });
  }
  ~HungFileSystem() {
    if (server_.joinable()) {
      EXPECT_EQ(::write(stop_[1], "x", 1), 1);
      server_.join();
    }
    if (mounted_) {
      EXPECT_EQ(::umount2(directory_.c_str(), MNT_DETACH), 0);
    }
    for (int fd : stop_) ::close(fd);
  }
  HungFileSystem(const HungFileSystem&) = delete;
  HungFileSystem& operator=(const HungFileSystem&) = delete;
  [[nodiscard]] bool mounted() const { return mounted_; }

 private:
  void serve() const {
    std::array<char, 1 << 17> request;
    for (;;) {
      pollfd polls[] = {{.fd = device_.get(), .events = POLLIN, .revents = 0},
                        {.fd = stop_[0], .events = POLLIN, .revents = 0}};
      if (::poll(polls, 2, -1) < 0 || polls[1].revents != 0) return;
      if (::read(device_.get(), request.data(), request.size()) < static_cast<ssize_t>(sizeof(fuse_in_header))) return;
      fuse_in_header in;
      std::memcpy(&in, request.data(), sizeof in);
      if (in.opcode != FUSE_INIT) continue;
      struct {
        fuse_out_header header;
        fuse_init_out init;
      } out{};
      out.header = {.len = sizeof out, .error = 0, .unique = in.unique};
      out.init.major = FUSE_KERNEL_VERSION;
      out.init.minor = 31;
      out.init.max_write = 65536;
      if (::write(device_.get(), &out, sizeof out) < 0) return;
    }
  }

  std::string directory_;
  UniqueFd device_;
  int stop_[2] = {-1, -1};
  bool mounted_ = false;
  std::thread server_;
};

}  // namespace wrapd::daemon
