// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/senders.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <utility>

#include "base/io.h"
#include "daemon/bus/no_throw.h"
#include "kernel/process_table.h"

namespace wrapd::daemon::bus {
namespace {

// The driver answers at once, or the bus hangs.
constexpr std::chrono::seconds kTimeout{25};

struct Credentials {
  std::optional<uint32_t> uid;
  std::optional<uint32_t> pid;
  std::optional<std::vector<gid_t>> groups;
  UniqueFd pidfd;
};

// Who calls then is refused what changes anything; who looks is served.
void complain(sd_bus* bus, const std::string& why) {
  // A bus that has gone is told of by who notices, and the next one is asked anew.
  if (sd_bus_is_open(bus) <= 0) return;
  std::fprintf(stderr,
               "wrapd: D-Bus API: who calls cannot be looked at, so nobody may change anything: %s; restart the "
               "service\n",
               printable(why, 256).c_str());
}

// Without user and groups nobody can be told from anybody else.
std::shared_ptr<Sender> make_sender(std::string name, const sdbus::Message& reply) {
  Credentials credentials;
  auto read = sd::read_dictionary(sd::message_of(reply),
                                  [&](std::string_view key, std::string_view type, sd_bus_message* value) {
                                    if (key == "UnixUserID") return sd::read_value(value, type, credentials.uid);
                                    if (key == "ProcessID") return sd::read_value(value, type, credentials.pid);
                                    if (key == "UnixGroupIDs") return sd::read_value(value, type, credentials.groups);
                                    if (key == "ProcessFD") return sd::read_value(value, type, credentials.pidfd);
                                    return Result<bool>(false);
                                  });
  constexpr size_t kMaxGroups = 65536;  // NGROUPS_MAX
  if (!read || !credentials.uid || *credentials.uid == static_cast<uid_t>(-1)) return nullptr;
  if (!credentials.groups || credentials.groups->size() > kMaxGroups) return nullptr;
  auto sender = std::make_shared<Sender>();
  sender->name = std::move(name);
  sender->uid = *credentials.uid;
  sender->groups = std::move(*credentials.groups);
  sender->pid = static_cast<pid_t>(credentials.pid.value_or(0));
  sender->pidfd = std::move(credentials.pidfd);
  return sender;
}

}  // namespace

std::shared_ptr<const Sender> Senders::find(const std::string& name) {
  auto it = known_.find(name);
  if (it == known_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, it->second);
  return *it->second;
}

void Senders::remember(std::shared_ptr<const Sender> sender) {
  if (known_.contains(sender->name)) return;
  if (recent_.size() >= kMaxKnown) {
    known_.erase(recent_.back()->name);
    recent_.pop_back();
  }
  recent_.push_front(std::move(sender));
  known_.emplace(recent_.front()->name, recent_.begin());
}

void Senders::ask(const std::string& name, std::function<void(std::shared_ptr<const Sender>)> done) {
  request(name, [this, done = std::move(done)](std::shared_ptr<Sender> sender) {
    if (!sender) return done(nullptr);
    if (!sender->pidfd) look_up(*sender);
    find_payer(std::move(sender), done);
  });
}

void Senders::find_payer(std::shared_ptr<Sender> sender, std::function<void(std::shared_ptr<const Sender>)> done) {
  const uid_t uid = sender->uid;
  auto found = [this, alive = std::weak_ptr(alive_), sender = std::move(sender), done = std::move(done)](bool known) {
    // The service outlives a connection to the bus.
    if (alive.expired()) return;
    if (known) sender->payer = sender->uid;
    remember(sender);
    no_throw("who calls", [&] { done(sender); });
  };
  if (uid == 0) return found(true);
  has_account_(uid, std::move(found));
}

// `answer` gets nullptr if the bus does not say.
void Senders::request(const std::string& name, Answer answer) {
  auto call = compat::method_call(driver_, "org.freedesktop.DBus", "GetConnectionCredentials");
  call << name;
  compat::call_async(
      driver_, call,
      [name, answer = std::move(answer)](sdbus::MethodReply& reply, const sdbus::Error* error) {
        no_throw("who calls", [&] { answer(error == nullptr ? make_sender(name, reply) : nullptr); });
      },
      kTimeout);
}

void Senders::begin(sd_bus* bus) {
  const char* own = nullptr;
  if (int rc = sd_bus_get_unique_name(bus, &own); rc < 0) {
    complain(bus, fail_errno("we have no name on the bus", -rc).error().message);
    return;
  }
  request(own, [this, bus](const std::shared_ptr<Sender>& us) {
    if (!us) {
      complain(bus, "the bus does not say who we are");
    } else if (!us->pidfd) {
      watch_names(bus);
    }
  });
}

void Senders::watch_names(sd_bus* bus) {
  proc_.reset(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!proc_) return complain(bus, fail_errno("cannot open /proc").error().message);
  auto names = sd::Registration::all_names(
      bus,
      [this](std::string_view name, bool there) {
        no_throw("names on the bus", [&] {
          if (!unique_names_) return;
          if (there) {
            unique_names_->came(name, kernel::ticks_since_boot());
          } else {
            unique_names_->left(name);
          }
        });
      },
      [this, bus](const Result<>& installed) {
        if (!installed) return complain(bus, installed.error().message);
        unique_names_.emplace(kernel::ticks_since_boot());
      });
  if (!names) return complain(bus, names.error().message);
  names_ = std::move(*names);
}

// By the number, where the bus gives nothing better.
void Senders::look_up(Sender& sender) const {
  sender.no_pidfd = "the caller's process cannot be looked at";
  if (!unique_names_ || sender.pid <= 0) return;
  auto pidfd = kernel::open_process(proc_.get(), sender.pid, unique_names_->of(sender.name));
  if (pidfd) {
    sender.pidfd = std::move(*pidfd);
  } else if (pidfd.error().code == EPERM) {
    sender.no_pidfd = "the caller's process has gone, and its number is another's";
  }
}

}  // namespace wrapd::daemon::bus
