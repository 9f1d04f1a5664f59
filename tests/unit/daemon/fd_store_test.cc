// SPDX-License-Identifier: Apache-2.0
#include "daemon/fd_store.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>

#include "base/unique_fd.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::daemon {
namespace {

class Store : public ::testing::Test {
 protected:
  Store() : loop_(std::move(*EventLoop::create())), path_(top_.path() + "/notify") {
    ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
    ::unsetenv("FDSTORE");
  }
  ~Store() override { ::unsetenv("NOTIFY_SOCKET"); }

  void listen() {
    manager_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.c_str(), path_.size());
    ASSERT_EQ(::bind(manager_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  // All that has come.
  std::vector<std::string> take() {
    std::vector<std::string> out;
    char buffer[4096];
    for (ssize_t n; (n = ::recv(manager_.get(), buffer, sizeof buffer, 0)) >= 0;) {
      out.emplace_back(buffer, static_cast<size_t>(n));
    }
    return out;
  }
  void run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      ASSERT_TRUE(loop_.run_once(std::chrono::milliseconds(10)));
    }
  }

  test::TemporaryDirectory top_;
  EventLoop loop_;
  std::string path_;
  UniqueFd manager_;
};

TEST_F(Store, WhatAManagerDoesNotTakeOutIsCountedAndTriedAgain) {
  listen();
  FdStore store(loop_, 400);
  const size_t most = store.most_sessions();
  EXPECT_EQ(most, 400 / FdStore::kMostPerSession);
  // Its queue is full at some time.
  size_t removed = 0;
  while (store.most_sessions() == most) {
    ASSERT_LT(removed, 100'000U);
    store.remove("session-" + std::to_string(removed++));
  }
  store.remove("session-last");
  ++removed;
  EXPECT_EQ(store.most_sessions(), most - 2);
  EXPECT_FALSE(store.store("session-last", {}));
  size_t seen = 0;
  run_until([&] {
    seen += take().size();
    return store.most_sessions() == most;
  });
  seen += take().size();
  EXPECT_EQ(seen, removed);
  EXPECT_TRUE(store.store("session-last", {}));
}

TEST_F(Store, ARemovalIsTriedAgainAlsoAfterOtherErrors) {
  FdStore store(loop_, 400);
  const size_t most = store.most_sessions();
  ::testing::internal::CaptureStderr();
  store.remove("session-0");  // there is nobody at all
  store.remove("session-1");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(store.most_sessions(), most - 2);
  listen();
  run_until([&] { return store.most_sessions() == most; });
  EXPECT_EQ(take(),
            (std::vector<std::string>{"FDSTOREREMOVE=1\nFDNAME=session-0", "FDSTOREREMOVE=1\nFDNAME=session-1"}));
}

TEST_F(Store, RemovalsNeverCountForMoreThanThereIs) {
  FdStore store(loop_, 8);
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 10; ++i) store.remove("session-" + std::to_string(i));
  ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(store.most_sessions(), 0U);
}

}  // namespace
}  // namespace wrapd::daemon
