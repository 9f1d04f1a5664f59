// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/admission.h"

#include <cstdio>
#include <cstring>
#include <utility>

#include "daemon/bus/no_throw.h"

namespace wrapd::daemon::bus {
namespace {

constexpr size_t kRefusal = 256;  // bytes, with the text of any of ours
// What the bus said the first time may be older than what the sender has read since.
constexpr int kRounds = 2;
constexpr const char* kNotRead = "this sender, or its user, has not read what it was sent";

}  // namespace

bool Admission::stop(sd_bus_message* message) {
  if (sd_bus_message_is_method_call(message, nullptr, nullptr) <= 0) return false;
  if (admitted_.erase(message) > 0) return false;
  const char* sender = sd_bus_message_get_sender(message);
  const auto size = sd::size_of_arguments(message, kMaxArguments);
  if (sender == nullptr || !size) {
    refuse(message, "the call's arguments are too large");
    return true;
  }
  auto who = senders_.find(sender);
  if (!who) {
    if (hold(sender, message, *size, kMaxHeldPerSender)) {
      senders_.ask(sender, [this, name = std::string(sender)](const std::shared_ptr<const Sender>& known) {
        release(name, known != nullptr);
      });
    }
    return true;
  }
  if (!in_time(message, *who)) return true;
  // Its calls stay in order.
  const Load load = reply_to(message);
  if (held_.contains(who->name) || !unread_.take(who->name, who->payer, load, Unread::Clock::now())) {
    if (hold(who->name, message, *size, kMaxHeldPerKnown)) find_out(who, load, kRounds);
    return true;
  }
  return false;
}

// False: it is answered.
bool Admission::in_time(sd_bus_message* message, const Sender& sender) {
  const double cost = charges_.cost(sd_bus_message_get_interface(message), sd_bus_message_get_member(message));
  const auto now = Rates::Clock::now();
  // Root ends what others have started, also when some program of root's calls too often.
  if (sender.uid != 0) {
    if (!budgets_.each.take(sender.payer, cost, now)) {
      refuse(message, "this user calls too often; try again in a moment");
      return false;
    }
    if (!budgets_.all.take(0, cost, now) && budgets_.each.fullness(sender.payer, now) < kCallsLittle) {
      refuse(message, "too many call at once; try again in a moment");
      return false;
    }
  }
  if (!sd::is_answerable(message)) {
    answer(message, "org.wrapd1.Error.Internal", "this machine has no id");
    return false;
  }
  return true;
}

Load Admission::reply_to(sd_bus_message* message) const {
  if (sd_bus_message_get_expect_reply(message) <= 0) return {};
  Load load = charges_.reply(sd_bus_message_get_interface(message), sd_bus_message_get_member(message));
  // sd-bus's own errors repeat it.
  if (const char* path = sd_bus_message_get_path(message)) load.bytes += std::strlen(path);
  return load;
}

void Admission::find_out(const std::shared_ptr<const Sender>& sender, Load load, int rounds) {
  unread_.find_out(sender->name, sender->payer, load, Unread::Clock::now(),
                   [this, alive = std::weak_ptr(alive_), sender, rounds] {
                     if (alive.expired()) return;
                     no_throw("what was read", [&] { release_read(sender, rounds - 1); });
                   });
}

// The first that still does not fit is asked for once more; then they are refused.
void Admission::release_read(const std::shared_ptr<const Sender>& sender, int rounds) {
  auto calls = take_held(sender->name);
  bool refused = false;
  for (size_t i = 0; i < calls.size(); ++i) {
    sd_bus_message* message = calls[i].message.get();
    const Load load = reply_to(message);
    if (!refused && unread_.take(sender->name, sender->payer, load, Unread::Clock::now())) {
      go_on(calls[i]);
      continue;
    }
    if (!refused && rounds > 0) {
      for (size_t rest = i; rest < calls.size(); ++rest) {
        static_cast<void>(hold(sender->name, calls[rest].message.get(), calls[rest].size, kMaxHeldPerKnown));
      }
      return find_out(sender, load, rounds);
    }
    refused = true;
    refuse(message, kNotRead);
  }
}

void Admission::go_on(const Held& held) {
  admitted_.insert(held.message.get());
  if (!sd::dispatch_again(bus_, held.message.get())) {
    admitted_.erase(held.message.get());
    answer(held.message.get(), "org.wrapd1.Error.Internal", "the call could not be taken");
  }
}

void Admission::refuse(sd_bus_message* message, const char* why) {
  answer(message, "org.wrapd1.Error.LimitExceeded", why);
}

void Admission::answer(sd_bus_message* message, const char* name, const char* why) {
  if (sd_bus_message_get_expect_reply(message) <= 0) return;
  if (const char* sender = sd_bus_message_get_sender(message)) {
    auto who = senders_.find(sender);
    if (!unread_.take_refusal(sender, who ? who->payer : kNoAccount, kRefusal, Unread::Clock::now())) return;
  }
  auto sent = sd::reply_error(message, name, why);
  // Once per connection: who provokes this must not fill the journal with it.
  if (!sent && !std::exchange(complained_, true)) {
    std::fprintf(stderr, "wrapd: D-Bus API: %s\n", sent.error().message.c_str());
  }
}

bool Admission::hold(const std::string& sender, sd_bus_message* message, size_t size, size_t most) {
  auto it = held_.find(sender);
  const bool first = it == held_.end();
  const size_t bytes = first ? 0 : it->second.bytes;
  if (held_count_ >= kMaxHeld || held_bytes_ + size > kMaxHeldBytes ||
      (!first && (it->second.calls.size() >= most || bytes + size > kMaxHeldBytesPerSender))) {
    refuse(message, "too many calls at once");
    return false;
  }
  if (first) it = held_.try_emplace(sender).first;
  it->second.calls.push_back({.message = sd::MessageRef(sd_bus_message_ref(message)), .size = size});
  it->second.bytes += size;
  ++held_count_;
  held_bytes_ += size;
  return first;
}

std::vector<Admission::Held> Admission::take_held(const std::string& sender) {
  auto node = held_.extract(sender);
  if (node.empty()) return {};
  held_count_ -= node.mapped().calls.size();
  held_bytes_ -= node.mapped().bytes;
  return std::move(node.mapped().calls);
}

void Admission::release(const std::string& sender, bool known) {
  for (const auto& held : take_held(sender)) {
    if (!known || !sd::dispatch_again(bus_, held.message.get())) {
      answer(held.message.get(), "org.wrapd1.Error.Internal", "the bus does not say who calls");
    }
  }
}

}  // namespace wrapd::daemon::bus
