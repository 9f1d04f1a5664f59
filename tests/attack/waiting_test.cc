// SPDX-License-Identifier: Apache-2.0

// What ends a call that waits: the target's death, a stop, a signal without a handler, a handler of a socket with a
// timeout. Each program makes its own server with a full backlog and does the same natively and wrapped.

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <span>
#include <thread>
#include <vector>

#include "arena.h"
#include "programs.h"

namespace wrapd::attack {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPatience = 10'000;  // ms: for what is to happen at once

// A server whose one place is taken.
class Full {
 public:
  explicit Full(const Place& place, const std::string& name = "full") : address_(unix_address(place / name)) {
    if (::bind(listener_.get(), address_.get(), address_.length) < 0 || ::listen(listener_.get(), 0) < 0) ::_exit(2);
    if (connect() != 0) ::_exit(2);
  }
  // A new client's; it stays connected.
  int connect() {
    clients_.emplace_back(unix_socket());
    return ::connect(clients_.back().get(), address_.get(), address_.length);
  }
  [[nodiscard]] UniqueFd accept(int patience = kPatience) const {
    struct pollfd p {
      .fd = listener_.get(), .events = POLLIN, .revents = 0
    };
    if (::poll(&p, 1, patience) <= 0) return {};
    return UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  [[nodiscard]] const Address& address() const { return address_; }

 private:
  Address address_;
  UniqueFd listener_{unix_socket()};
  std::vector<UniqueFd> clients_;
};

// What a wait for a child says within kPatience, or nothing.
std::string wait_for(pid_t child, int options) {
  int status = 0;
  for (auto end = Clock::now() + std::chrono::milliseconds(kPatience); Clock::now() < end; ::usleep(1000)) {
    if (::waitpid(child, &status, options | WNOHANG) != child) continue;
    if (WIFSTOPPED(status)) return "stopped by " + std::to_string(WSTOPSIG(status));
    if (WIFSIGNALED(status)) return "killed by " + std::to_string(WTERMSIG(status));
    return "exited " + std::to_string(WEXITSTATUS(status));
  }
  return "nothing happens";
}

void same(const Program& program) {
  expect_same_story([](const Place&) {}, allow_everything, program);
}

TEST(Waiting, StopsAndGoesOn) {
  same([](const Place& place, Story& told) {
    for (int signal : {SIGSTOP, SIGTSTP}) {
      for (int threads : {1, 3}) {
        Full full(place, "full" + std::to_string(signal) + std::to_string(threads));
        pid_t child = ::fork();
        if (child == 0) {
          ::setpgid(0, 0);
          std::vector<std::thread> others;
          std::atomic<int> failed{0};
          auto wait = [&] {
            UniqueFd fd(unix_socket());
            failed += ::connect(fd.get(), full.address().get(), full.address().length) == 0 ? 0 : 1;
          };
          for (int i = 1; i < threads; ++i) others.emplace_back(wait);
          wait();
          for (auto& other : others) other.join();
          ::_exit(failed);
        }
        must_be_connecting(child);
        ::kill(child, signal);
        told.tell("stop", wait_for(child, WUNTRACED));
        ::kill(child, SIGCONT);
        must_be_connecting(child);
        for (int i = 0; i < threads + 1; ++i) told.tell("accepted", full.accept() ? "yes" : "no");
        told.tell("end", wait_for(child, 0));
      }
    }
  });
}

TEST(Waiting, DiesOfASignalThatDumpsCore) {
  same([](const Place& place, Story& told) {
    Full full(place);
    pid_t child = ::fork();
    if (child == 0) {
      rlimit none{.rlim_cur = 0, .rlim_max = 0};
      ::setrlimit(RLIMIT_CORE, &none);
      ::_exit(full.connect());
    }
    must_be_connecting(child);
    ::kill(child, SIGQUIT);
    told.tell("end", wait_for(child, 0));
  });
}

// signal(7): EINTR, whatever the handler asks for.
TEST(Waiting, WithATimeoutAHandlerInterrupts) {
  same([](const Place& place, Story& told) {
    Full full(place);
    struct sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGALRM, &action, nullptr);
    UniqueFd fd(unix_socket());
    timeval timeout{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    itimerval timer{.it_interval = {.tv_sec = 0, .tv_usec = 300'000}, .it_value = {.tv_sec = 0, .tv_usec = 300'000}};
    ::setitimer(ITIMER_REAL, &timer, nullptr);
    auto begin = Clock::now();
    told.tell("connect", outcome(::connect(fd.get(), full.address().get(), full.address().length)));
    told.tell("before the timeout", Clock::now() - begin < std::chrono::seconds(15) ? "yes" : "no");
  });
}

TEST(Waiting, WithATimeoutAStopInterrupts) {
  // A stop that comes before the wait has begun restarts the call, as any signal does.
  Turns turns;
  std::thread outside([&] {
    auto waiting = [] { return supervisor_connecting().value_or(1) == 1; };
    while (turns.act([&] { EXPECT_TRUE(wait_until(waiting)); })) {
    }
  });
  same([&](const Place& place, Story& told) {
    Full full(place);
    pid_t child = ::fork();
    if (child == 0) {
      UniqueFd fd(unix_socket());
      timeval timeout{.tv_sec = 20, .tv_usec = 0};
      ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
      ::_exit(::connect(fd.get(), full.address().get(), full.address().length) < 0 ? errno : 0);
    }
    must_be_connecting(child);
    turns.let_outside_act();
    ::kill(child, SIGSTOP);
    told.tell("stop", wait_for(child, WUNTRACED));
    ::kill(child, SIGCONT);
    told.tell("end", wait_for(child, 0));
  });
  turns.end();
  outside.join();
}

// Clients that wait are killed; then the server accepts: nobody dead comes, and every survivor does.
TEST(Waiting, TheKilledTakeNobodysPlace) {
  constexpr int kWaiting = 12;
  Turns turns;
  // Natively a killed process is gone with its end; what waits for it elsewhere hears of that a moment later.
  std::thread outside([&] {
    auto waiting = [](size_t count) { return [count] { return supervisor_connecting().value_or(count) == count; }; };
    while (turns.act([&] { EXPECT_TRUE(wait_until(waiting(kWaiting))); }) &&
           turns.act([&] { EXPECT_TRUE(wait_until(waiting(kWaiting / 2))); })) {
    }
  });
  same([&](const Place& place, Story& told) {
    int dead = 0, alive = 0, missing = 0;
    for (int round = 0; round < 20; ++round) {
      Full full(place, "full" + std::to_string(round));
      std::vector<pid_t> clients;
      for (int i = 0; i < kWaiting; ++i) {
        pid_t client = ::fork();
        if (client == 0) {
          UniqueFd fd(unix_socket());
          if (::connect(fd.get(), full.address().get(), full.address().length) < 0) ::_exit(1);
          ::_exit(::write(fd.get(), "a", 1) == 1 ? 0 : 1);
        }
        clients.push_back(client);
      }
      for (pid_t client : clients) must_be_connecting(client);
      turns.let_outside_act();
      for (int i = 0; i < kWaiting; i += 2) {
        ::kill(clients[static_cast<size_t>(i)], i % 4 == 0 ? SIGKILL : SIGTERM);
        (void)wait_for(clients[static_cast<size_t>(i)], 0);
      }
      turns.let_outside_act();
      (void)full.accept();  // the one that took the place
      for (int i = 0; i < kWaiting / 2; ++i) {
        UniqueFd client = full.accept();
        char byte;
        if (!client) {
          ++missing;
        } else {
          ++(::read(client.get(), &byte, 1) == 1 ? alive : dead);
        }
      }
      for (int i = 1; i < kWaiting; i += 2) (void)wait_for(clients[static_cast<size_t>(i)], 0);
    }
    told.tell("dead", std::to_string(dead));
    told.tell("alive", std::to_string(alive));
    told.tell("missing", std::to_string(missing));
  });
  turns.end();
  outside.join();
}

// The server accepts as soon as clients are dead: whatever wake-up is still given for one of them, the survivors come
// through. (While they die one may be lost natively, too.)
TEST(Waiting, NoWakeUpIsLostWithTheKilled) {
  same([](const Place& place, Story& told) {
    int stuck = 0;
    for (int round = 0; round < 60; ++round) {
      constexpr int kWaiting = 8;
      constexpr size_t kKilled = 3;
      Full full(place, "full" + std::to_string(round));
      std::vector<pid_t> clients;
      for (int i = 0; i < kWaiting; ++i) {
        pid_t client = ::fork();
        if (client == 0) ::_exit(full.connect() == 0 ? 0 : 1);
        clients.push_back(client);
      }
      for (pid_t client : clients) must_be_connecting(client);
      for (size_t i = 0; i < kKilled; ++i) {
        ::kill(clients[i], SIGKILL);
        ::waitpid(clients[i], nullptr, 0);
      }
      std::atomic<bool> stop{false};
      std::thread server([&] {
        while (!stop) (void)full.accept(20);
      });
      for (pid_t client : std::span(clients).subspan(kKilled)) {
        if (wait_for(client, 0) != "nothing happens") continue;
        ++stuck;
        ::kill(client, SIGKILL);
        ::waitpid(client, nullptr, 0);
      }
      stop = true;
      server.join();
      if (stuck > 0) break;
    }
    told.tell("stuck", std::to_string(stuck));
  });
}

// What is closed is forgotten, so that who lives is not. Natively nothing is remembered.
TEST(Bound, ManyThatAreClosedAreForgotten) {
  same([](const Place& place, Story& told) {
    UniqueFd first(unix_socket());
    Address address = unix_address(place / "first");
    told.tell("bind", outcome(::bind(first.get(), address.get(), address.length)));
    told.tell("listen", outcome(::listen(first.get(), 1)));
    int failures = 0;
    std::vector<UniqueFd> alive;
    for (int i = 0; i < 5000; ++i) {
      const std::string name = place / std::to_string(i);
      Address at = unix_address(name);
      UniqueFd fd(unix_socket());
      failures += ::bind(fd.get(), at.get(), at.length) == 0 && ::listen(fd.get(), 1) == 0 ? 0 : 1;
      // Some keep their name, some hide it, some live.
      if (i % 3 != 0) ::unlink(name.c_str());
      if (i % 50 == 0) alive.push_back(std::move(fd));
    }
    for (UniqueFd& fd : alive) failures += ::listen(fd.get(), 2) == 0 ? 0 : 1;
    told.tell("failures", std::to_string(failures));
    told.tell("listen again", outcome(::listen(first.get(), 2)));
  });
}

}  // namespace
}  // namespace wrapd::attack
