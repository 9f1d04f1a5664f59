// SPDX-License-Identifier: Apache-2.0
#include "supervisor/actors.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <optional>

#include "supervisor/handler.h"

namespace wrapd::supervisor {
namespace {

constexpr size_t kStackBytes = size_t{256} * 1024;

}  // namespace

struct Actors::Actor {
  explicit Actor(Actors& owner, kernel::Credentials as) : actors(owner), credentials(std::move(as)) {
    ::sem_init(&done, 0, 0);
  }
  ~Actor() { ::sem_destroy(&done); }
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  Actors& actors;
  const kernel::Credentials credentials;
  std::shared_ptr<Actor> self;  // while the thread runs
  pthread_t thread{};
  std::atomic<pid_t> tid{0};
  sem_t done;  // posted when the credentials are taken, and after each work

  std::mutex lock;
  std::condition_variable changed;
  const std::function<void()>* work = nullptr;
  bool leave = false;
  std::optional<Error> error;  // why the credentials could not be had
};

void Actors::join(std::list<std::shared_ptr<Actor>> leaving) {
  for (auto& actor : leaving) {
    {
      std::lock_guard held(actor->lock);
      actor->leave = true;
    }
    actor->changed.notify_one();
    ::pthread_join(actor->thread, nullptr);
  }
}

Actors::~Actors() {
  std::list<std::shared_ptr<Actor>> all;
  {
    std::lock_guard held(lock_);
    all.swap(idle_);
    all.splice(all.end(), ended_);
  }
  join(std::move(all));
}

void Actors::serve(Actor& actor) {
  actor.tid = ::gettid();
  sigset_t interrupts;  // blocked, perhaps, in the thread that started this one
  ::sigemptyset(&interrupts);
  ::sigaddset(&interrupts, kInterruptSignal);
  ::pthread_sigmask(SIG_UNBLOCK, &interrupts, nullptr);
  if (auto taken = tasks_.act_as(actor.credentials); !taken) actor.error = taken.error();
  const bool able = !actor.error;
  ::sem_post(&actor.done);
  while (able) {
    std::unique_lock held(actor.lock);
    actor.changed.wait_for(held, limits_.patience, [&] { return actor.work != nullptr || actor.leave; });
    if (actor.leave) break;
    if (actor.work != nullptr) {
      held.unlock();
      // A signal for the work before, passed on when that was done already, is taken here and not within this one.
      (void)::syscall(SYS_gettid);
      (*actor.work)();
      held.lock();
      actor.work = nullptr;
      ::sem_post(&actor.done);
      continue;
    }
    held.unlock();
    // No work came. The thread that takes the actor out of the list first decides.
    std::lock_guard list_held(lock_);
    auto at = std::ranges::find_if(idle_, [&](const auto& idle) { return idle.get() == &actor; });
    if (at == idle_.end()) continue;
    ended_.splice(ended_.end(), idle_, at);
    break;
  }
}

Result<std::shared_ptr<Actors::Actor>> Actors::take(const kernel::Credentials& credentials) {
  {
    std::lock_guard held(lock_);
    auto at =
        std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto& idle) { return idle->credentials == credentials; });
    if (at != idle_.rend()) {
      auto found = *at;
      idle_.erase(std::next(at).base());
      return found;
    }
  }
  auto actor = std::make_shared<Actor>(*this, credentials);
  actor->self = actor;
  pthread_attr_t attributes;
  if (int rc = ::pthread_attr_init(&attributes); rc != 0) return fail_errno("cannot start a thread", rc);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  auto entry = [](void* argument) -> void* {
    // The thread's own, until it ends: the thread that started it may have gone.
    auto own = std::move(static_cast<Actor*>(argument)->self);
    own->actors.serve(*own);
    return nullptr;
  };
  int rc = ::pthread_create(&actor->thread, &attributes, entry, actor.get());
  ::pthread_attr_destroy(&attributes);
  if (rc != 0) {
    actor->self.reset();
    return fail_errno("cannot start a thread", rc);
  }
  while (::sem_wait(&actor->done) < 0) {
  }
  if (actor->error) {
    ::pthread_join(actor->thread, nullptr);
    return std::unexpected(*actor->error);
  }
  return actor;
}

Result<> Actors::run(const kernel::Credentials& credentials, const std::function<void()>& work) {
  auto taken = take(credentials);
  if (!taken) return std::unexpected(taken.error());
  std::shared_ptr<Actor> actor = std::move(*taken);
  {
    std::lock_guard held(actor->lock);
    actor->work = &work;
  }
  actor->changed.notify_one();
  // EINTR. The signal is passed on to the actor, which waits in our place. The monitor repeats it.
  while (::sem_wait(&actor->done) < 0) (void)::tgkill(::getpid(), actor->tid, kInterruptSignal);
  (void)::syscall(SYS_gettid);  // one that came when the work was done is taken here

  std::list<std::shared_ptr<Actor>> leaving;
  {
    std::lock_guard held(lock_);
    idle_.push_back(std::move(actor));
    leaving.swap(ended_);
    if (idle_.size() > limits_.idle) leaving.splice(leaving.end(), idle_, idle_.begin());
  }
  join(std::move(leaving));
  return {};
}

}  // namespace wrapd::supervisor
