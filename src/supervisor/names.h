// SPDX-License-Identifier: Apache-2.0
#pragma once

// rename(2) and link(2) and their kin. Where sockets are judged by where they are, giving one another name is reaching
// for it: a socket that may not be connected to must not be moved, linked or carried in a directory to a name under
// which it might be. Trapped only where a policy allows names in places where the caller can make them.

#include <string>

#include "supervisor/caller.h"
#include "supervisor/handler.h"
#include "supervisor/path_walk.h"
#include "supervisor/unix_socket.h"

namespace wrapd::supervisor {

class NameHandler final : public Handler {
 public:
  explicit NameHandler(const SessionObjects& session);
  Outcome handle(const Caller& call, CallContext& context) override;

 private:
  // One end of a rename or link.
  struct End {
    UniqueFd parent;   // O_PATH
    std::string last;  // plain element; empty: `object` itself is linked
    std::string real;  // path of the end in the session's root
    bool must_be_directory = false;
    UniqueFd object;  // O_PATH, not followed; invalid where there is nothing yet
    struct stat st {};
  };
  struct Arguments {
    const char* operation = "rename";
    int old_fd;
    uint64_t old_path;
    int new_fd;
    uint64_t new_path;
    unsigned flags = 0;
    bool is_link = false;
  };
  [[nodiscard]] Result<UniqueFd> open_start(const Caller& call, int fd);
  [[nodiscard]] Result<End> open_end(const Caller& call, int fd, const std::string& path, bool is_link);
  [[nodiscard]] Result<End> open_linked(const Caller& call, int fd, const std::string& path, unsigned flags);

  // The decision that forbids what lives at `from` to be known as `to`, if any does.
  [[nodiscard]] std::optional<policy::Decision> widening(const End& from, const std::string& to);
  [[nodiscard]] std::optional<policy::Decision> socket_widening(const std::string& from, const std::string& to) const;
  [[nodiscard]] std::optional<policy::Decision> tree_widening(int directory, const std::string& from,
                                                              const std::string& to, int depth, int& budget);
  [[nodiscard]] bool may_be_reached_beneath(const std::string& directory) const;

  SessionObjects session_;
  kernel::Objects& kernel_;
  PathWalk walk_;
};

}  // namespace wrapd::supervisor
