// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/bus_api.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "base/io.h"
#include "daemon/bus/admission.h"
#include "daemon/bus/bouncer.h"
#include "daemon/bus/compat.h"
#include "daemon/bus/members.h"
#include "daemon/bus/no_throw.h"
#include "daemon/bus/objects.h"
#include "daemon/bus/polkit.h"
#include "daemon/bus/sd_bus.h"
#include "daemon/bus/senders.h"
#include "daemon/bus/serving.h"
#include "daemon/bus/statistics.h"
#include "daemon/bus/unread.h"

namespace wrapd::daemon::bus {
namespace {

constexpr uint32_t kDoNotQueue = 4;    // DBUS_NAME_FLAG_DO_NOT_QUEUE
constexpr uint32_t kPrimaryOwner = 1;  // DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER
constexpr std::chrono::seconds kTimeout{25};
constexpr std::chrono::milliseconds kRetireStep{10};

struct Connected {
  std::shared_ptr<sdbus::IConnection> connection;
  std::string problem;
};

// Waits for the bus: on a thread. DBUS_SYSTEM_BUS_ADDRESS counts, as with everything on the system bus.
Connected connect_to_bus() noexcept {
  Connected out;
  try {
    out.connection = sdbus::createSystemBusConnection();
  } catch (const sdbus::Error& e) {
    out.problem = e.getMessage();
  } catch (const std::exception& e) {
    out.problem = e.what();
  }
  return out;
}

// What must still be sent goes before this, the connection after it: closing what is closed does not wait for a bus
// that does not read.
struct Closer {
  sd_bus* bus;
  ~Closer() { sd::close(bus); }
};

sd_bus* bus_behind(sdbus::IProxy& proxy) {
  return sd::bus_of(compat::method_call(proxy, "org.freedesktop.DBus", "GetId"));
}

}  // namespace

// All that lives and dies with one connection.
struct BusApi::Link {
  Link(BusApi& api, std::shared_ptr<sdbus::IConnection> on)
      : connection(std::move(on)),
        driver(compat::proxy(*connection, "org.freedesktop.DBus", "/org/freedesktop/DBus")),
        bus(bus_behind(*driver)),
        closer{bus},
        senders(*driver,
                [&api](uid_t uid, std::function<void(bool)> done) { api.service_.has_account(uid, std::move(done)); }),
        statistics(*driver),
        unread([this](const std::string& client, std::function<void(const Unread::Answer&)> done) {
          ask(client, std::move(done));
        }),
        outflow(api.loop_, bus, statistics, unread, api.events_,
                [&api](std::string why) { api.lose_soon(std::move(why)); }),
        polkit(api.loop_, *connection, api.settings_.polkit_timeout),
        bouncer(api.service_, senders, polkit, unread),
        objects(api.loop_, *connection, api.service_, bouncer, outflow),
        admission(bus, senders, api.calls_, unread,
                  {.cost = [this](const char* interface,
                                  const char* member) { return cost_of(interface, member, objects.sessions()); },
                   .reply = [this](const char* interface,
                                   const char* member) { return reply_of(interface, member, objects.sessions()); }}) {}

  // What a client has not read. The descriptors of answers that are still to come are not among those that the bus
  // knows of.
  void ask(const std::string& client, std::function<void(const Unread::Answer&)> done) {
    statistics.ask(client, [this, client, done = std::move(done)](const ConnectionStatistics& told) {
      using Answer = ConnectionStatistics::Answer;
      switch (told.answer) {
        case Answer::given:
          return done(Load{.bytes = told.unread.bytes,
                           .descriptors = told.unread.descriptors + bouncer.descriptors_promised(client)});
        case Answer::gone:
          return done(Unread::Gone{});
        case Answer::unavailable:
          return done(Unread::Unavailable{});
        case Answer::failed:
        case Answer::late:
          return done(Unread::Unknown{});
      }
    });
  }

