// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/sd_bus.h"

#include <fcntl.h>
#include <poll.h>
#include <systemd/sd-id128.h>

#include <cstring>
#include <utility>

namespace wrapd::daemon::bus::sd {
namespace {

constexpr const char* kNameOwnerChanged =
    "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',interface='org.freedesktop.DBus',"
    "member='NameOwnerChanged'";

std::unexpected<Error> broken(const char* what, int rc) {
  return fail_errno(what, -rc);
}

constexpr size_t kValueSize = 64;

// Reads what is left of the container that `message` is in.
bool walk(sd_bus_message* message, size_t& left) noexcept {
  for (;;) {
    char type = 0;
    const char* contents = nullptr;
    int rc = sd_bus_message_peek_type(message, &type, &contents);
    if (rc <= 0) return rc == 0;
    if (left < kValueSize) return false;
    left -= kValueSize;
    if (contents != nullptr) {
      if (sd_bus_message_enter_container(message, type, contents) < 0 || !walk(message, left) ||
          sd_bus_message_exit_container(message) < 0) {
        return false;
      }
      continue;
    }
    union {
      const char* text;
      uint64_t number;
    } value{};
    if (sd_bus_message_read_basic(message, type, &value) < 0) return false;
    if (type == SD_BUS_TYPE_STRING || type == SD_BUS_TYPE_OBJECT_PATH || type == SD_BUS_TYPE_SIGNATURE) {
      size_t size = std::strlen(value.text);
      if (size > left) return false;
      left -= size;
    }
  }
}

// What is in an entry of a dictionary that was entered, and its end; a value that nobody took is skipped. The value is
// sd-bus's own code, an error is the entry's.
Result<int> read_entry(sd_bus_message* message, const DictionaryEntry& entry) {
  const char* key = nullptr;
  const char* type = nullptr;
  int rc = sd_bus_message_read_basic(message, SD_BUS_TYPE_STRING, &key);
  if (rc >= 0) rc = sd_bus_message_peek_type(message, nullptr, &type);
  // The signature lies in the message, which stays.
  if (rc >= 0) rc = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, type);
  if (rc < 0) return rc;
  auto read = entry(key, type, message);
  if (!read) return std::unexpected(read.error());
  if (!*read) rc = sd_bus_message_skip(message, type);
  if (rc >= 0) rc = sd_bus_message_exit_container(message);
  if (rc >= 0) rc = sd_bus_message_exit_container(message);
  return rc;
}

template <class To>
Result<bool> read_basic(sd_bus_message* value, std::string_view type, char expected, To& to) {
  if (type != std::string_view(&expected, 1)) return false;
  if (int rc = sd_bus_message_read_basic(value, expected, &to); rc <= 0) {
    return broken("cannot read a value", rc == 0 ? -ENXIO : rc);
  }
  return true;
}

// Gives access to what sdbus-c++ keeps to itself: a derived class may name the member.
struct Peek : sdbus::Message {
  static void* message(const sdbus::Message& message) noexcept { return message.*(&Peek::msg_); }
};

}  // namespace

sd_bus_message* message_of(const sdbus::Message& message) noexcept {
  return static_cast<sd_bus_message*>(Peek::message(message));
}

sd_bus* bus_of(const sdbus::Message& message) noexcept {
  return sd_bus_message_get_bus(message_of(message));
}

bool allows_interaction(const sdbus::Message& message) noexcept {
  return sd_bus_message_get_allow_interactive_authorization(message_of(message)) > 0;
}

Result<bool> read_value(sd_bus_message* value, std::string_view type, std::string& to) {
  const char* text = nullptr;
  auto read = read_basic(value, type, SD_BUS_TYPE_STRING, text);
  if (read && *read) to = text;
  return read;
}

Result<bool> read_value(sd_bus_message* value, std::string_view type, bool& to) {
  int flag = 0;
  auto read = read_basic(value, type, SD_BUS_TYPE_BOOLEAN, flag);
  if (read && *read) to = flag != 0;
  return read;
}

Result<bool> read_value(sd_bus_message* value, std::string_view type, uint32_t& to) {
  return read_basic(value, type, SD_BUS_TYPE_UINT32, to);
}

Result<bool> read_value(sd_bus_message* value, std::string_view type, std::vector<uint32_t>& to) {
  if (type != "au") return false;
  const void* data = nullptr;
  size_t size = 0;
  if (int rc = sd_bus_message_read_array(value, SD_BUS_TYPE_UINT32, &data, &size); rc < 0) {
    return broken("cannot read numbers", rc);
  }
  const auto* first = static_cast<const uint32_t*>(data);
  to.assign(first, first + size / sizeof(uint32_t));
  return true;
}

