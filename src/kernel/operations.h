// SPDX-License-Identifier: Apache-2.0
#pragma once

// Acting on a target's behalf, with the credentials of the calling thread.

#include <sys/socket.h>
#include <sys/types.h>

#include <span>

namespace wrapd::kernel {

// What a bind needs besides the socket: see Operations::bind_path().
struct BindRequest {
  // What stands for a descriptor of the target's in the name, as in "/proc/self/fd/7/s".
  struct Descriptor {
    int number;
    int directory;  // O_PATH
  };
  int socket;
  const sockaddr* address;  // as the target gave it
  socklen_t length;
  int directory;  // O_PATH: the target's working directory; -1 where the name does not start or lead there
  int parent;     // O_PATH: the judged directory in which alone the socket may come into being
  mode_t umask;
  std::span<const Descriptor> descriptors{};
};

class Operations {
 public:
  // `proc` is an O_PATH descriptor of our own /proc; borrowed. The working directory of the process must be
  // /proc/self/fd of that /proc before the first connect_object().
  explicit Operations(int proc) : proc_(proc) {}
  virtual ~Operations() = default;

  [[nodiscard]] virtual int connect(int socket, const sockaddr* address, socklen_t length);
  // Connects to exactly the socket file behind an O_PATH descriptor.
  [[nodiscard]] virtual int connect_object(int socket, int object);
  [[nodiscard]] virtual int bind(int socket, const sockaddr* address, socklen_t length);
  // Binds a pathname in a process of its own (which shares our memory), with the target's working directory and umask,
  // the target's descriptors that the name needs under their numbers, and a Landlock domain in which sockets can be
  // made beneath `parent` alone. The name is resolved in our root, which is the client's; "/proc/self" in it is that
  // process.
  [[nodiscard]] virtual int bind_path(const BindRequest& request);
  [[nodiscard]] virtual int listen(int socket, int backlog);

  [[nodiscard]] virtual int rename(int old_dir, const char* old_name, int new_dir, const char* new_name,
                                   unsigned flags);
  // linkat(2) of `name` in `old_dir`, not following; with an empty name, of the object behind `old_dir` itself.
  [[nodiscard]] virtual int link(int old_dir, const char* old_name, int new_dir, const char* new_name);
  [[nodiscard]] virtual int symlink(const char* target, int directory, const char* name);

 private:
  int proc_;
};

}  // namespace wrapd::kernel
