// SPDX-License-Identifier: Apache-2.0
#pragma once

// The control channel to `wrap`: what is sent over it, and in which order. What it does not read waits, bounded.

#include <cstddef>
#include <deque>
#include <string>

#include "base/unique_fd.h"

namespace wrapd::supervisor {

class ClientChannel {
 public:
  explicit ClientChannel(UniqueFd control) : control_(std::move(control)) {}

  [[nodiscard]] int fd() const { return control_.get(); }  // -1: `wrap` is gone
  [[nodiscard]] bool is_open() const { return static_cast<bool>(control_); }
  [[nodiscard]] bool waiting() const { return !messages_.empty(); }
  void close();

  enum class Said { nothing, wants_summary, left };
  // What came. What is no message counts as the end; the channel is left open.
  [[nodiscard]] Said read();

  // False if too much waits already.
  [[nodiscard]] bool push_event(std::string message);
  // One waits at most: asked for again before it was sent, it takes the place of the one before.
  void push_summary(std::string message);
  void push_first(std::string message);
  // Sends only if `wrap` takes it at once: what waits behind other messages would be old when it is shown.
  void send_now(const std::string& message);
  // True if nothing waits any more.
  bool flush();

 private:
  void push(std::string message);

  UniqueFd control_;
  std::deque<std::string> messages_;
  std::string* summary_ = nullptr;  // the one of the messages, while it waits
  size_t bytes_ = 0;
};

}  // namespace wrapd::supervisor
