// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a call asks of the policy: may this operation be done with this object, as far as one class of rules goes? A
// call that belongs to two classes asks twice.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

namespace wrapd::policy {

// The classes of rules; the values are those of a compiled block's sections. classes.h says what each is.
enum class Class : uint8_t { unix_socket };
inline constexpr size_t kClasses = 1;

// What is done, in all classes.
enum class Operation : uint8_t { connect, bind, listen };

[[nodiscard]] constexpr std::string_view to_string(Operation operation) {
  switch (operation) {
    case Operation::connect:
      return "connect";
    case Operation::bind:
      return "bind";
    case Operation::listen:
      return "listen";
  }
  return "unknown";
}

// Of a mask of operations.
[[nodiscard]] constexpr uint32_t bit(Operation operation) {
  return 1U << static_cast<unsigned>(operation);
}

// With what it is done. All text is borrowed, and holds any bytes.

// A unix socket's name: an absolute, normal path without NUL, an abstract name without '@', or a path that is not
// known.
struct UnixName {
  enum class Kind : uint8_t { path, abstract, lost };
  Kind kind = Kind::lost;
  std::string_view text;
};
// A file's path, absolute and normal.
struct Path {
  std::string_view text;
};
// An address of the network, as text, and its port.
struct Endpoint {
  std::string_view address;
  uint16_t port = 0;
};
// A process, as far as rules tell processes apart.
struct Process {
  bool of_session = false;
};
// A system call, by its number.
struct Syscall {
  int number = -1;
};
using Object = std::variant<UnixName, Path, Endpoint, Process, Syscall>;

struct Request {
  Class of_class;
  Operation operation;
  Object object;
  std::optional<Object> second{};  // where an operation leads from one to another
};

// A unix socket by its path, by its abstract name, and by a path that is not known.
[[nodiscard]] constexpr Request with_path(Operation operation, std::string_view path) {
  return {Class::unix_socket, operation, UnixName{UnixName::Kind::path, path}};
}
[[nodiscard]] constexpr Request with_abstract(Operation operation, std::string_view name) {
  return {Class::unix_socket, operation, UnixName{UnixName::Kind::abstract, name}};
}
// As it is written in a policy: a path, or '@' and an abstract name.
[[nodiscard]] constexpr Request with_name(Operation operation, std::string_view written) {
  return written.starts_with('@') ? with_abstract(operation, written.substr(1)) : with_path(operation, written);
}
[[nodiscard]] constexpr Request with_lost_path(Operation operation) {
  return {Class::unix_socket, operation, UnixName{}};
}

}  // namespace wrapd::policy
