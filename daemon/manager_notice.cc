// SPDX-License-Identifier: Apache-2.0
#include "daemon/manager_notice.h"

#include <systemd/sd-daemon.h>
#include <time.h>

#include <cstdint>
#include <cstdio>

#include "base/result.h"

namespace wrapd::daemon {
namespace {

void notify(const std::string& state) {
  if (int rc = sd_notify(0, state.c_str()); rc < 0) {
    const Error error = fail_errno("cannot notify the service manager", -rc).error();
    std::fprintf(stderr, "wrapd: %s\n", error.message.c_str());
  }
}

}  // namespace

void notify_ready(const std::string& status) {
  notify("READY=1\nSTATUS=" + status);
}

void notify_status(const std::string& status) {
  notify("STATUS=" + status);
}

// The time is what Type=notify-reload (systemd 253) tells this reload from an earlier one by.
void notify_reloading(const std::string& status) {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t microseconds =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
  notify("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(microseconds) + "\nSTATUS=" + status);
}

void notify_stopping(const std::string& status) {
  notify("STOPPING=1\nSTATUS=" + status);
}

}  // namespace wrapd::daemon
