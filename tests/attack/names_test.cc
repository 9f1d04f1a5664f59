// SPDX-License-Identifier: Apache-2.0

// Names that sockets and directories get while a session goes on, by itself or by others outside.

#include <dirent.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <functional>

#include "arena.h"
#include "programs.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;

Result run_with(const Turns& turns, const std::function<void()>& outside, const Place& place, Story& story,
                const std::vector<Rule>& rules, const Program& program) {
  std::thread other([&] { turns.act(outside); });
  auto result = run_wrapped(place, story, rules, program, ours(), {true, true});
  turns.end();
  other.join();
  EXPECT_EQ(result.exit_status, 0);
  return result;
}

// The server restarts, and makes its socket again.
TEST(Denied, MadeAgainAfterTheStart) {
  for (bool by_file : {false, true}) {
    DeniedSocket scene;
    Turns turns;
    std::optional<Mounted> mount;
    make_directory(scene.place / "mount");
    UniqueFd(::open((scene.place / "file").c_str(), O_CREAT | O_CLOEXEC, 0644)).reset();
    if (!by_file) mount.emplace(scene.place / "kept", scene.place / "mount");
    if (!by_file && !*mount) GTEST_SKIP() << "no mounts here";
    Story story;
    auto again = [&] {
      scene.server.reset();
      ::unlink(scene.name.c_str());
      scene.server = std::make_unique<Server>(scene.name);
      if (by_file) mount.emplace(scene.name, scene.place / "file");
    };
    run_with(turns, again, scene.place, story, scene.rules(), [&](const Place& place, Story& told) {
      turns.let_outside_act();
      told.tell("by the mount", connect_to(place / (by_file ? "file" : "mount/s")));
      told.tell("by its name", connect_to(place / "kept/s"));
    });
    EXPECT_EQ(story.of("by the mount"), "EACCES") << by_file;
    EXPECT_EQ(story.of("by its name"), "EACCES");
    scene.server->settle();
    EXPECT_EQ(scene.server->reached(), 0U);
    mount.reset();
  }
}

// Its directory is put away, and a link leads where sockets may be reached.
TEST(Denied, DirectoryAboveIsKept) {
  DeniedSocket scene;
  Story story;
  run_wrapped(scene.place, story, scene.rules(),
              [](const Place& place, Story& told) {
                const std::string kept = place / "kept", other = place / "other";
                told.tell("move", outcome(::rename(kept.c_str(), other.c_str())));
                if (::mkdir(other.c_str(), 0700) < 0) ::_exit(1);
                told.tell("exchange", outcome(::syscall(SYS_renameat2, AT_FDCWD, other.c_str(), AT_FDCWD, kept.c_str(),
                                                        RENAME_EXCHANGE)));
                told.tell("replace", outcome(::rename(other.c_str(), kept.c_str())));
                if (::unlink((place / "kept/s").c_str()) < 0 || ::rmdir(kept.c_str()) < 0) ::_exit(1);
                told.tell("link", outcome(::symlink("open", kept.c_str())));
                told.tell("link of a link", outcome(::symlink("open", (place / "way").c_str())));
                told.tell("moved link", outcome(::rename((place / "way").c_str(), kept.c_str())));
                told.tell("linked link", outcome(::link((place / "way").c_str(), kept.c_str())));
                told.tell("directory again", outcome(::mkdir(kept.c_str(), 0700)));
                told.tell("elsewhere", outcome(::rename((place / "way").c_str(), (place / "way2").c_str())));
              },
              ours(), {true, true});
  for (const char* what : {"move", "exchange", "replace", "link", "moved link", "linked link"})
    EXPECT_EQ(story.of(what), "EACCES") << what;
  for (const char* what : {"link of a link", "directory again", "elsewhere"}) EXPECT_EQ(story.of(what), "ok") << what;
}