  std::shared_ptr<sdbus::IConnection> connection;
  std::unique_ptr<sdbus::IProxy> driver;
  sd_bus* bus;
  Closer closer;
  Senders senders;
  Statistics statistics;
  Unread unread;
  Outflow outflow;
  Polkit polkit;
  Bouncer bouncer;
  Objects objects;
  Admission admission;
  sd::Registration filter;
  std::unique_ptr<Serving> serving;
};

Result<std::unique_ptr<BusApi>> BusApi::create(EventLoop& loop, ServiceApi& service, BusSettings settings) {
  std::unique_ptr<BusApi> api(new BusApi(loop, service, std::move(settings)));
  auto connector = Worker::create(loop, 1, 1);
  if (!connector) return std::unexpected(connector.error());
  api->connector_ = std::move(*connector);
  // Left to itself, sd-bus would wait for the bus to take everything.
  auto leave = loop.on_exit([api = api.get()] { api->leave(); });
  if (!leave) return std::unexpected(leave.error());
  api->leave_ = std::move(*leave);
  service.observe(api.get());
  api->connect();
  return api;
}

BusApi::BusApi(EventLoop& loop, ServiceApi& service, BusSettings settings)
    : loop_(loop),
      service_(service),
      settings_(std::move(settings)),
      calls_{.each = Rates(settings_.rate)},
      delay_(settings_.retry_first) {}

BusApi::~BusApi() {
  leave();
}

void BusApi::leave() noexcept {
  service_.observe(nullptr);
  connector_.reset();
  link_.reset();
}

bool BusApi::busy() const noexcept {
  return link_ != nullptr && (link_->bouncer.waiting() > 0 || link_->admission.holds_any());
}

void BusApi::retire(std::function<void()> done) {
  retired_ = std::move(done);
  retire_until_ = std::chrono::steady_clock::now() + kRetireWithin;
  retry_.reset();
  if (!link_ || !no_throw("giving the name back", [&] { release_name(); })) retired_();
}

void BusApi::release_name() {
  auto call = compat::method_call(*link_->driver, "org.freedesktop.DBus", "ReleaseName");
  call << std::string(kBusName);
  // What the bus had for us when it took the name back has come before this answer.
  compat::call_async(
      *link_->driver, call, [this](sdbus::MethodReply&, const sdbus::Error*) { finish_when_answered(); },
      kRetireWithin);
}

// A callback of the connection may be above us, so also an end that is due comes from the loop.
void BusApi::finish_when_answered() {
  auto timer = loop_.after(kRetireStep, [this] {
    retire_timer_.reset();
    if (busy() && std::chrono::steady_clock::now() < retire_until_) return finish_when_answered();
    retired_();
  });
  if (!timer) return retired_();
  retire_timer_ = std::move(*timer);
}

void BusApi::connect() {
  auto submitted = connector_->submit([this]() -> Worker::Completion {
    return [this, connected = connect_to_bus()] { on_connected(connected.connection, connected.problem); };
  });
  if (!submitted) lose(submitted.error().message);
}

void BusApi::on_connected(std::shared_ptr<sdbus::IConnection> connection, const std::string& problem) {
  if (!connection) {
    lose(problem);
    return;
  }
  Result<> ready;
  bool whole = no_throw("starting", [&] { ready = serve(std::move(connection)); });
  if (!whole) {
    lose("it cannot be served");
  } else if (!ready) {
    lose(ready.error().message);
  }
}

Result<> BusApi::serve(std::shared_ptr<sdbus::IConnection> connection) {
  link_ = std::make_unique<Link>(*this, std::move(connection));
  auto filter = sd::Registration::filter(link_->bus, [this](sd_bus_message* message) { return on_message(message); });
  if (!filter) return std::unexpected(filter.error());
  link_->filter = std::move(*filter);
  for (const SessionInfo& session : service_.sessions()) link_->objects.show(session);
  auto serving = Serving::start(link_->bus, loop_, [this](std::string why) { lose_soon(std::move(why)); });
  if (!serving) return std::unexpected(serving.error());
  link_->serving = std::move(*serving);
  link_->senders.begin(link_->bus);
  // Last: who finds the name finds everything.
  auto call = compat::method_call(*link_->driver, "org.freedesktop.DBus", "RequestName");
  call << std::string(kBusName) << kDoNotQueue;
  compat::call_async(
      *link_->driver, call,
      [this](sdbus::MethodReply& reply, const sdbus::Error* error) {
        no_throw("taking the name", [&] { on_name(reply, error); });
      },
      kTimeout);
  return {};
}

bool BusApi::on_message(sd_bus_message* message) {
  if (sd::is_disconnect(message)) {
    lose_soon("the bus has closed the connection");
    return false;
  }
  bool stopped = true;
  no_throw("admission", [&] {
    stopped = link_->admission.stop(message);
    link_->outflow.look();
    // The bus's own signals (names that come and leave) do not mean that anybody needs the service.
    if (!stopped && sd_bus_message_is_method_call(message, nullptr, nullptr) > 0) settings_.on_call();
  });
  return stopped;
}

void BusApi::on_name(sdbus::MethodReply& reply, const sdbus::Error* error) {
  if (error != nullptr) {
    lose_soon("the bus does not give us the name org.wrapd1: " + error->getMessage());
    return;
  }
  uint32_t result = 0;
  reply >> result;
  if (result != kPrimaryOwner) {
    lose_soon("another program has the name org.wrapd1");
    return;
  }
  delay_ = settings_.retry_first;
  if (std::exchange(away_told_, false)) std::fputs("wrapd: the D-Bus API is there again\n", stderr);
}

// From inside a callback of the connection, which must outlive it.
void BusApi::lose_soon(std::string why) {
  if (lost_.active()) return;
  auto lost = loop_.after(std::chrono::milliseconds(0), [this, why = std::move(why)]() mutable {
    const std::string reason = std::move(why);  // this closure goes with the timer
    lost_.reset();
    lose(reason);
  });
  if (lost) {
    lost_ = std::move(*lost);
  } else {
    std::fprintf(stderr, "wrapd: no D-Bus API any more: %s; restart the service\n", lost.error().message.c_str());
  }
}

void BusApi::lose(const std::string& why) {
  link_.reset();
  if (retired_) return finish_when_answered();
  if (!std::exchange(away_told_, true)) {
    std::fprintf(stderr, "wrapd: no D-Bus API: %s; trying again, everything else goes on\n",
                 printable(why, 512).c_str());
  }
  auto retry = loop_.after(delay_, [this] { connect(); });
  delay_ = std::min(2 * delay_, settings_.retry_most);
  if (retry) {
    retry_ = std::move(*retry);
  } else {
    std::fprintf(stderr, "wrapd: no D-Bus API any more: %s; restart the service\n", retry.error().message.c_str());
  }
}

template <class Work>
void BusApi::publish(Work&& work) noexcept {
  if (!link_) return;
  no_throw("a signal", [&] { work(link_->objects); });
}

void BusApi::session_added(const SessionInfo& session) {
  publish([&](Objects& objects) { objects.add(session); });
}

void BusApi::session_changed(const SessionInfo& session) {
  publish([&](Objects& objects) { objects.change(session); });
}

void BusApi::session_removed(const SessionInfo& session) {
  publish([&](Objects& objects) { objects.remove(session); });
}

void BusApi::denied(const SessionInfo& session, const wire::DenialReport& denial) {
  publish([&](Objects& objects) { objects.denied(session, denial); });
}

void BusApi::question_added(const QuestionInfo& question) {
  publish([&](Objects& objects) { objects.question_added(question); });
}

void BusApi::question_removed(const QuestionInfo& question, std::string_view how) {
  publish([&](Objects& objects) { objects.question_removed(question, how); });
}

}  // namespace wrapd::daemon::bus
