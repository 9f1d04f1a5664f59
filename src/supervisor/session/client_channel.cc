// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/client_channel.h"

#include <cerrno>
#include <utility>

#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

constexpr size_t kMaxBytesWaiting = 2U << 20;
constexpr size_t kMaxMessage = 4096;

}  // namespace

void ClientChannel::close() {
  control_.reset();
  messages_.clear();
  summary_ = nullptr;
  bytes_ = 0;
}

ClientChannel::Said ClientChannel::read() {
  auto packet = wire::receive_packet(fd(), kMaxMessage, 0);
  if (!packet && packet.error().code == EAGAIN) return Said::nothing;
  if (!packet || packet->eof() || !wire::is_finish_request(packet->bytes)) return Said::left;
  return Said::wants_summary;
}

bool ClientChannel::push_event(std::string message) {
  if (bytes_ >= kMaxBytesWaiting) return false;
  push(std::move(message));
  return true;
}

void ClientChannel::push(std::string message) {
  if (!control_) return;
  bytes_ += message.size();
  messages_.push_back(std::move(message));
}

void ClientChannel::push_summary(std::string message) {
  if (!control_) return;
  if (summary_ != nullptr) {
    bytes_ = bytes_ - summary_->size() + message.size();
    *summary_ = std::move(message);
    return;
  }
  push(std::move(message));
  summary_ = &messages_.back();  // stays where it is while others come and go before and behind it
}

void ClientChannel::push_first(std::string message) {
  if (!control_) return;
  bytes_ += message.size();
  messages_.push_front(std::move(message));
}

// That `wrap` is gone is seen by read().
void ClientChannel::send_now(const std::string& message) {
  if (flush() && control_) (void)wire::send_packet(fd(), message, {}, true);
}

bool ClientChannel::flush() {
  while (waiting()) {
    auto sent = wire::send_packet(fd(), messages_.front(), {}, true);
    if (!sent && sent.error().code == EAGAIN) return false;
    if (!sent) {
      close();
      return true;
    }
    bytes_ -= messages_.front().size();
    if (summary_ == &messages_.front()) summary_ = nullptr;
    messages_.pop_front();
  }
  return true;
}

}  // namespace wrapd::supervisor
