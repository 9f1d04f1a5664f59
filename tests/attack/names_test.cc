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
  auto result = run_wrapped(place, story, rules, program, ours(), kAllTraps);
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
  run_wrapped(
      scene.place, story, scene.rules(),
      [](const Place& place, Story& told) {
        const std::string kept = place / "kept", other = place / "other";
        told.tell("move", outcome(::rename(kept.c_str(), other.c_str())));
        if (::mkdir(other.c_str(), 0700) < 0) ::_exit(1);
        told.tell("exchange",
                  outcome(::syscall(SYS_renameat2, AT_FDCWD, other.c_str(), AT_FDCWD, kept.c_str(), RENAME_EXCHANGE)));
        told.tell("replace", outcome(::rename(other.c_str(), kept.c_str())));
        if (::unlink((place / "kept/s").c_str()) < 0 || ::rmdir(kept.c_str()) < 0) ::_exit(1);
        told.tell("link", outcome(::symlink("open", kept.c_str())));
        told.tell("link of a link", outcome(::symlink("open", (place / "way").c_str())));
        told.tell("moved link", outcome(::rename((place / "way").c_str(), kept.c_str())));
        told.tell("linked link", outcome(::link((place / "way").c_str(), kept.c_str())));
        told.tell("directory again", outcome(::mkdir(kept.c_str(), 0700)));
        told.tell("elsewhere", outcome(::rename((place / "way").c_str(), (place / "way2").c_str())));
      },
      ours(), kAllTraps);
  for (const char* what : {"move", "exchange", "replace", "link", "moved link", "linked link"})
    EXPECT_EQ(story.of(what), "EACCES") << what;
  for (const char* what : {"link of a link", "directory again", "elsewhere"}) EXPECT_EQ(story.of(what), "ok") << what;
}

// The same by a mount of the directory in another place, and by its own name.
TEST(Denied, DirectoryAboveIsKeptUnderItsOtherNames) {
  Place place;
  for (const char* name : {"home", "alias", "open", "other"}) make_directory(place / name);
  make_directory(place / "home/x");
  make_directory(place / "home/x/deep");
  Mounted mount(place / "home", place / "alias");
  if (!mount) GTEST_SKIP() << "no mounts here";
  Story story;
  run_wrapped(
      place, story, {{{place / "home/x/deep/s"}, Verdict::deny}, {{"/**"}, Verdict::allow}},
      [](const Place& where, Story& told) {
        const std::string x = where / "alias/x", other = where / "other", link = where / "link";
        told.tell("move", outcome(::rename(x.c_str(), (where / "alias/y").c_str())));
        told.tell("deep", outcome(::rename((x + "/deep").c_str(), (x + "/y").c_str())));
        told.tell("exchange",
                  outcome(::syscall(SYS_renameat2, AT_FDCWD, other.c_str(), AT_FDCWD, x.c_str(), RENAME_EXCHANGE)));
        told.tell("name made a link", outcome(::symlink("../../../open/s", (x + "/deep/s").c_str())));
        if (::rmdir((x + "/deep").c_str()) < 0 || ::rmdir(x.c_str()) < 0) ::_exit(1);
        told.tell("link", outcome(::symlink(where.path().c_str(), x.c_str())));
        if (::symlink(where.path().c_str(), link.c_str()) < 0) ::_exit(1);
        told.tell("moved link", outcome(::rename(link.c_str(), x.c_str())));
        told.tell("linked link", outcome(::link(link.c_str(), x.c_str())));
        // The same names elsewhere are others.
        told.tell("elsewhere", outcome(::symlink("nothing", (where / "other/x").c_str())));
        told.tell("elsewhere moved", outcome(::rename((where / "other/x").c_str(), (where / "other/deep").c_str())));
      },
      ours(), kAllTraps);
  for (const char* what : {"move", "deep", "name made a link", "link", "moved link", "linked link"})
    EXPECT_EQ(story.of(what), "EACCES") << what;
  EXPECT_EQ(story.of("exchange"), "EACCES");
  for (const char* what : {"elsewhere", "elsewhere moved"}) EXPECT_EQ(story.of(what), "ok") << what;
}

// A socket that is mounted on a file is carried like any other.
TEST(Denied, SocketMountedOnAFileIsNotCarriedIntoReach) {
  Place place;
  for (const char* name : {"no", "ok", "served"}) make_directory(place / name);
  make_directory(place / "no/tree");
  UniqueFd(::open((place / "no/tree/s").c_str(), O_CREAT | O_CLOEXEC, 0644)).reset();
  Server server(place / "served/s");
  Mounted mount(place / "served/s", place / "no/tree/s");
  if (!mount) GTEST_SKIP() << "no mounts here";
  Story story;
  run_wrapped(
      place, story, {{{place / "ok/**"}, Verdict::allow}},
      [](const Place& where, Story& told) {
        told.tell("move", outcome(::rename((where / "no/tree").c_str(), (where / "ok/tree").c_str())));
        told.tell("connect", connect_to(where / "ok/tree/s"));
      },
      ours(), kAllTraps);
  EXPECT_EQ(story.of("move"), "EACCES");
  server.settle();
  EXPECT_EQ(server.reached(), 0U);
}

// A server makes its socket again, and the name that is denied a second name of it; then the program closes the
// directory, so that the denied name leads nowhere.
TEST(Denied, ClosingTheDirectoryHidesNothing) {
  for (bool hard : {true, false}) {
    DeniedSocket scene;
    Turns turns;
    Story story;
    std::unique_ptr<Server> again;
    auto outside = [&] {
      again = std::make_unique<Server>(scene.place / "open/again");
      ::unlink(scene.name.c_str());
      const std::string made = scene.place / "open/again";
      EXPECT_EQ(hard ? ::link(made.c_str(), scene.name.c_str()) : ::symlink(made.c_str(), scene.name.c_str()), 0);
    };
    run_with(turns, outside, scene.place, story, scene.rules(), [&](const Place& place, Story& told) {
      told.tell("before", connect_to(place / "kept/s"));
      turns.let_outside_act();
      if (::chmod((place / "kept").c_str(), 0) < 0) ::_exit(1);
      told.tell("while closed", connect_to(place / "open/again"));
      if (::chmod((place / "kept").c_str(), 0755) < 0) ::_exit(1);
      told.tell("open again", connect_to(place / "open/again"));
    });
    for (const char* when : {"before", "while closed", "open again"}) EXPECT_EQ(story.of(when), "EACCES") << when;
    again->settle();
    EXPECT_EQ(again->reached(), 0U) << hard;
  }
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
      ours(), kAllTraps);
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
  run_wrapped(
      place, story, {{{place / "top/kept/?"}, Verdict::deny}, {{"/**"}, Verdict::allow}},
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
      ours(), kAllTraps);
  for (const char* what : {"before", "closed", "link", "denied"}) EXPECT_EQ(story.of(what), "EACCES") << what;
  // Of another mount than the root's the kernel's text is not believed.
  auto mount_of = [](const std::string& path) {
    struct statx stx {};
    EXPECT_EQ(::statx(AT_FDCWD, path.c_str(), 0, STATX_MNT_ID, &stx), 0);
    return stx.stx_mnt_id;
  };
  const char* expected = mount_of(place / ".") == mount_of("/") ? "ok" : "EACCES";
  for (const char* what : {"allowed", "bind"}) EXPECT_EQ(story.of(what), expected) << what;
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
      kAllTraps);
}

}  // namespace
}  // namespace wrapd::attack
