// SPDX-License-Identifier: Apache-2.0
#pragma once

// The edge to sdbus-c++: an exception that leaves a callback of version 1.2 ends the process.

#include <sdbus-c++/Error.h>

#include <cstdio>
#include <exception>

#include "base/io.h"

namespace wrapd::daemon::bus {

// sd-bus's names for sending on a connection that has ended. That it has is told once, by who notices (bus_api.cc).
[[nodiscard]] inline bool is_disconnected(const sdbus::Error& error) {
  return error.getName() == "System.Error.ENOTCONN" || error.getName() == "org.freedesktop.DBus.Error.Disconnected";
}

// Runs `work`, which answers its own errors. What still escapes is a bug or a connection that cannot send: one line,
// and the service goes on. True if nothing escaped.
template <class Work>
bool no_throw(const char* what, Work&& work) noexcept {
  try {
    work();
    return true;
  } catch (const sdbus::Error& e) {
    if (is_disconnected(e)) return false;
    std::fprintf(stderr, "wrapd: D-Bus API, %s: %s\n", what, printable(e.what(), 256).c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "wrapd: D-Bus API, %s: %s\n", what, printable(e.what(), 256).c_str());
  } catch (...) {
    std::fprintf(stderr, "wrapd: D-Bus API, %s: unknown exception\n", what);
  }
  return false;
}

}  // namespace wrapd::daemon::bus
