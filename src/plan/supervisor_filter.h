// SPDX-License-Identifier: Apache-2.0
#pragma once

// The supervisor's own seccomp filter: an allow-list, made at build time so that no supervisor loads libseccomp. What
// is not listed in generate_supervisor_filter.cc kills the process (SIGSYS), calls of another architecture and x32
// calls too; clone3 answers ENOSYS, so that the C library makes threads by clone, whose flags can be checked.
//
// A supervisor that was taken over holds CAP_SYS_PTRACE. The list therefore has no exec, no ptrace, no
// process_vm_writev, no kill (only pidfd_send_signal), no change of ids, no mounts and namespaces, no executable
// memory, no io_uring and no further filter. Of new processes it has one kind alone, for which its maker stands still
// until it has ended, as with vfork(2), and which shares its memory. abort(3) ends with SIGSYS instead of SIGABRT.
//
// In a session of root's, tasks may have other ids than the session: its supervisor's filter also has what a thread
// needs to take effective ids and groups (kernel/credentials.h).
//
// Before it installs the filter, a supervisor has loaded everything it needs: dlopen(3) would need executable memory.
// Programs under a sanitizer or with coverage need more than the list has: kSupervisorFilterApplies is false there, and
// the supervisor says so instead of installing it.

#include <linux/filter.h>

#include "plan/supervisor_filter_program.h"  // generated: kSupervisorFilterApplies and both filters

namespace wrapd::plan {

static_assert(sizeof(kSupervisorFilter) / sizeof(sock_filter) <= BPF_MAXINSNS);
static_assert(sizeof(kRootSupervisorFilter) / sizeof(sock_filter) <= BPF_MAXINSNS);

}  // namespace wrapd::plan
