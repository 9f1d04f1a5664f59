// SPDX-License-Identifier: Apache-2.0
#include "kernel/operations.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "kernel/bind_process.h"
#include "kernel/system_call.h"

namespace wrapd::kernel {

int connect_to_object(int socket, int object) {
  // The working directory is /proc/self/fd: no name is looked up in a root that the caller may have furnished.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%d", object);
  return result(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address));
}

int Operations::connect(int socket, const sockaddr* address, socklen_t length) {
  return result(::connect(socket, address, length));
}

int Operations::connect_object(int socket, int object) {
  return connect_to_object(socket, object);
}

int Operations::bind(int socket, const sockaddr* address, socklen_t length) {
  return result(::bind(socket, address, length));
}

int Operations::bind_path(const BindRequest& request) {
  return bind_in_own_process(request);
}

int Operations::listen(int socket, int backlog) {
  return result(::listen(socket, backlog));
}

int Operations::rename(int old_dir, const char* old_name, int new_dir, const char* new_name, unsigned flags) {
  // The C library turns a call without flags into renameat(2), which our own filter does not know.
  return result(::syscall(SYS_renameat2, old_dir, old_name, new_dir, new_name, flags));
}

int Operations::link(int old_dir, const char* old_name, int new_dir, const char* new_name) {
  if (old_name[0] != '\0') return result(::linkat(old_dir, old_name, new_dir, new_name, 0));
  // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH; the descriptor's own link does not.
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "self/fd/%d", old_dir);
  return result(::linkat(proc_, name.data(), new_dir, new_name, AT_SYMLINK_FOLLOW));
}

int Operations::symlink(const char* target, int directory, const char* name) {
  return result(::symlinkat(target, directory, name));
}

}  // namespace wrapd::kernel
