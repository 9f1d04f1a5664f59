// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/objects.h"

#include <functional>
#include <type_traits>
#include <utility>

#include "config.h"
#include "daemon/bus/members.h"
#include "daemon/bus/no_throw.h"
#include "daemon/bus/rendering.h"
#include "daemon/bus/sd_bus.h"

namespace wrapd::daemon::bus {
namespace {

// In bytes, about: what a signal weighs beside its texts.
constexpr size_t kSignalSize = 512;
constexpr size_t kObjectSize = 2048;

// sdbus-c++ answers its own errors; what else is thrown must not pass it.
void add_property(compat::Interface& interface, const char* name, const char* type,
                  sdbus::Flags::PropertyUpdateBehaviorFlags changes,
                  std::function<void(sdbus::PropertyGetReply& reply)> get) {
  sdbus::Flags flags;
  flags.set(changes);
  interface.property(
      name, type,
      [get = std::move(get)](sdbus::PropertyGetReply& reply) {
        if (!no_throw("a property", [&] { get(reply); })) {
          throw compat::error("org.wrapd1.Error.Internal", "the property could not be read");
        }
      },
      flags);
}

void add_properties(compat::Interface& interface, const SessionInfo& info) {
  for (const auto& key : session_keys()) {
    add_property(interface, key.name, key.type, key.changes, [&key, &info](sdbus::PropertyGetReply& reply) {
      // With all objects and in signals texts are as short as in a list.
      const bool whole = sd::is_in_call(sd::bus_of(reply), "org.freedesktop.DBus.Properties");
      const auto write = [&]<class Plain>(const Plain& value) {
        if constexpr (std::is_same_v<Plain, std::string>) {
          reply << rendered(value, whole ? Length::whole : Length::listed);
        } else {
          reply << value;
        }
      };
      std::visit(write, key.get(info));
    });
  }
}

void add_properties(compat::Interface& interface, const ServiceApi& service) {
  using sdbus::Flags;
  using Reply = sdbus::PropertyGetReply;
  add_property(interface, "Version", "s", Flags::CONST_PROPERTY_VALUE, [](Reply& reply) { reply << WRAPD_VERSION; });
  add_property(interface, "Features", "as", Flags::CONST_PROPERTY_VALUE,
               [&service](Reply& reply) { reply << service.features(); });
  add_property(interface, "Sessions", "u", Flags::EMITS_NO_SIGNAL,
               [&service](Reply& reply) { reply << static_cast<uint32_t>(service.sessions().size()); });
}

void add_signals(compat::Interface& interface, std::string_view name) {
  for (const auto& signal : signals()) {
    if (name == signal.interface) interface.signal(signal.name, signal.types, signal.names);
  }
}

template <class... Arguments>
void emit(sdbus::IObject& object, const char* interface, const char* name, const Arguments&... arguments) {
  auto signal = compat::signal(object, interface, name);
  static_cast<void>((signal << ... << arguments));
  object.emitSignal(signal);
}

}  // namespace

Objects::Objects(EventLoop& loop, sdbus::IConnection& connection, ServiceApi& service, Bouncer& bouncer,
                 Outflow& outflow)
    : loop_(loop), connection_(connection), service_(service), bouncer_(bouncer), outflow_(outflow) {
  manager_ = compat::object(connection_, kManagerPath);
  compat::Interface interface(*manager_, kManagerInterface);
  add_methods(interface, kManagerInterface);
  add_properties(interface, service_);
  add_signals(interface, kManagerInterface);
  interface.finish();
  manager_->addObjectManager();
}

void Objects::add_methods(compat::Interface& interface, const char* name) {
  for (const Method& method : methods()) {
    if (std::string_view(method.interface) != name) continue;
    interface.method(method.name, method.in, method.in_names, method.out, method.out_names,
                     [this, &method](sdbus::MethodCall message) {
                       ++running_;
                       bouncer_.enter(method, std::move(message));
                       --running_;
                     });
  }
}

void Objects::show(const SessionInfo& info) {
  auto session = std::make_unique<Session>();
  session->info = info;
  session->object = compat::object(connection_, session_path(info.id));
  compat::Interface interface(*session->object, kSessionInterface);
  add_methods(interface, kSessionInterface);
  add_properties(interface, session->info);
  add_signals(interface, kSessionInterface);
  interface.finish();
  sessions_.insert_or_assign(info.id, std::move(session));
}

// The manager's signals: about a session or a question, with what there is to say of it.
void Objects::tell(const char* name, uid_t owner, const std::string& id, const std::string& session,
                   const Dictionary& details) {
  if (!outflow_.admit(Outflow::What::state, owner, kSignalSize + details.size)) return;
  emit(*manager_, kManagerInterface, name, id, sdbus::ObjectPath(session_path(session)), details.entries);
}

void Objects::add(const SessionInfo& info) {
  if (sessions_.contains(info.id)) return;
  show(info);
  if (!outflow_.admit(Outflow::What::state, info.uid, kObjectSize)) return;
  compat::emit_interface_added(*sessions_.at(info.id)->object, kSessionInterface);
  tell("SessionNew", info.uid, info.id, info.id, dictionary(session_keys(), info, Length::listed));
}

void Objects::change(const SessionInfo& info) {
  auto it = sessions_.find(info.id);
  if (it == sessions_.end()) return;
  Session& session = *it->second;
  compat::Names changed;
  if (session.info.state != info.state) changed.emplace_back("State");
  if (session.info.stale != info.stale) changed.emplace_back("Stale");
  session.info = info;
  if (!changed.empty() && outflow_.admit(Outflow::What::state, info.uid, kSignalSize))
    compat::emit_properties_changed(*session.object, kSessionInterface, changed);
}

void Objects::remove(const SessionInfo& info) {
  auto node = sessions_.extract(info.id);
  if (node.empty()) return;
  std::unique_ptr<Session> session = std::move(node.mapped());
  sdbus::IObject& object = *session->object;
  if (running_ > 0) destroy_later(std::move(session));
  if (!outflow_.admit(Outflow::What::state, info.uid, kSignalSize)) return;
  compat::emit_interface_removed(object, kSessionInterface);
  tell("SessionRemoved", info.uid, info.id, info.id, {});
}

// The session ends inside a call, maybe of its own object, which must outlive that call.
void Objects::destroy_later(std::unique_ptr<Session> session) {
  ended_.push_back(std::move(session));
  if (destruction_.active()) return;
  auto timer = loop_.after(std::chrono::milliseconds(0), [this] {
    ended_.clear();
    destruction_.reset();
  });
  if (timer) destruction_ = std::move(*timer);
}

void Objects::denied(const SessionInfo& info, const wire::DenialReport& denial) {
  auto it = sessions_.find(info.id);
  if (it == sessions_.end()) return;
  const Dictionary details = dictionary(denial_keys(), denial, Length::whole);
  if (!outflow_.admit(Outflow::What::event, info.uid, kSignalSize + details.size)) return;
  emit(*it->second->object, kSessionInterface, "Denied", details.entries);
}

void Objects::question_added(const QuestionInfo& question) {
  tell("ApprovalRequested", question.uid, question.id, question.session,
       dictionary(question_keys(), question, Length::whole));
}

void Objects::question_removed(const QuestionInfo& question, std::string_view how) {
  Dictionary details;
  details.add("how", std::string(how));
  tell("ApprovalRemoved", question.uid, question.id, question.session, details);
}

}  // namespace wrapd::daemon::bus
