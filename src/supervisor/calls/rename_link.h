// SPDX-License-Identifier: Apache-2.0
#pragma once

// rename(2), link(2), symlink(2) and their kin. Where sockets are judged by where they are, giving one another name is
// reaching for it: a socket that may not be connected to must not be moved, linked or carried in a directory to a name
// under which it might be. And the directories that lead to a denied name stay what they are: a link in the place of
// one would have the server outside make its socket somewhere else. Trapped only where a policy needs it
// (plan/plan.cc).

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/caller.h"
#include "supervisor/calls/socket.h"
#include "supervisor/handler.h"
#include "supervisor/named_object.h"
#include "supervisor/path_walk.h"

namespace wrapd::supervisor {

class NameHandler final : public Handler {
 public:
  explicit NameHandler(const SessionObjects& session);
  Outcome handle(const Caller& call, CallContext& context) override;

 private:
  // A name that a call makes, moves or takes away.
  struct End {
    Located parent;
    std::string last;   // what the kernel is told, relative to `parent`: with the slash that was written behind it
    std::string name;   // the plain element; empty if the last is none ("..", "/"), which the kernel always refuses
    std::string real;   // path of the end in the session's root
    Located object;     // not followed; without a descriptor where there is nothing yet
    int error = 0;      // why the object could not be looked at
    bool dead = false;  // the directory was removed: nothing is there, and nothing can be made
  };
  struct Arguments {
    const char* operation = "rename";
    int old_fd;
    uint64_t old_path;
    int new_fd;
    uint64_t new_path;
    unsigned flags = 0;
  };
  struct Paths {
    std::string old_path;
    Result<std::string> new_path;  // an error is told when the name is used, as in the kernel
  };
  // What is known of a call once it was looked at.
  struct Judged {
    Record record;
    std::optional<policy::Decision> forbidden;
  };
  using Turn = NamesLock::Turn;
  using Attempt = std::optional<Outcome>;  // nothing if the turn is to be taken again
  Attempt rename(const Caller& call, CallContext& context, const Arguments& arguments, Turn& turn);
  Attempt link(const Caller& call, CallContext& context, const Arguments& arguments, Turn& turn);
  Attempt symlink(const Caller& call, CallContext& context, const Arguments& arguments, Turn& turn);
  template <class Act>
  Attempt decide(const Caller& call, CallContext& context, Turn& turn, Judged judged, Act act);
  Outcome failed(const Caller& call, Record record, const Error& error);

  [[nodiscard]] Result<UniqueFd> open_start(const Caller& call, int fd);
  [[nodiscard]] Result<End> open_end(const Caller& call, int fd, const std::string& path);
  [[nodiscard]] static Result<Paths> copy_paths(const Caller& call, const Arguments& arguments);
  [[nodiscard]] Result<End> open_new_end(const Caller& call, const Arguments& arguments, const Paths& paths);
  [[nodiscard]] Result<Located> open_linked(const Caller& call, int fd, const std::string& path, unsigned flags);

  // The decision that forbids what lives at `from` to be known as `to`, if any does.
  [[nodiscard]] std::optional<policy::Decision> widening(const Located& object, const std::string& from,
                                                         const std::string& to);
  [[nodiscard]] std::optional<policy::Decision> socket_widening(const std::string& from, const std::string& to) const;
  [[nodiscard]] std::optional<policy::Decision> tree_widening(int directory, const std::string& from,
                                                              const std::string& to, int depth, int& budget);
  // True if nothing beneath `from` could be forbidden beneath `to`, as far as the rules alone tell.
  [[nodiscard]] bool never_widens(const std::string& from, const std::string& to) const;
  // The decision that keeps this name what it is, because it leads to a name that is denied, by whatever way the
  // program has come to it. `made`: what is to get the name, if something is: at a denied name itself there may be
  // nothing else than a socket that may be bound there.
  [[nodiscard]] std::optional<policy::Decision> keeps(const End& end, std::optional<mode_t> made);
  void learn_kept();
  [[nodiscard]] bool is_kept(const End& end, const std::string& path);
  [[nodiscard]] policy::Decision kept_by(size_t layer, int32_t rule) const;

  // What keeps() asks for, by the last elements of the names. One of a layer that has too many keeps all names.
  struct Kept {
    std::string last;
    std::string path;
    size_t layer;
    int32_t rule;
    bool leads;
  };

  SessionObjects session_;
  kernel::Objects& kernel_;
  PathWalk walk_;
  std::once_flag kept_once_;  // at the first call: a session's start costs nothing for each rule
  std::vector<Kept> kept_;    // sorted
  std::optional<policy::Decision> keeps_all_;
};

}  // namespace wrapd::supervisor
