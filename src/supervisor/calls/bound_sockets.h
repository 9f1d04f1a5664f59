// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where each socket that was bound by name in the session lives, so that listen can be judged by it. One that has been
// closed is forgotten: its file, which is held, has no socket any more. Those that live are bounded: once one of them
// fell out, no socket that is not known may listen. Until then such a one was inherited bound, and is judged by the
// name it reports.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "kernel/kernel.h"

namespace wrapd::supervisor {

class BoundSockets {
 public:
  explicit BoundSockets(kernel::Objects& kernel) : kernel_(kernel) {}

  // A bind that is on its way, from before it is made, or a listen of another thread's could come between it and its
  // outcome. If nothing else is said the socket was not bound.
  class Binding {
   public:
    Binding(BoundSockets& sockets, int socket);
    ~Binding();
    Binding(const Binding&) = delete;
    Binding& operator=(const Binding&) = delete;
    // At the judged path, and by which file (O_PATH) it is known that it was closed.
    void bound_at(std::string path, UniqueFd file);
    // By a name that was not judged: nothing may listen there.
    void tampered_with() { path_.emplace(); }

   private:
    BoundSockets& sockets_;
    uint64_t cookie_;
    std::optional<std::string> path_;
    UniqueFd file_;
  };

  // What listen needs to know of one.
  struct Known {
    bool fell_out = false;
    std::string path;  // empty: being bound, or the bind was tampered with
  };
  [[nodiscard]] std::optional<Known> recall(int socket);

 private:
  struct Bound {
    uint64_t cookie = 0;  // SO_COOKIE; 0 stands for the ones that fell out
    std::string path;     // as in Known
    int binding = 0;      // binds on their way
    bool bound = false;
    UniqueFd file{};  // none if it is not known to be the socket's
  };
  void begin(uint64_t cookie);
  void end(uint64_t cookie, std::optional<std::string> path, UniqueFd file);
  [[nodiscard]] uint64_t cookie_of(int socket);
  [[nodiscard]] Bound* find(uint64_t cookie);
  void forget_closed();

  kernel::Objects& kernel_;
  std::mutex lock_;
  std::deque<Bound> bound_;
  size_t look_again_at_ = 16;  // entries: then the closed ones are looked for
  bool forgotten_ = false;
};

}  // namespace wrapd::supervisor
