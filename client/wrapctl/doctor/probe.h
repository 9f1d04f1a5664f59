// SPDX-License-Identifier: Apache-2.0
#pragma once

// `wrapctl doctor` tries each thing that wrapd rests on for real. A probe is a function without arguments; the table in
// doctor.cc names them all, and what it is needed for.

#include <cstdint>
#include <string>
#include <string_view>

namespace wrapd::wrapctl::doctor {

enum class Status : uint8_t {
  failed,    // cannot be used
  fallback,  // something else is in use for it
  ok,
};
[[nodiscard]] std::string_view to_string(Status status);

struct Finding {
  Status status = Status::failed;
  std::string detail;  // what was found; which fallback is in use
  std::string advice;  // what to do about it; empty if nothing
};
[[nodiscard]] Finding ok(std::string detail);
[[nodiscard]] Finding fallback(std::string detail, std::string advice);
[[nodiscard]] Finding failed(std::string detail, std::string advice);
// "WHAT: strerror".
[[nodiscard]] std::string with_errno(std::string_view what, int error);

// Runs `probe` in a child process that may confine itself, hang or die, and gives its finding. 5 seconds.
[[nodiscard]] Finding in_child(Finding (*probe)());

// kernel
[[nodiscard]] Finding probe_seccomp_listener();
[[nodiscard]] Finding probe_wait_killable();
[[nodiscard]] Finding probe_sync_wake_up();
[[nodiscard]] Finding probe_addfd();
[[nodiscard]] Finding probe_pidfd_getfd();
[[nodiscard]] Finding probe_read_memory();
[[nodiscard]] Finding probe_pidfd_thread();
[[nodiscard]] Finding probe_peer_pidfd();
[[nodiscard]] Finding probe_landlock();
[[nodiscard]] Finding probe_landlock_scopes();
[[nodiscard]] Finding probe_openat2();
[[nodiscard]] Finding probe_memfd_sealing();
[[nodiscard]] Finding probe_yama();

// service
[[nodiscard]] Finding probe_control_socket();
[[nodiscard]] Finding probe_bus();
[[nodiscard]] Finding probe_api();
[[nodiscard]] Finding probe_polkit();
[[nodiscard]] Finding probe_units();
[[nodiscard]] Finding probe_journal();
[[nodiscard]] Finding probe_policies();
[[nodiscard]] Finding probe_versions();

// The same of other places than this system's, for the tests.
[[nodiscard]] Finding examine_control_socket(const std::string& path);
[[nodiscard]] Finding examine_yama(const std::string& file, bool is_root);
[[nodiscard]] Finding examine_policies(const std::string& config_directory, const std::string& vendor_directory);

}  // namespace wrapd::wrapctl::doctor
