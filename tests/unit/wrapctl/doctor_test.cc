// SPDX-License-Identifier: Apache-2.0
// Each probe is run where what it tries is missing: under a filter that refuses the call as an older kernel would, or
// that pretends to have done it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrapctl/doctor/probe.h"
#include "kernel/uapi.h"
#include "tests/lib/temporary_directory.h"
#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::wrapctl::doctor {
namespace {

using Probe = Finding (*)();

// Answers system call `number` with `action` where (low word of argument & mask) == value.
struct Interference {
  long number = 0;
  uint32_t action = SECCOMP_RET_ALLOW;
  uint32_t argument = 0;
  uint32_t mask = 0;  // 0 and value 0: always
  uint64_t value = 0;
};
constexpr uint32_t refuse(int error) {
  return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error);
}
constexpr uint32_t kPretend = SECCOMP_RET_ERRNO;  // "it worked", and nothing was done

Interference g_interference;
Probe g_probe;

int install(const Interference& with, unsigned long flags) {
  const auto argument = static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * with.argument);
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(with.number), 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, with.mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(with.value), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, with.action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog prog{static_cast<unsigned short>(std::size(program)), program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
  return static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog));
}

Finding interfered() {
  if (install(g_interference, 0) < 0) return failed("the test cannot install its filter", "");
  return g_probe();
}

Finding under(const Interference& with, Probe probe) {
  g_interference = with;
  g_probe = probe;
  return in_child(interfered);
}

bool available(Probe probe) {
  return in_child(probe).status == Status::ok;
}

#define NEEDS(probe) \
  if (!available(probe)) GTEST_SKIP() << "this kernel does not have it: " << in_child(probe).detail

void expect(const Finding& finding, Status status, std::string_view detail) {
  EXPECT_EQ(finding.status, status) << finding.detail;
  EXPECT_NE(finding.detail.find(detail), std::string::npos) << finding.detail;
  EXPECT_FALSE(finding.advice.empty()) << finding.detail;
}

TEST(Doctor, ListenerRefused) {
  NEEDS(probe_seccomp_listener);
  expect(under({SYS_seccomp, refuse(EINVAL)}, probe_seccomp_listener), Status::failed, "Invalid argument");
  expect(under({SYS_seccomp, refuse(EPERM)}, probe_seccomp_listener), Status::failed, "not permitted");
}

TEST(Doctor, AnotherSupervisorAboveUs) {
  NEEDS(probe_seccomp_listener);
  expect(
      in_child([] {
        if (install({.number = SYS_getpgid, .action = SECCOMP_RET_USER_NOTIF}, SECCOMP_FILTER_FLAG_NEW_LISTENER) < 0) {
          return failed("no listener", "");
        }
        return probe_seccomp_listener();
      }),
      Status::failed, "another supervisor");
}

