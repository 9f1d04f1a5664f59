// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whose rights a thread acts with. Linux keeps credentials per thread (credentials(7)); the C library, which changes
// those of all threads at once, is not asked.

#include <linux/capability.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace wrapd::kernel {

constexpr uint64_t capability_bit(int capability) {
  return uint64_t{1} << capability;
}

// The capabilities that the kernel may look at in what is done for a task: names of files, sockets of any family.
inline constexpr uint64_t kActingCapabilities = capability_bit(CAP_DAC_OVERRIDE) | capability_bit(CAP_DAC_READ_SEARCH) |
                                                capability_bit(CAP_FOWNER) | capability_bit(CAP_FSETID) |
                                                capability_bit(CAP_MKNOD) | capability_bit(CAP_NET_ADMIN) |
                                                capability_bit(CAP_NET_BIND_SERVICE) | capability_bit(CAP_SYS_RESOURCE);

// "CAP_FOWNER, CAP_MKNOD", of these.
[[nodiscard]] std::string names_of_capabilities(uint64_t capabilities);

// What a permission check looks at, and what a peer sees: effective ids, groups, capabilities that are in effect.
struct Credentials {
  uid_t uid = static_cast<uid_t>(-1);
  uid_t fs_uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  gid_t fs_gid = static_cast<gid_t>(-1);
  std::vector<gid_t> groups;  // ascending, as the kernel keeps them
  uint64_t capabilities = 0;  // of kActingCapabilities
  bool operator==(const Credentials&) const = default;
};

// All of a task's: /proc/TID/status (proc_pid_status(5)).
struct TaskCredentials {
  std::array<uid_t, 4> uids{};  // real, effective, saved, file system
  std::array<gid_t, 4> gids{};
  std::vector<gid_t> groups;
  uint64_t permitted = 0;
  uint64_t effective = 0;
  bool no_new_privs = false;

  [[nodiscard]] Credentials acting() const;
  // True if the task cannot change what acting() says, nor can what it executes: there is no other id that it could
  // take, no capability that would let it, and no_new_privs.
  [[nodiscard]] bool settled() const;
};

// "uid 1000, gid 1000", and what differs from them.
[[nodiscard]] std::string text_of(const Credentials& credentials);

// Capabilities of the calling thread.
struct ThreadCapabilities {
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
};
[[nodiscard]] Result<ThreadCapabilities> read_capabilities();
[[nodiscard]] int write_capabilities(const ThreadCapabilities& capabilities);  // 0 or -errno

// Gives the calling thread, and no other, these credentials, and keeps its real and saved ids and its permitted
// capabilities. On an error the thread has something in between and must end.
[[nodiscard]] Result<> act_as(const Credentials& credentials);

// Puts a capability in effect in the calling thread for a scope, if it is permitted and not in effect anyway. A failure
// to take it out again would leave every later call privileged: that ends the process.
class Raised {
 public:
  // `process`: what the process began with. A thread that act_as() changed knows its own.
  Raised(const ThreadCapabilities& process, int capability);
  ~Raised();
  Raised(const Raised&) = delete;
  Raised& operator=(const Raised&) = delete;

 private:
  ThreadCapabilities before_;
  bool active_ = false;
};

}  // namespace wrapd::kernel
