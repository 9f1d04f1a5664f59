// SPDX-License-Identifier: Apache-2.0
#pragma once

// What sdbus-c++ 1.2 (Debian 12) and 2.x (Debian 13) spell differently. SDBUSCPP_MAJOR comes from the build: the
// headers have no version.

#include <sdbus-c++/sdbus-c++.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace wrapd::daemon::bus::compat {

using Names = std::vector<std::string>;
// The error is nullptr if the call was answered.
using ReplyHandler = std::function<void(sdbus::MethodReply& reply, const sdbus::Error* error)>;

inline uint64_t microseconds(std::chrono::milliseconds time) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

#if SDBUSCPP_MAJOR >= 2

inline sdbus::Error error(const std::string& name, const std::string& message) {
  return sdbus::Error(sdbus::Error::Name(name), message);
}

inline std::unique_ptr<sdbus::IObject> object(sdbus::IConnection& connection, const std::string& path) {
  return sdbus::createObject(connection, sdbus::ObjectPath(path));
}

inline std::unique_ptr<sdbus::IProxy> proxy(sdbus::IConnection& connection, const char* name, const char* path) {
  return sdbus::createProxy(connection, sdbus::ServiceName(name), sdbus::ObjectPath(path));
}

inline sdbus::MethodCall method_call(sdbus::IProxy& proxy, const char* interface, const char* member) {
  return proxy.createMethodCall(sdbus::InterfaceName(interface), sdbus::MethodName(member));
}

inline void call_async(sdbus::IProxy& proxy, const sdbus::MethodCall& call, ReplyHandler handler,
                       std::chrono::milliseconds timeout) {
  proxy.callMethodAsync(
      call,
      [handler = std::move(handler)](sdbus::MethodReply reply, std::optional<sdbus::Error> error) {
        handler(reply, error ? &*error : nullptr);
      },
      microseconds(timeout));
}

inline sdbus::Signal signal(sdbus::IObject& object, const char* interface, const char* name) {
  return object.createSignal(sdbus::InterfaceName(interface), sdbus::SignalName(name));
}

inline void emit_properties_changed(sdbus::IObject& object, const char* interface, const Names& names) {
  object.emitPropertiesChangedSignal(sdbus::InterfaceName(interface),
                                     std::vector<sdbus::PropertyName>(names.begin(), names.end()));
}

inline void emit_interface_added(sdbus::IObject& object, const char* interface) {
  object.emitInterfacesAddedSignal({sdbus::InterfaceName(interface)});
}

inline void emit_interface_removed(sdbus::IObject& object, const char* interface) {
  object.emitInterfacesRemovedSignal({sdbus::InterfaceName(interface)});
}

// The one interface of an object; there from finish() on.
class Interface {
 public:
  Interface(sdbus::IObject& object, const char* name) : object_(object), name_(name) {}
  void method(const char* name, const char* in, Names in_names, const char* out, Names out_names,
              sdbus::method_callback handler) {
    items_.emplace_back(sdbus::MethodVTableItem{sdbus::MethodName(name),
                                                sdbus::Signature(in),
                                                std::move(in_names),
                                                sdbus::Signature(out),
                                                std::move(out_names),
                                                std::move(handler),
                                                {}});
  }
  void property(const char* name, const char* type, sdbus::property_get_callback get, sdbus::Flags flags) {
    items_.emplace_back(
        sdbus::PropertyVTableItem{sdbus::PropertyName(name), sdbus::Signature(type), std::move(get), {}, flags});
  }
  void signal(const char* name, const char* types, Names names) {
    items_.emplace_back(
        sdbus::SignalVTableItem{sdbus::SignalName(name), sdbus::Signature(types), std::move(names), {}});
  }
  void finish() { object_.addVTable(sdbus::InterfaceName(name_), std::move(items_)); }

 private:
  sdbus::IObject& object_;
  const char* name_;
  std::vector<sdbus::VTableItem> items_;
};

#else

inline sdbus::Error error(const std::string& name, const std::string& message) {
  return {name, message};
}

inline std::unique_ptr<sdbus::IObject> object(sdbus::IConnection& connection, const std::string& path) {
  return sdbus::createObject(connection, path);
}

inline std::unique_ptr<sdbus::IProxy> proxy(sdbus::IConnection& connection, const char* name, const char* path) {
  return sdbus::createProxy(connection, name, path);
}

inline sdbus::MethodCall method_call(sdbus::IProxy& proxy, const char* interface, const char* member) {
  return proxy.createMethodCall(interface, member);
}

inline void call_async(sdbus::IProxy& proxy, const sdbus::MethodCall& call, ReplyHandler handler,
                       std::chrono::milliseconds timeout) {
  proxy.callMethod(call, std::move(handler), microseconds(timeout));
}

inline sdbus::Signal signal(sdbus::IObject& object, const char* interface, const char* name) {
  return object.createSignal(interface, name);
}

inline void emit_properties_changed(sdbus::IObject& object, const char* interface, const Names& names) {
  object.emitPropertiesChangedSignal(interface, names);
}

inline void emit_interface_added(sdbus::IObject& object, const char* interface) {
  object.emitInterfacesAddedSignal({interface});
}

inline void emit_interface_removed(sdbus::IObject& object, const char* interface) {
  object.emitInterfacesRemovedSignal({interface});
}

class Interface {
 public:
  Interface(sdbus::IObject& object, const char* name) : object_(object), name_(name) {}
  void method(const char* name, const char* in, const Names& in_names, const char* out, const Names& out_names,
              sdbus::method_callback handler) {
    object_.registerMethod(name_, name, in, in_names, out, out_names, std::move(handler));
  }
  void property(const char* name, const char* type, sdbus::property_get_callback get, sdbus::Flags flags) {
    object_.registerProperty(name_, name, type, std::move(get), flags);
  }
  void signal(const char* name, const char* types, const Names& names) {
    object_.registerSignal(name_, name, types, names);
  }
  void finish() { object_.finishRegistration(); }

 private:
  sdbus::IObject& object_;
  const char* name_;
};

#endif

}  // namespace wrapd::daemon::bus::compat
