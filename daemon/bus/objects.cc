// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/objects.h"

#include <map>
#include <utility>

#include "base/io.h"
#include "daemon/bus/members.h"
#include "daemon/bus/rendering.h"

namespace wrapd::daemon::bus {
namespace {

// In bytes, about: what a signal weighs beside its texts.
constexpr size_t kSignalSize = 512;
constexpr size_t kObjectSize = 2048;

template <class Object>
void add_properties(compat::Interface& interface, std::span<const Property<Object>> properties, const Object& object) {
  for (const auto& property : properties) {
    sdbus::Flags flags;
    flags.set(property.changes);
    interface.property(
        property.name, property.type,
        [&property, &object](sdbus::PropertyGetReply& reply) {
          // sdbus-c++ answers its own errors; what else is thrown must not pass it.
          if (!no_throw("a property", [&] { property.get(object, reply); })) {
            throw compat::error("org.wrapd1.Error.Internal", "the property could not be read");
          }
        },
        flags);
  }
}

void add_signals(compat::Interface& interface, std::string_view name) {
  for (const auto& signal : signals()) {
    if (name == signal.interface) interface.signal(signal.name, signal.types, signal.names);
  }
}

template <class... Values>
void emit(sdbus::IObject& object, const char* interface, const char* name, const Values&... values) {
  auto signal = compat::signal(object, interface, name);
  static_cast<void>((signal << ... << values));
  object.emitSignal(signal);
}

}  // namespace

Objects::Objects(EventLoop& loop, sdbus::IConnection& connection, ServiceApi& service, Bouncer& bouncer,
                 Outflow& outflow)
    : loop_(loop), connection_(connection), service_(service), bouncer_(bouncer), outflow_(outflow) {
  manager_ = compat::object(connection_, kManagerPath);
  compat::Interface interface(*manager_, kManagerInterface);
  add_methods(interface, kManagerInterface);
  add_properties<ServiceApi>(interface, manager_properties(), service_);
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
  add_properties<SessionInfo>(interface, session_properties(), session->info);
  add_signals(interface, kSessionInterface);
  interface.finish();
  sessions_.insert_or_assign(info.id, std::move(session));
}

void Objects::add(const SessionInfo& info) {
  if (sessions_.contains(info.id)) return;
  show(info);
  if (!outflow_.admit(Outflow::What::state, info.uid, kObjectSize)) return;
  compat::emit_interface_added(*sessions_.at(info.id)->object, kSessionInterface);
  emit(*manager_, kManagerInterface, "SessionNew", info.id, sdbus::ObjectPath(session_path(info.id)));
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
  emit(*manager_, kManagerInterface, "SessionRemoved", info.id, sdbus::ObjectPath(session_path(info.id)));
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
  const wire::CallReport& call = denial.call;
  const size_t size = kSignalSize + call.operation.size() + call.target.size() + call.rule.size() + call.comm.size();
  if (!outflow_.admit(Outflow::What::event, info.uid, size)) return;
  emit(*it->second->object, kSessionInterface, "Denied", printable(call.operation), printable(call.target),
       call.abstract, printable(call.rule), process_number(call.pid), printable(call.comm), denial.count);
}

void Objects::question_added(const QuestionInfo& question) {
  const wire::CallReport& call = question.call;
  const size_t size = kObjectSize + call.target.size() + call.rule.size() + call.exe.size() + question.guidance.size();
  if (!outflow_.admit(Outflow::What::state, question.uid, size)) return;
  const std::map<std::string, sdbus::Variant> details{{"uid", sdbus::Variant(question.uid)},
                                                      {"operation", sdbus::Variant(printable(call.operation))},
                                                      {"target", sdbus::Variant(printable(call.target))},
                                                      {"abstract", sdbus::Variant(call.abstract)},
                                                      {"rule", sdbus::Variant(printable(call.rule))},
                                                      {"policy", sdbus::Variant(printable(call.policy))},
                                                      {"guidance", sdbus::Variant(printable(question.guidance))},
                                                      {"pid", sdbus::Variant(process_number(call.pid))},
                                                      {"comm", sdbus::Variant(printable(call.comm))},
                                                      {"exe", sdbus::Variant(printable(call.exe))},
                                                      {"deadline", sdbus::Variant(microseconds_of(question.deadline))}};
  emit(*manager_, kManagerInterface, "ApprovalRequested", question.id,
       sdbus::ObjectPath(session_path(question.session)), details);
}

void Objects::question_removed(const QuestionInfo& question, std::string_view how) {
  if (!outflow_.admit(Outflow::What::state, question.uid, kSignalSize)) return;
  emit(*manager_, kManagerInterface, "ApprovalRemoved", question.id, printable(how));
}

}  // namespace wrapd::daemon::bus