Result<bool> read_value(sd_bus_message* value, std::string_view type, std::vector<std::string>& to) {
  if (type != "as") return false;
  const char* text = nullptr;
  int rc = sd_bus_message_enter_container(value, SD_BUS_TYPE_ARRAY, "s");
  while (rc > 0 && (rc = sd_bus_message_read_basic(value, SD_BUS_TYPE_STRING, &text)) > 0) to.emplace_back(text);
  if (rc >= 0) rc = sd_bus_message_exit_container(value);
  if (rc < 0) return broken("cannot read texts", rc);
  return true;
}

Result<bool> read_value(sd_bus_message* value, std::string_view type, UniqueFd& to) {
  int fd = -1;
  auto read = read_basic(value, type, SD_BUS_TYPE_UNIX_FD, fd);
  if (!read || !*read) return read;
  to.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!to) return fail_errno("cannot keep a descriptor");
  return true;
}

Result<> read_dictionary(sd_bus_message* message, const DictionaryEntry& entry) {
  constexpr const char* kWhat = "cannot read a dictionary";
  int rc = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
  if (rc <= 0) return broken(kWhat, rc == 0 ? -ENXIO : rc);
  for (;;) {
    rc = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv");
    if (rc <= 0) break;
    auto read = read_entry(message, entry);
    if (!read) return std::unexpected(read.error());
    if (*read < 0) return broken(kWhat, *read);
  }
  if (rc == 0) rc = sd_bus_message_exit_container(message);
  if (rc < 0) return broken(kWhat, rc);
  return {};
}

std::optional<size_t> size_of_arguments(sd_bus_message* message, size_t limit) noexcept {
  const char* path = sd_bus_message_get_path(message);
  const size_t path_size = path == nullptr ? 0 : std::strlen(path);
  size_t left = limit;
  bool fit = path_size <= limit;
  fit = fit && walk(message, left);
  if (sd_bus_message_rewind(message, 1) < 0 || !fit) return std::nullopt;
  return path_size + limit - left;
}

uint64_t unsent(sd_bus* bus) noexcept {
  uint64_t count = 0;
  return sd_bus_get_n_queued_write(bus, &count) < 0 ? 0 : count;
}

bool has_unread(sd_bus* bus) noexcept {
  uint64_t count = 0;
  if (sd_bus_get_n_queued_read(bus, &count) >= 0 && count > 0) return true;
  pollfd socket{.fd = sd_bus_get_fd(bus), .events = POLLIN, .revents = 0};
  return socket.fd >= 0 && ::poll(&socket, 1, 0) > 0 && (socket.revents & POLLIN) != 0;
}

bool is_in_call(sd_bus* bus, const char* interface) noexcept {
  sd_bus_message* message = sd_bus_get_current_message(bus);
  const char* called = message == nullptr ? nullptr : sd_bus_message_get_interface(message);
  return called != nullptr && std::strcmp(called, interface) == 0;
}

Result<> reply_error(sd_bus_message* call, const char* name, const std::string& message) noexcept {
  sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(name, message.c_str());
  if (int rc = sd_bus_reply_method_error(call, &error); rc < 0) return broken("cannot answer", rc);
  return {};
}

bool is_answerable(sd_bus_message* call) noexcept {
  sd_id128_t id;
  const char* member = sd_bus_message_get_member(call);
  return member == nullptr || std::strcmp(member, "GetMachineId") != 0 || sd_id128_get_machine(&id) >= 0;
}

Result<> send_only(const sdbus::MethodCall& call) noexcept {
  int rc = sd_bus_message_set_expect_reply(message_of(call), 0);
  if (rc >= 0) rc = sd_bus_send(nullptr, message_of(call), nullptr);
  if (rc < 0) return broken("cannot send", rc);
  return {};
}

Result<> dispatch_again(sd_bus* bus, sd_bus_message* message) noexcept {
  int rc = sd_bus_message_rewind(message, 1);
  if (rc >= 0) rc = sd_bus_enqueue_for_read(bus, message);
  if (rc < 0) return broken("cannot queue a message", rc);
  return {};
}

// Kept alive by its Registration, and by a running call of its own.
struct Registration::State : std::enable_shared_from_this<State> {
  Handler handler;
  std::function<void(Result<>)> installed;
  sd_bus_slot* slot = nullptr;

