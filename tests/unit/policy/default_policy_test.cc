// SPDX-License-Identifier: Apache-2.0

// What the vendor's policy promises, asked of the file that is installed.

#include <gtest/gtest.h>

#include "policy_testing.h"
#include "policyfile/lint.h"
#include "policyfile/load.h"

namespace wrapd::policy {

using namespace policyfile;  // NOLINT(google-build-using-namespace): of one test

namespace {

class DefaultPolicy : public testing::Test {
 protected:
  void SetUp() override {
    auto policy = load_policy_file(WRAPD_TEST_DEFAULT_POLICY, false);
    ASSERT_TRUE(policy) << policy.error().message;
    policy_ = *policy;
  }
  // The rule's name, with the verdict in front.
  static std::string ask(const Compiled& rules, Operation operation, const std::string& name) {
    auto v = name.starts_with('@') ? rules->judge(with_abstract(operation, name.substr(1)))
                                   : rules->judge(with_path(operation, name));
    return std::string(to_string(v.verdict)) + " " + (v.rule ? std::string(rules.rule(*v.rule).name) : "unlisted");
  }
  Policy policy_;
};

TEST_F(DefaultPolicy, IsEnforcedAndExplainsItsDenials) {
  EXPECT_EQ(policy_.name, "default");
  EXPECT_EQ(policy_.mode_of(Class::unix_socket), Mode::enforce);
  EXPECT_TRUE(policy_.judges(Class::unix_socket));
  // Stock kernels of Debian 12 have no Landlock scopes.
  EXPECT_TRUE(policy_.monitor_unsupported);
  for (const auto& rule : *policy_.of(Class::unix_socket).rules) {
    EXPECT_EQ(rule.guidance.empty(), rule.decision == Verdict::allow) << rule.name;
  }
}

TEST_F(DefaultPolicy, NobodyWhoStartsPrograms) {
  Compiled rules(policy_);
  const std::pair<const char*, const char*> cases[] = {
      {"/run/docker.sock", "no-docker"},
      {"/run/user/1001/docker.sock", "no-docker"},
      {"/home/alice/.docker/run/docker.sock", "no-docker"},
      {"/run/podman/podman.sock", "no-podman"},
      {"/run/user/1001/podman/podman.sock", "no-podman"},
      {"/run/containerd/containerd.sock", "no-containers"},
      {"/run/crio/crio.sock", "no-containers"},
      {"/run/buildkit/buildkitd.sock", "no-buildkit"},
      {"/var/lib/lxd/unix.socket", "no-machines"},
      {"/var/lib/incus/unix.socket", "no-machines"},
      {"/run/libvirt/libvirt-sock", "no-machines"},
      {"/run/systemd/private", "no-systemd"},
      {"/run/user/1001/systemd/private", "no-systemd"},
      {"/run/user/1001/bus", "no-session-bus"},
      {"@/tmp/dbus-Ab12", "no-session-bus"},
      {"/run/dbus/system_bus_socket", "no-system-bus"},
      {"/run/snapd.socket", "no-package-services"},
      {"/tmp/tmux-1001/default", "no-multiplexer"},
      {"/run/screen/S-alice/123.pts-0", "no-multiplexer"},
      {"/tmp/.X11-unix/X0", "no-display"},
      {"@/tmp/.X11-unix/X0", "no-display"},
      {"/run/user/1001/wayland-0", "no-display"},
      {"/run/user/1001/pipewire-0", "no-sound"},
      {"/tmp/ssh-XXXX/agent.17", "no-ssh-agent"},
      {"/run/user/1001/keyring/ssh", "no-ssh-agent"},
      {"/run/user/1001/gnupg/S.gpg-agent", "no-gnupg"},
      {"/home/alice/.gnupg/S.gpg-agent", "no-gnupg"},
      {"/run/user/1001/vscode-ipc-1.sock", "no-editor"},
      {"/tmp/nvim.alice/x/nvim.1.0", "no-editor"},
      {"/tmp/pymp-abc/listener-x", "no-foreign-multiprocessing"},
      {"/run/wrapd/control", "unlisted"},
      {"/run/systemd/journal/stdout", "unlisted"},
      {"/run/systemd/io.system.ManagedOOM", "unlisted"},
      {"/var/run/postgresql/.s.PGSQL.5432", "unlisted"},
      {"@anything", "unlisted"},
      {"/tmp/somebody.sock", "unlisted"},
      {"/home/alice/p/other.sock", "unlisted"},
  };
  for (const auto& [name, rule] : cases) {
    EXPECT_EQ(ask(rules, Operation::connect, name), "deny " + std::string(rule)) << name;
  }
}

TEST_F(DefaultPolicy, NamesRealPaths) {
  for (const auto& remark : lint(policy_)) ADD_FAILURE() << remark.as_error();
}

TEST_F(DefaultPolicy, LookupsAndOwnSockets) {
  Compiled rules(policy_);
  for (const char* name : {"/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve",
                           "/run/systemd/userdb/io.systemd.DynamicUser", "/run/avahi-daemon/socket"}) {
    EXPECT_EQ(ask(rules, Operation::connect, name), "allow name-services") << name;
    EXPECT_EQ(ask(rules, Operation::bind, name), "deny unlisted") << name;
  }
  for (auto operation : {Operation::bind, Operation::listen}) {
    for (const char* name :
         {"/tmp/pymp-abc/listener-x", "/tmp/a", "/tmp/a/b", "/var/tmp/a", "/home/alice/p/s", "/home/alice/p/a/b"}) {
      EXPECT_EQ(ask(rules, operation, name), "allow own-sockets") << name;
    }
    for (const char* name : {"/home/alice/s", "/run/user/1001/x", "@x", "/home/alice/px"}) {
      EXPECT_EQ(ask(rules, operation, name), "deny unlisted") << name;
    }
    EXPECT_EQ(ask(rules, operation, "/tmp/.X11-unix/X7"), "deny no-display");
  }
}

TEST_F(DefaultPolicy, ADirectoryDoesNotOpenWhatIsDeniedInIt) {
  Variables v = alice();
  for (const char* cwd : {"/", "/run", "/run/user/1001", "/tmp"}) {
    v.cwd = cwd;
    Compiled rules(policy_, v);
    for (auto operation : {Operation::connect, Operation::bind, Operation::listen}) {
      EXPECT_EQ(ask(rules, operation, "/run/docker.sock"), "deny no-docker");
      EXPECT_EQ(ask(rules, operation, "/run/user/1001/bus"), "deny no-session-bus");
      EXPECT_EQ(ask(rules, operation, "/tmp/tmux-1001/default"), "deny no-multiplexer");
    }
  }
}

TEST_F(DefaultPolicy, NoAbstractNameIsReachable) {
  EXPECT_FALSE(Compiled(policy_).sockets().allows_any_abstract());
}

}  // namespace
}  // namespace wrapd::policy
