// SPDX-License-Identifier: Apache-2.0
#include "daemon/worker.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace wrapd::daemon {

struct Worker::Shared {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<Completion()>> jobs;
  std::vector<Completion> done;
  size_t max_threads = 0;
  size_t max_queue = 0;
  size_t threads = 0;
  size_t idle = 0;
  bool closed = false;
  UniqueFd event;
};

Result<std::unique_ptr<Worker>> Worker::create(EventLoop& loop, size_t max_threads, size_t max_queue) {
  std::unique_ptr<Worker> worker(new Worker);
  worker->shared_ = std::make_shared<Shared>();
  worker->shared_->max_threads = max_threads;
  worker->shared_->max_queue = max_queue;
  worker->shared_->event.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!worker->shared_->event) return fail_errno("cannot make an eventfd");
  auto source =
      loop.on_io(worker->shared_->event.get(), EPOLLIN, [worker = worker.get()](uint32_t) { worker->collect(); });
  if (!source) return std::unexpected(source.error());
  worker->source_ = std::move(*source);
  return worker;
}

Worker::~Worker() {
  if (!shared_) return;
  std::lock_guard lock(shared_->mutex);
  shared_->closed = true;
  shared_->jobs.clear();
  shared_->wake.notify_all();
}

Result<> Worker::submit(std::function<Completion()> job) {
  if (auto queued = queue(std::move(job)); !queued) return queued;
  shared_->wake.notify_one();  // without the lock, which is the first thing that a woken thread takes
  return {};
}

Result<> Worker::queue(std::function<Completion()> job) {
  std::lock_guard lock(shared_->mutex);
  if (shared_->jobs.size() >= shared_->max_queue) return fail("too much work is waiting", EAGAIN);
  if (shared_->idle <= shared_->jobs.size() && shared_->threads < shared_->max_threads) {
    try {
      std::thread(run, shared_).detach();
      ++shared_->threads;
    } catch (const std::system_error& e) {
      if (shared_->threads == 0) return fail_errno("cannot start a thread", e.code().value());
    }
  }
  shared_->jobs.push_back(std::move(job));
  return {};
}

void Worker::run(std::shared_ptr<Shared> shared) {
  std::unique_lock lock(shared->mutex);
  for (;;) {
    ++shared->idle;
    shared->wake.wait(lock, [&] { return shared->closed || !shared->jobs.empty(); });
    --shared->idle;
    if (shared->closed) return;
    auto job = std::move(shared->jobs.front());
    shared->jobs.pop_front();
    lock.unlock();
    Completion completion = job();
    job = nullptr;
    lock.lock();
    shared->done.push_back(std::move(completion));
    // Cannot fail: the counter is far from its end, the descriptor lives as long as we do.
    if (::eventfd_write(shared->event.get(), 1) < 0) std::terminate();
  }
}

void Worker::collect() {
  eventfd_t count = 0;
  // EAGAIN means somebody has read it: there is nothing new then, and looking costs nothing.
  if (::eventfd_read(shared_->event.get(), &count) < 0 && errno != EAGAIN) std::terminate();
  std::vector<Completion> done;
  {
    std::lock_guard lock(shared_->mutex);
    done.swap(shared_->done);
  }
  for (auto& completion : done) completion();
}

}  // namespace wrapd::daemon
