// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "audit/event.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::audit {

// Where events end. write() never waits: EAGAIN means later, any other error means this sink is away for now.
class Sink {
 public:
  virtual ~Sink() = default;
  [[nodiscard]] virtual Result<> write(const Event& event) = 0;
  // Writes what a sink holds of an event that write() took. Never waits; the same errors.
  [[nodiscard]] virtual Result<> flush() { return {}; }
};

// The journal, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): length-framed fields in one datagram, or in
// a sealed memfd if it is too long. Connects when first used and again when journald's socket has changed.
// `directory_fd` is an O_PATH descriptor of the directory of the socket, taken while our root was still our own; the
// sink owns it. `proc_fd_path` names descriptors of ours: "/proc/self/fd", or "." where that is the working directory.
class JournalSink final : public Sink {
 public:
  JournalSink(UniqueFd directory_fd, std::string socket_name, std::string proc_fd_path);
  [[nodiscard]] Result<> write(const Event& event) override;

 private:
  [[nodiscard]] Result<> connect_socket();
  UniqueFd directory_;
  std::string socket_name_;
  std::string proc_fd_path_;
  UniqueFd socket_;
};

// JSON lines to a descriptor (a file of the user's, or the service's stderr where there is no journal). A pipe that is
// full answers EAGAIN by poll(2), never waits. A line that a full disk or pipe cut goes on where it was cut.
class JsonLinesSink final : public Sink {
 public:
  explicit JsonLinesSink(UniqueFd fd) : fd_(std::move(fd)) {}
  ~JsonLinesSink() override;
  [[nodiscard]] Result<> write(const Event& event) override;
  [[nodiscard]] Result<> flush() override;

 private:
  UniqueFd fd_;
  std::string partial_;  // rest of a line
};

// The journal of this machine if there is one, else JSON lines on stderr. Call while root is still our own.
[[nodiscard]] std::unique_ptr<Sink> open_system_sink(std::string proc_fd_path);

// Holds what a sink could not take yet, in order and bounded; what does not fit is counted, and the count is recorded
// as an events_lost event as soon as the sink takes one again. What is left at the end is counted on stderr, in one
// line. Not thread-safe.
class Recorder {
 public:
  Recorder(std::unique_ptr<Sink> sink, size_t capacity);
  ~Recorder();
  // Answer the kernel first, then call this.
  void record(Event event);
  // Tries to write what waits. True if nothing waits any more.
  bool flush();
  [[nodiscard]] size_t waiting() const { return queue_.size(); }
  [[nodiscard]] uint64_t lost() const { return lost_total_; }  // since the start

 private:
  [[nodiscard]] Event lost_event() const;
  std::unique_ptr<Sink> sink_;
  size_t capacity_;
  std::deque<Event> queue_;
  uint64_t lost_unreported_ = 0;
  uint64_t lost_total_ = 0;
  std::string lost_session_;
};

}  // namespace wrapd::audit
