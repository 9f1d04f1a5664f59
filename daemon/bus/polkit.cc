// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/polkit.h"

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/io.h"
#include "daemon/bus/no_throw.h"

namespace wrapd::daemon::bus {
namespace {

constexpr const char* kName = "org.freedesktop.PolicyKit1";
constexpr const char* kPath = "/org/freedesktop/PolicyKit1/Authority";
constexpr const char* kInterface = "org.freedesktop.PolicyKit1.Authority";
constexpr uint32_t kAllowUserInteraction = 1;  // CheckAuthorizationFlags
// The call itself must outlast our own timer, which knows a hung polkit from one that died.
constexpr std::chrono::seconds kGrace{30};

Authorization outcome_of(sdbus::MethodReply& reply) {
  sdbus::Struct<bool, bool, std::map<std::string, std::string>> result;
  reply >> result;
  const bool authorized = result.get<0>();
  const bool challenge = result.get<1>();
  if (authorized) return Authorization::granted;
  if (result.get<2>().contains("polkit.dismissed")) return Authorization::dismissed;
  return challenge ? Authorization::required : Authorization::denied;
}

}  // namespace

Polkit::Polkit(EventLoop& loop, sdbus::IConnection& connection, std::chrono::milliseconds timeout)
    : loop_(loop), authority_(compat::proxy(connection, kName, kPath)), timeout_(timeout) {}

Polkit::~Polkit() {
  for (const auto& [id, pending] : pending_) cancel(pending.cancellation);
}

void Polkit::ask(const AuthorizationQuestion& question, Done done) {
  if (!quota_.has_room(question.payer, kMaxPerUser, kMaxPending, 1)) {
    done(Authorization::too_many, "");
    return;
  }
  const uint64_t id = next_++;
  Pending& pending = pending_[id];
  pending.cancellation = "wrapd-" + std::to_string(id);
  pending.done = std::move(done);
  pending.ticket = quota_.take(question.payer);
  if (auto sent = send(id, pending, question); !sent) finish(id, Authorization::unavailable, sent.error().message);
}

Result<> Polkit::send(uint64_t id, Pending& pending, const AuthorizationQuestion& question) try {
  auto call = compat::method_call(*authority_, kInterface, "CheckAuthorization");
  // The match goes out first: if the caller leaves before it, polkit finds no such subject.
  auto caller = sd::Registration::name_gone(sd::bus_of(call), question.sender, [this, id](const Result<>& gone) {
    no_throw("authorisation", [&] {
      if (auto it = pending_.find(id); it != pending_.end()) cancel(it->second.cancellation);
      finish(id, gone ? Authorization::caller_gone : Authorization::unavailable, gone ? "" : gone.error().message);
    });
  });
  if (!caller) return std::unexpected(caller.error());
  pending.caller = std::move(*caller);
  auto timer = loop_.after(timeout_, [this, id] {
    no_throw("authorisation", [&] {
      if (auto it = pending_.find(id); it != pending_.end()) cancel(it->second.cancellation);
      finish(id, Authorization::timeout, "");
    });
  });
  if (!timer) return std::unexpected(timer.error());
  pending.timer = std::move(*timer);
  const std::map<std::string, sdbus::Variant> subject{{"name", sdbus::Variant(question.sender)}};
  call << sdbus::Struct<std::string, std::map<std::string, sdbus::Variant>>("system-bus-name", subject)
       << question.action << question.details << (question.interactive ? kAllowUserInteraction : 0U)
       << pending.cancellation;
  compat::call_async(
      *authority_, call,
      [this, id](sdbus::MethodReply& reply, const sdbus::Error* error) {
        no_throw("authorisation", [&] { on_reply(id, reply, error); });
      },
      timeout_ + kGrace);
  return {};
} catch (const sdbus::Error& e) {
  return fail(e.getName());
}

void Polkit::on_reply(uint64_t id, sdbus::MethodReply& reply, const sdbus::Error* error) {
  if (!pending_.contains(id)) return;
  if (error != nullptr) {
    finish(id, Authorization::unavailable, error->getName());
    return;
  }
  Authorization outcome = Authorization::unavailable;
  if (!no_throw("polkit's answer", [&] { outcome = outcome_of(reply); })) outcome = Authorization::unavailable;
  finish(id, outcome, "");
}

void Polkit::finish(uint64_t id, Authorization outcome, const std::string& why) {
  auto node = pending_.extract(id);
  if (node.empty()) return;
  // What it holds goes before somebody else may ask.
  Done done = std::move(node.mapped().done);
  node = {};
  done(outcome, printable(why, 256));
}

void Polkit::cancel(const std::string& cancellation) noexcept {
  no_throw("withdrawing from polkit", [&] {
    auto call = compat::method_call(*authority_, kInterface, "CancelCheckAuthorization");
    call << cancellation;
    // A connection that has ended has no dialog either: polkit sees it go.
    if (auto sent = sd::send_only(call); !sent && sent.error().code != ENOTCONN && sent.error().code != ECONNRESET) {
      std::fprintf(stderr, "wrapd: D-Bus API, withdrawing from polkit: %s\n", sent.error().message.c_str());
    }
  });
}

}  // namespace wrapd::daemon::bus