  ~State() { sd_bus_slot_unref(slot); }

  // An exception here is a bug or the end of memory, as in the handlers of EventLoop: the end is meant.
  // NOLINTBEGIN(bugprone-exception-escape)
  static int on_message(sd_bus_message* message, void* self, sd_bus_error*) noexcept {
    auto keep = static_cast<State*>(self)->shared_from_this();
    return keep->handler(message) ? 1 : 0;
  }
  // Of the bus itself.
  static int on_signal(sd_bus_message* message, void* self, sd_bus_error*) noexcept {
    // A match on a well-known sender lets signals from every unique name through: sd-bus does not know who has which
    // name.
    const char* sender = sd_bus_message_get_sender(message);
    if (sender == nullptr || std::strcmp(sender, "org.freedesktop.DBus") != 0) return 0;
    auto keep = static_cast<State*>(self)->shared_from_this();
    static_cast<void>(keep->handler(message));
    return 0;  // also for the others who wait for it
  }
  static int on_installed(sd_bus_message* reply, void* self, sd_bus_error*) noexcept {
    auto keep = static_cast<State*>(self)->shared_from_this();
    const sd_bus_error* error = sd_bus_message_get_error(reply);
    keep->installed(error == nullptr ? Result<>{} : fail(std::string("the bus refuses a match: ") + error->name));
    return 1;
  }
  // NOLINTEND(bugprone-exception-escape)
};

Registration::Registration() noexcept = default;
Registration::Registration(Registration&&) noexcept = default;
Registration& Registration::operator=(Registration&&) noexcept = default;
Registration::~Registration() {
  // A running call keeps the state, but must not be called again.
  if (state_) state_->slot = sd_bus_slot_unref(state_->slot);
}

Result<Registration> Registration::filter(sd_bus* bus, Handler handler) {
  Registration out;
  out.state_ = std::make_shared<State>();
  out.state_->handler = std::move(handler);
  if (int rc = sd_bus_add_filter(bus, &out.state_->slot, State::on_message, out.state_.get()); rc < 0) {
    return broken("cannot look at messages of the bus", rc);
  }
  return out;
}

Result<Registration> Registration::match(sd_bus* bus, const std::string& rule, Handler handler,
                                         std::function<void(Result<>)> installed) {
  Registration out;
  out.state_ = std::make_shared<State>();
  out.state_->handler = std::move(handler);
  out.state_->installed = std::move(installed);
  if (int rc = sd_bus_add_match_async(bus, &out.state_->slot, rule.c_str(), State::on_signal, State::on_installed,
                                      out.state_.get());
      rc < 0) {
    return broken("cannot watch names on the bus", rc);
  }
  return out;
}

Result<Registration> Registration::name_gone(sd_bus* bus, const std::string& unique_name,
                                             const std::function<void(Result<>)>& gone) {
  auto on_signal = [gone](sd_bus_message*) {
    gone({});
    return true;
  };
  auto on_installed = [gone](Result<> installed) {
    if (!installed) gone(std::move(installed));
  };
  // Unique names are the bus's: nothing in them needs quoting.
  return match(bus, kNameOwnerChanged + (",arg0='" + unique_name + "'"), std::move(on_signal), std::move(on_installed));
}

Result<Registration> Registration::all_names(sd_bus* bus,
                                             std::function<void(std::string_view name, bool there)> changed,
                                             std::function<void(Result<>)> installed) {
  auto on_signal = [changed = std::move(changed)](sd_bus_message* message) {
    const char* name = nullptr;
    const char* before = nullptr;
    const char* after = nullptr;
    if (sd_bus_message_read(message, "sss", &name, &before, &after) <= 0) return false;
    if (*before == '\0' || *after == '\0') changed(name, *after != '\0');
    return true;
  };
  return match(bus, kNameOwnerChanged, std::move(on_signal), std::move(installed));
}

void close(sd_bus* bus) noexcept {
  sd_bus_close(bus);
}

bool is_disconnect(sd_bus_message* message) noexcept {
  const char* sender = sd_bus_message_get_sender(message);
  return sender != nullptr && std::strcmp(sender, "org.freedesktop.DBus.Local") == 0 &&
         sd_bus_message_is_signal(message, "org.freedesktop.DBus.Local", "Disconnected") > 0;
}

}  // namespace wrapd::daemon::bus::sd
