// SPDX-License-Identifier: Apache-2.0
#pragma once

// rename(2), link(2), symlink(2) and their kin. Where sockets are judged by where they are, giving one another name is
// reaching for it: a socket that may not be connected to must not be moved, linked or carried in a directory to a name
// under which it might be. And the directories that lead to a denied name stay what they are: a link in the place of
// one would have the server outside make its socket somewhere else. Trapped only where a policy needs it
// (plan/plan.cc).

#include <optional>
#include <string>

#include "supervisor/caller.h"
#include "supervisor/gate.h"
#include "supervisor/handler.h"
#include "supervisor/path_walk.h"

namespace wrapd::supervisor {

class RenameLinkHandler final : public Handler {
 public:
  explicit RenameLinkHandler(const SessionObjects& session);
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
  enum class Kind { rename, link, symlink };
  struct Arguments {
    Kind kind;
    int old_fd;
    uint64_t old_path;
    int new_fd;
    uint64_t new_path;
    unsigned flags = 0;
  };
  using Turn = NamesLock::Turn;
  using Attempt = std::optional<Outcome>;  // nothing if the turn is to be taken again
  // A call whose names were looked up. `from` has no parent where it is what is linked to, and is empty where that is a
  // text only.
  struct Move {
    const Caller& call;
    GatedCall& gated;
    Turn& turn;
    const Arguments& arguments;
    const std::string& old_path;
    End from;
    End to;
  };
  [[nodiscard]] static ForTarget<Arguments> arguments_of(const Caller& call);
  Attempt attempt(const Caller& call, CallContext& context, const Arguments& arguments, Turn& turn);
  Attempt rename(Move& move);
  Attempt link(Move& move);
  Attempt symlink(Move& move);
  template <class Act>
  Attempt decide(Move& move, const std::optional<policy::Decision>& forbidden, Act act);

  [[nodiscard]] ForTarget<UniqueFd> open_start(const Caller& call, int fd);
  [[nodiscard]] ForTarget<End> open_old(const Caller& call, const Arguments& arguments, const std::string& path);
  [[nodiscard]] ForTarget<End> open_end(const Caller& call, int fd, const std::string& path);
  [[nodiscard]] ForTarget<Located> open_linked(const Caller& call, int fd, const std::string& path, unsigned flags);

  // The decision that forbids what lives at `from` to be known as `to`, if any does.
  [[nodiscard]] std::optional<policy::Decision> forbids(const Located& object, const std::string& from,
                                                        const std::string& to);
  [[nodiscard]] std::optional<policy::Decision> forbids_tree(int directory, const std::string& from,
                                                             const std::string& to, int depth, int& budget);
  [[nodiscard]] std::optional<policy::Decision> forbids_entry(int directory, const char* name, const std::string& from,
                                                              const std::string& to, int depth, int& budget);
  [[nodiscard]] std::optional<policy::Decision> keeps(const End& end, std::optional<mode_t> made);

  SessionObjects session_;
  kernel::Objects& kernel_;
  PathWalk walk_;
  Gate gate_;
};

}  // namespace wrapd::supervisor
