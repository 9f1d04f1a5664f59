// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "audit/budget.h"
#include "audit/sink.h"
#include "base/io.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"
#include "supervisor/session/broker_link.h"

namespace wrapd::supervisor {

// One session from the hand-off to the last task of its tree: the same code in a supervisor that the service started
// and in `wrap --standalone`. The calling thread becomes the monitor (see loop.h) and returns when it is over.
//
// Before the call, the process has the credentials that it acts with, the session's root, and /proc/self/fd (of its own
// procfs, not of one that the caller furnished) as its working directory.
struct SessionOptions {
  std::string id;
  uid_t uid = static_cast<uid_t>(-1);
  pid_t client_pid = 0;  // for the record
  std::string command;   // for the record
  std::string policy;    // for the record
  std::string mode;      // for the record
  std::string remarks;   // for the record: where the policy does less than its rules say

  std::vector<SealedMapping> rules;   // compiled policies: the administrator's first, then the user's profile
  UniqueFd listener;                  // seccomp_unotify(2), checked
  UniqueFd leader;                    // pidfd of the tree's first process
  UniqueFd control;                   // SOCK_SEQPACKET to `wrap`
  UniqueFd proc;                      // O_PATH: our own /proc
  UniqueFd root;                      // O_PATH: the session's root directory
  size_t waiting_calls = 1024;        // at once, each with a thread and some descriptors
  bool events = false;                // send each event to `wrap`, too
  std::unique_ptr<audit::Sink> sink;  // may be null: then nothing is recorded but what is sent to `wrap`
  // Where others write to the same sink, so that there are bounds to what it gets. Null: it is the user's own.
  std::unique_ptr<audit::Budget> budget;

  // Called once, when the next notification would be answered: tells `wrap` that it may start the command. An error
  // ends the session.
  std::function<Result<>()> acknowledge;
  // To the service: told of states, counters, denials and questions; obeyed. Borrowed; nullptr: there is no service,
  // and nobody can be asked.
  BrokerLink* broker = nullptr;

  // A further descriptor to wait for (POLLIN), and what to do then; it must make it unreadable. -1: none.
  int watch_fd = -1;
  std::function<void()> on_watch;
};

// Error: the session could not be set up, and acknowledge() was not called or failed.
[[nodiscard]] Result<> run_session(SessionOptions options);

}  // namespace wrapd::supervisor
