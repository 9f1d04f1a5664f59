// SPDX-License-Identifier: Apache-2.0

// The journal's native protocol, spoken by hand: the library that speaks it costs more of a command's start than all
// the rest, and it connects by a path, which a supervisor no longer has once it lives in its client's root. Every value
// is length-framed, whatever it holds, so no value can begin another field or another entry.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>

#include "audit/fields.h"
#include "audit/sink.h"
#include "base/io.h"

namespace wrapd::audit {
namespace {

constexpr std::string_view kFacility = "10";  // LOG_AUTHPRIV

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += '\n';
  for (size_t i = 0; i < 8; ++i) out += static_cast<char>((static_cast<uint64_t>(value.size()) >> (8 * i)) & 0xFF);
  out += value;
  out += '\n';
}

class JournalVisitor final : public FieldVisitor {
 public:
  explicit JournalVisitor(std::string& out) : out_(out) {}
  void text(std::string_view name, std::string_view text) override {
    std::string field = "WRAPD_";
    for (char c : name) field += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    append_field(out_, field, text);
  }
  void number(std::string_view name, uint64_t value) override { text(name, std::to_string(value)); }
  void boolean(std::string_view name, bool value) override { text(name, value ? "true" : "false"); }

 private:
  std::string& out_;
};

std::string journal_entry(const Event& event) {
  std::string out;
  out.reserve(2048);
  append_field(out, "MESSAGE", to_message(event));
  append_field(out, "MESSAGE_ID", message_id(event.kind));
  append_field(out, "PRIORITY", std::to_string(priority(event)));
  append_field(out, "SYSLOG_IDENTIFIER", "wrapd");
  append_field(out, "SYSLOG_FACILITY", kFacility);
  JournalVisitor visitor(out);
  visit(event, visitor);
  append_field(out, "WRAPD_EVENT", to_json(event));
  return out;
}

// One datagram: the entry itself, or nothing but the descriptor of a memfd that holds it. 0 or an errno value.
int send_datagram(int socket, std::string_view bytes, int memfd) {
  iovec iov{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (memfd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &memfd, sizeof memfd);
  }
  ssize_t n;
  do n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n < 0 ? errno : 0;
}

bool means_gone(int error) {
  return error == ECONNREFUSED || error == ENOTCONN || error == ENOENT || error == ECONNRESET || error == EPIPE ||
         error == EDESTADDRREQ;
}

}  // namespace

JournalSink::JournalSink(UniqueFd directory_fd, std::string socket_name, std::string proc_fd_path)
    : directory_(std::move(directory_fd)),
      socket_name_(std::move(socket_name)),
      proc_fd_path_(std::move(proc_fd_path)) {}

Result<> JournalSink::connect_socket() {
  std::string path = proc_fd_path_ + "/" + std::to_string(directory_.get()) + "/" + socket_name_;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail_errno("cannot connect to the journal", ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("cannot make a socket for the journal");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return fail_errno("cannot connect to the journal");
  }
  socket_ = std::move(socket);
  return {};
}

Result<> JournalSink::write(const Event& event) {
  std::string entry = journal_entry(event);
  int error = 0;
  // The second round is for a journal that was restarted: its old socket is gone, its new one has the old name.
  for (int round = 0; round < 2; ++round) {
    if (!socket_) {
      if (auto connected = connect_socket(); !connected) return connected;
    }
    error = send_datagram(socket_.get(), entry, -1);
    if (error == EMSGSIZE) {
      auto memfd = sealed_memfd("wrapd-event", std::as_bytes(std::span(entry)));
      if (!memfd) return std::unexpected(memfd.error());
      error = send_datagram(socket_.get(), {}, memfd->get());
    }
    if (error == 0) return {};
    if (!means_gone(error)) break;
    socket_.reset();
  }
  if (error == ENOBUFS || error == EAGAIN) return fail_errno("the journal's queue is full", EAGAIN);
  return fail_errno("cannot write to the journal", error);
}

std::unique_ptr<Sink> open_system_sink(std::string proc_fd_path) {
  constexpr const char* kSocket = "socket";
  UniqueFd directory(::open("/run/systemd/journal", O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat st {};
  if (directory && ::fstatat(directory.get(), kSocket, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode)) {
    return std::make_unique<JournalSink>(std::move(directory), kSocket, std::move(proc_fd_path));
  }
  return std::make_unique<JsonLinesSink>(UniqueFd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)));
}

}  // namespace wrapd::audit