TEST(Doctor, WaitKillableRefused) {
  NEEDS(probe_wait_killable);
  const Interference old{SYS_seccomp, refuse(EINVAL), 1, static_cast<uint32_t>(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
                         SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV};
  expect(under(old, probe_wait_killable), Status::failed, "Invalid argument");
  EXPECT_EQ(under(old, probe_seccomp_listener).status, Status::ok);
}

TEST(Doctor, SyncWakeUpRefused) {
  NEEDS(probe_sync_wake_up);
  const auto request = static_cast<uint32_t>(SECCOMP_IOCTL_NOTIF_SET_FLAGS);
  expect(under({SYS_ioctl, refuse(EINVAL), 1, ~0U, request}, probe_sync_wake_up), Status::fallback,
         "ordinary wake-ups");
}

TEST(Doctor, AddfdRefused) {
  NEEDS(probe_addfd);
  const auto request = static_cast<uint32_t>(SECCOMP_IOCTL_NOTIF_ADDFD);
  expect(under({SYS_ioctl, refuse(EINVAL), 1, ~0U, request}, probe_addfd), Status::failed, "hand a descriptor");
}

TEST(Doctor, AnswersThatGoNowhere) {
  NEEDS(probe_seccomp_listener);
  const auto request = static_cast<uint32_t>(SECCOMP_IOCTL_NOTIF_SEND);
  expect(under({SYS_ioctl, kPretend, 1, ~0U, request}, probe_seccomp_listener), Status::failed, "did not return");
}

TEST(Doctor, LookingIntoAChildRefused) {
  NEEDS(probe_pidfd_getfd);
  NEEDS(probe_read_memory);
  expect(under({SYS_pidfd_getfd, refuse(EPERM)}, probe_pidfd_getfd), Status::failed, "take a descriptor");
  expect(under({SYS_pidfd_getfd, kPretend}, probe_pidfd_getfd), Status::failed, "another descriptor");
  expect(under({SYS_process_vm_readv, refuse(EPERM)}, probe_read_memory), Status::failed, "read the memory");
  expect(under({SYS_process_vm_readv, kPretend}, probe_read_memory), Status::failed, "something else");
}

TEST(Doctor, PidfdsOfProcessesOnly) {
  NEEDS(probe_pidfd_thread);
  const auto flag = static_cast<uint32_t>(PIDFD_THREAD);
  expect(under({SYS_pidfd_open, refuse(EINVAL), 1, flag, flag}, probe_pidfd_thread), Status::fallback,
         "whole processes");
  expect(under({SYS_pidfd_open, refuse(EPERM)}, probe_pidfd_thread), Status::failed, "open a thread");
}

TEST(Doctor, NoPeerPidfd) {
  NEEDS(probe_peer_pidfd);
  expect(under({SYS_getsockopt, refuse(ENOPROTOOPT), 2, ~0U, SO_PEERPIDFD}, probe_peer_pidfd), Status::fallback,
         "pidfd_open");
}

TEST(Doctor, Landlock) {
  NEEDS(probe_landlock);
  expect(under({SYS_landlock_create_ruleset, refuse(EOPNOTSUPP)}, probe_landlock), Status::failed, "not in force");
  expect(under({SYS_landlock_create_ruleset, refuse(ENOSYS)}, probe_landlock), Status::failed, "not in force");
  expect(under({SYS_landlock_restrict_self, refuse(E2BIG)}, probe_landlock), Status::failed, "cannot enter");
  expect(under({SYS_landlock_restrict_self, kPretend}, probe_landlock), Status::failed, "denies nothing");
}

TEST(Doctor, LandlockScopes) {
  NEEDS(probe_landlock_scopes);
  expect(under({SYS_landlock_create_ruleset, refuse(E2BIG), 1, ~0U, sizeof(kernel::LandlockRulesetAttr)},
               probe_landlock_scopes),
         Status::fallback, "on_unsupported");
  expect(under({SYS_landlock_restrict_self, kPretend}, probe_landlock_scopes), Status::failed, "lets signals out");
}

TEST(Doctor, FilesAndMemory) {
  NEEDS(probe_openat2);
  NEEDS(probe_memfd_sealing);
  expect(under({SYS_openat2, refuse(ENOSYS)}, probe_openat2), Status::failed, "not implemented");
  expect(under({SYS_openat2, kPretend}, probe_openat2), Status::failed, "leaves the root");
  expect(under({SYS_memfd_create, refuse(ENOSYS)}, probe_memfd_sealing), Status::failed, "memfd");
  expect(under({SYS_fcntl, kPretend, 1, ~0U, 1033 /* F_ADD_SEALS */}, probe_memfd_sealing), Status::failed,
         "be changed");
}

TEST(Doctor, AnAttemptThatDies) {
  expect(under({SYS_openat2, SECCOMP_RET_KILL_PROCESS}, probe_openat2), Status::failed, "signal 31");
  expect(in_child([]() -> Finding { ::_exit(0); }), Status::failed, "told nothing");
}

class Place : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::string path = directory_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    ::chmod(path.c_str(), 0644);
    return path;
  }
  test::TemporaryDirectory temporary_{"/tmp", 0755};
  std::string directory_ = temporary_.path();
};

TEST_F(Place, Yama) {
  EXPECT_EQ(examine_yama(directory_ + "/none", false).status, Status::ok);
  EXPECT_EQ(examine_yama(write("0", "0\n"), false).status, Status::ok);
  EXPECT_EQ(examine_yama(write("1", "1\n"), false).status, Status::ok);
  EXPECT_EQ(examine_yama(write("2", "2\n"), true).status, Status::ok);
  expect(examine_yama(write("2", "2\n"), false), Status::fallback, "root only");
  expect(examine_yama(write("3", "3\n"), true), Status::failed, "nobody");
  expect(examine_yama(write("x", "x\n"), true), Status::failed, "cannot understand");
}

