// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/wrapctl/doctor/probe.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"
#include "config.h"

namespace wrapd::wrapctl {
namespace {

using doctor::Finding;
using doctor::Status;

enum class Where { here, child };  // child: the attempt confines itself, or could hang

struct Check {
  const char* name;
  Finding (*probe)();
  Where where;
  bool required;  // without it wrap does not work
};

constexpr Check kChecks[] = {
    {"versions", doctor::probe_versions, Where::child, false},
    {"seccomp-listener", doctor::probe_seccomp_listener, Where::child, true},
    {"wait-killable", doctor::probe_wait_killable, Where::child, true},
    {"sync-wake-up", doctor::probe_sync_wake_up, Where::child, false},
    {"addfd", doctor::probe_addfd, Where::child, false},
    {"landlock", doctor::probe_landlock, Where::child, true},
    {"landlock-scopes", doctor::probe_landlock_scopes, Where::child, false},
    {"pidfd-getfd", doctor::probe_pidfd_getfd, Where::child, false},
    {"read-memory", doctor::probe_read_memory, Where::child, false},
    {"pidfd-thread", doctor::probe_pidfd_thread, Where::child, false},
    {"peer-pidfd", doctor::probe_peer_pidfd, Where::here, false},
    {"yama", doctor::probe_yama, Where::here, true},
    {"openat2", doctor::probe_openat2, Where::here, true},
    {"memfd-sealing", doctor::probe_memfd_sealing, Where::here, true},
    {"control-socket", doctor::probe_control_socket, Where::here, true},
    {"bus", doctor::probe_bus, Where::here, false},
    {"api", doctor::probe_api, Where::here, false},
    {"polkit", doctor::probe_polkit, Where::here, false},
    {"units", doctor::probe_units, Where::here, false},
    {"journal", doctor::probe_journal, Where::here, false},
    {"policies", doctor::probe_policies, Where::here, false},
};

Colour colour_of(Status status) {
  switch (status) {
    case Status::ok:
      return Colour::green;
    case Status::fallback:
      return Colour::yellow;
    case Status::failed:
      break;
  }
  return Colour::red;
}

void print(const Check& check, const Finding& finding) {
  std::string name = check.name;
  std::string status(to_string(finding.status));
  name.resize(17, ' ');
  std::cout << name << painted(colour_of(finding.status), status) << std::string(10 - status.size(), ' ')
            << safe_text(finding.detail) << '\n';
  if (!finding.advice.empty()) std::cout << std::string(27, ' ') << "-> " << safe_text(finding.advice) << '\n';
  std::cout.flush();
}

int run(const Context& context) {
  bool usable = true;
  auto list = nlohmann::json::array();
  for (const auto& check : kChecks) {
    Finding finding = check.where == Where::child ? doctor::in_child(check.probe) : check.probe();
    if (check.required && finding.status == Status::failed) usable = false;
    if (!context.json) {
      print(check, finding);
      continue;
    }
    list.push_back({{"name", check.name},
                    {"status", to_string(finding.status)},
                    {"required", check.required},
                    {"detail", safe_text(finding.detail)},
                    {"advice", safe_text(finding.advice)}});
  }
  if (context.json) {
    print_json({{"version", WRAPD_VERSION}, {"usable", usable}, {"checks", list}});
  } else {
    std::cout << '\n'
              << (usable ? painted(Colour::green, "wrap can be used here")
                         : painted(Colour::red, "wrap cannot be used here"))
              << '\n';
  }
  return usable ? kOk : kDenied;
}

}  // namespace

void add_doctor(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("doctor", "try everything that wrap rests on, and say what to do about what fails");
  verb->footer(
      "Each thing is tried for real; among them a session is opened, in which nothing runs. ok: works.\n"
      "fallback: something else is in use for it. failed: cannot be used. Exit status: 0 wrap works,\n"
      "1 something that it needs failed, 2 doctor itself failed.");
  verb->callback([&context] { context.run = [&context] { return run(context); }; });
}

}  // namespace wrapd::wrapctl