// " (deleted)" is what the kernel writes behind a name that is gone, and a name like any other.
TEST(Names, ThatLookDeleted) {
  Place place;
  make_directory(place / "open");
  make_directory(place / "kept");
  Server odd(place / "open/s (deleted)"), good(place / "open/g"), bad(place / "kept/s");
  Story story;
  auto rules = [&] { return std::vector<Rule>{{{place / "open/*"}, Verdict::allow}}; };
  run_wrapped(
      place, story, rules(),
      [](const Place& where, Story& told) {
        told.tell("connect", connect_to(where / "open/s (deleted)"));
        int held = ::open((where / "kept/s").c_str(), O_PATH);
        if (::unlink((where / "kept/s").c_str()) < 0) ::_exit(1);
        std::string name = "/proc/self/fd/" + std::to_string(held);
        told.tell("nameless", connect_to(name));
        told.tell("link",
                  outcome(::linkat(AT_FDCWD, name.c_str(), AT_FDCWD, (where / "open/l").c_str(), AT_SYMLINK_FOLLOW)));
        // A name that only says that it is the other's.
        if (::mknod((where / "kept/s (deleted)").c_str(), S_IFSOCK | 0666, 0) < 0) ::_exit(1);
        told.tell("nameless again", connect_to(name));
        told.tell("link again",
                  outcome(::linkat(AT_FDCWD, name.c_str(), AT_FDCWD, (where / "open/l").c_str(), AT_SYMLINK_FOLLOW)));
      },
      ours(), {true, true});
  EXPECT_EQ(story.of("connect"), "ok");
  EXPECT_EQ(story.of("nameless"), "EACCES");
  EXPECT_EQ(story.of("link"), "ENOENT");
  EXPECT_EQ(story.of("nameless again"), "EACCES");
  EXPECT_EQ(story.of("link again"), "ENOENT");
  bad.settle();
  EXPECT_EQ(bad.reached(), 0U);
}

// The same beneath a directory that the program has closed to itself, where no name can be looked up. The object has
// names left, all of them denied; the one that it was opened by is gone.
TEST(Names, ThatLookDeletedWhereNothingCanBeLookedUp) {
  Place place;
  make_directory(place / "top");
  make_directory(place / "top/kept");
  Server server(place / "top/kept/l"), good(place / "top/kept/good");
  ASSERT_EQ(::link((place / "top/kept/l").c_str(), (place / "top/kept/m").c_str()), 0);
  Story story;
  run_wrapped(place, story, {{{place / "top/kept/?"}, Verdict::deny}, {{"/**"}, Verdict::allow}},
              [](const Place& where, Story& told) {
                const std::string kept = where / "top/kept";
                int held = ::open((kept + "/l").c_str(), O_PATH);
                if (::unlink((kept + "/l").c_str()) < 0 || ::chdir(kept.c_str()) < 0) ::_exit(1);
                const std::string name = "/proc/self/fd/" + std::to_string(held);
                told.tell("before", connect_to(name));
                if (::chmod((where / "top").c_str(), 0) < 0) ::_exit(1);
                told.tell("closed", connect_to(name));
                told.tell("link", outcome(::linkat(AT_FDCWD, name.c_str(), AT_FDCWD, "another", AT_SYMLINK_FOLLOW)));
                told.tell("denied", connect_to("m"));
                told.tell("allowed", connect_to("good"));
                told.tell("bind", bind_to("new"));
              },
              ours(), {true, true});
  for (const char* what : {"before", "closed", "link", "denied"}) EXPECT_EQ(story.of(what), "EACCES") << what;
  for (const char* what : {"allowed", "bind"}) EXPECT_EQ(story.of(what), "ok") << what;
  server.settle();
  EXPECT_EQ(server.reached(), 0U);
}

// More than is ever searched, and what cannot be searched, where no rule tells one place from the other.
TEST(Moves, LargeAndClosedDirectoriesWhereNothingIsRuled) {
  expect_same_story(
      {},
      [](const Place& place) -> std::vector<Rule> {
        return {{{"/elsewhere/**"}, Verdict::deny}, {{place / "tree/kept/*"}, Verdict::ask}, {{"/**"}, Verdict::allow}};
      },
      [](const Place& place, Story& story) {
        if (::chdir(place.path().c_str()) < 0 || ::mkdir("large", 0700) < 0 || ::mkdir("closed", 0700) < 0 ||
            ::mkdir("closed/sub", 0) < 0) {
          ::_exit(1);
        }
        int large = ::open("large", O_PATH | O_DIRECTORY);
        for (int i = 0; i < 20'001; ++i) ::close(::openat(large, std::to_string(i).c_str(), O_CREAT | O_WRONLY, 0600));
        story.tell("large", outcome(::rename("large", "moved")));
        story.tell("closed", outcome(::rename("closed", "moved/closed")));
        story.tell("back", outcome(::rename("moved/closed", "closed")));
        if (::chmod("closed/sub", 0700) < 0) ::_exit(1);
      },
      {true, true});
}

}  // namespace
}  // namespace wrapd::attack