TEST_F(Place, Policies) {
  const std::string config = directory_ + "/etc";
  const std::string vendor = directory_ + "/usr";
  expect(examine_policies(config, vendor), Status::failed, "no policy");
  write("etc/policies/broken.yaml", "version: 1\nname: broken\nnonsense: 1\n");
  expect(examine_policies(config, vendor), Status::failed, "broken.yaml");
  write("etc/policies/broken.yaml", "version: 1\nname: broken\n");
  if (::geteuid() != 0) GTEST_SKIP() << "only what root owns is a policy";
  // A name in the administrator's directory replaces the vendor's file.
  write("usr/broken.yaml", "nonsense: 1\n");
  EXPECT_EQ(examine_policies(config, vendor).status, Status::ok) << examine_policies(config, vendor).detail;
  EXPECT_EQ(examine_policies(config, vendor).detail, "1 policy is valid");
  ASSERT_EQ(::symlink("usr", (directory_ + "/link").c_str()), 0);
  write("usr/links.yaml", "version: 1\nname: links\nunix_socket_rules:\n- {name: r, decision: deny, paths: ['" +
                              directory_ + "/link/*']}\n");
  expect(examine_policies(config, vendor), Status::fallback, "matches nothing; write");
  std::filesystem::remove(vendor + "/links.yaml");
  ::chmod(write("usr/open.yaml", "version: 1\nname: open\n").c_str(), 0666);
  expect(examine_policies(config, vendor), Status::failed, "open.yaml");
  std::filesystem::remove(vendor + "/open.yaml");
  write("etc/wrapd.yaml", "version: 7\n");
  expect(examine_policies(config, vendor), Status::failed, "wrapd.yaml:1:");
  write("etc/wrapd.yaml", "version: 1\naccess: [{users: ['*'], policies: [broken, gone], default: broken}]\n");
  expect(examine_policies(config, vendor), Status::failed, "wrapd.yaml:2:44: there is no policy 'gone'");
  std::filesystem::remove(config + "/wrapd.yaml");
  ASSERT_EQ(::symlink("nowhere", (config + "/wrapd.yaml").c_str()), 0);
  expect(examine_policies(config, vendor), Status::failed, "wrapd.yaml");
  std::filesystem::remove(config + "/wrapd.yaml");
  std::filesystem::remove_all(config + "/policies");
  ASSERT_EQ(::symlink("nowhere", (config + "/policies").c_str()), 0);
  expect(examine_policies(config, vendor), Status::failed, "/policies");
}

// A service that does one thing to the first who connects.
class Listener {
 public:
  Listener(const std::string& path, int type, std::function<void(int)> serve) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    socket_.reset(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket_.get(), 4), 0);
    if (serve == nullptr) return;
    thread_ = std::thread([this, serve = std::move(serve)] {
      UniqueFd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      serve(connection.get());
    });
  }
  ~Listener() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  UniqueFd socket_;
  std::thread thread_;
};

TEST_F(Place, ControlSocketThatIsNotThere) {
  expect(examine_control_socket(directory_ + "/none"), Status::failed, "cannot connect");
  write("file", "");
  expect(examine_control_socket(directory_ + "/file"), Status::failed, "refused");
  Listener stream(directory_ + "/stream", SOCK_STREAM, nullptr);
  Finding finding = examine_control_socket(directory_ + "/stream");
  expect(finding, Status::failed, "wrong type");
  EXPECT_NE(finding.advice.find("something else"), std::string::npos);
}

TEST_F(Place, ControlSocketThatRefuses) {
  Listener listener(directory_ + "/control", SOCK_SEQPACKET, [](int connection) {
    const std::string reply = wire::encode(wire::ErrorReply{.code = "confined", .message = "you are confined\x1b[31m"});
    EXPECT_TRUE(wire::send_packet(connection, reply, {}, false));
    std::array<char, 4096> request;
    EXPECT_GT(::recv(connection, request.data(), request.size(), 0), 0);
  });
  Finding finding = examine_control_socket(directory_ + "/control");
  expect(finding, Status::failed, "you are confined\\x1b");
}

TEST_F(Place, ControlSocketThatSaysNothing) {
  Listener listener(directory_ + "/control", SOCK_SEQPACKET, [](int connection) {
    std::array<char, 4096> request;
    EXPECT_GT(::recv(connection, request.data(), request.size(), 0), 0);
  });
  expect(examine_control_socket(directory_ + "/control"), Status::failed, "without an answer");
}

}  // namespace
}  // namespace wrapd::wrapctl::doctor
