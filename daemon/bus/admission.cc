// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/admission.h"

#include <cstdio>
#include <utility>

namespace wrapd::daemon::bus {

bool Admission::stop(sd_bus_message* message) {
  if (sd_bus_message_is_method_call(message, nullptr, nullptr) <= 0) return false;
  const char* sender = sd_bus_message_get_sender(message);
  if (sender == nullptr || !raw::arguments_fit(message, kMaxArguments)) {
    refuse(message, "the call's arguments are too large");
    return true;
  }
  auto who = senders_.find(sender);
  if (!who) {
    hold(sender, message);
    return true;
  }
  const double cost = cost_(sd_bus_message_get_interface(message), sd_bus_message_get_member(message));
  // Root ends what others have started, also when some program of root's calls too often.
  if (who->uid != 0 && !rates_.take(who->uid, cost, Rates::Clock::now())) {
    refuse(message, "this user calls too often; try again in a moment");
    return true;
  }
  if (!raw::is_answerable(message)) {
    answer(message, "org.wrapd1.Error.Internal", "this machine has no id");
    return true;
  }
  return false;
}

void Admission::refuse(sd_bus_message* message, const char* why) {
  answer(message, "org.wrapd1.Error.LimitExceeded", why);
}

void Admission::answer(sd_bus_message* message, const char* name, const char* why) {
  auto sent = raw::reply_error(message, name, why);
  // Once per connection: who provokes this must not fill the journal with it.
  if (!sent && !std::exchange(complained_, true)) {
    std::fprintf(stderr, "wrapd: D-Bus API: %s\n", sent.error().message.c_str());
  }
}

void Admission::hold(const std::string& sender, sd_bus_message* message) {
  auto it = held_.find(sender);
  const bool first = it == held_.end();
  if (held_count_ >= kMaxHeld || (!first && it->second.size() >= kMaxHeldPerSender)) {
    refuse(message, "too many calls at once");
    return;
  }
  if (first) it = held_.try_emplace(sender).first;
  it->second.emplace_back(sd_bus_message_ref(message));
  ++held_count_;
  if (!first) return;
  senders_.ask(sender, [this, sender](const std::shared_ptr<const Sender>& who) { release(sender, who != nullptr); });
}

void Admission::release(const std::string& sender, bool known) {
  auto node = held_.extract(sender);
  if (node.empty()) return;
  held_count_ -= node.mapped().size();
  for (const auto& message : node.mapped()) {
    if (!known || !raw::dispatch_again(bus_, message.get())) {
      answer(message.get(), "org.wrapd1.Error.Internal", "the bus does not say who calls");
    }
  }
}

}  // namespace wrapd::daemon::bus
