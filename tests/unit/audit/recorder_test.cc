// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "audit/sink.h"
#include "base/io.h"

namespace wrapd::audit {
namespace {

struct Tape {
  std::vector<Event> events;
  size_t room = SIZE_MAX;
};

// Takes as many events as it has room for.
class TapeSink final : public Sink {
 public:
  explicit TapeSink(Tape& tape) : tape_(tape) {}
  Result<> write(const Event& event) override {
    if (tape_.room == 0) return fail_errno("no room", EAGAIN);
    --tape_.room;
    tape_.events.push_back(event);
    return {};
  }

 private:
  Tape& tape_;
};

Event numbered(uint64_t number, const std::string& session = "s") {
  Event event = make_event(kind_of(policy::Class::unix_socket));
  event.count = number;
  event.session_id = session;
  return event;
}

std::vector<uint64_t> numbers(const Tape& tape) {
  std::vector<uint64_t> out;
  for (const Event& event : tape.events) {
    out.push_back(event.count.value_or(0) + (event.kind == Kind::events_lost ? 1000 : 0));
  }
  return out;
}

using Numbers = std::vector<uint64_t>;

TEST(Recorder, WritesAtOnceWhenItCan) {
  Tape tape;
  Recorder recorder(std::make_unique<TapeSink>(tape), 4);
  recorder.record(numbered(1));
  EXPECT_EQ(numbers(tape), (Numbers{1}));
  EXPECT_TRUE(recorder.flush());
  EXPECT_EQ(recorder.waiting(), 0U);
}

TEST(Recorder, KeepsOrderWhileItWaits) {
  Tape tape{.events = {}, .room = 0};
  Recorder recorder(std::make_unique<TapeSink>(tape), 4);
  for (uint64_t i = 1; i <= 3; ++i) recorder.record(numbered(i));
  EXPECT_FALSE(recorder.flush());
  EXPECT_EQ(recorder.waiting(), 3U);
  tape.room = 2;
  recorder.record(numbered(4));
  EXPECT_EQ(recorder.waiting(), 2U);
  tape.room = SIZE_MAX;
  recorder.record(numbered(5));
  EXPECT_EQ(numbers(tape), (Numbers{1, 2, 3, 4, 5}));
  EXPECT_EQ(recorder.lost(), 0U);
}

TEST(Recorder, CountsWhatDoesNotFitAndSaysSoInItsPlace) {
  Tape tape{.events = {}, .room = 0};
  Recorder recorder(std::make_unique<TapeSink>(tape), 3);
  for (uint64_t i = 1; i <= 8; ++i) recorder.record(numbered(i));
  EXPECT_EQ(recorder.waiting(), 3U);
  EXPECT_EQ(recorder.lost(), 5U);
  tape.room = 1;  // room for one of the queue: not enough to queue the count and an event
  recorder.record(numbered(9));
  tape.room = 1;
  recorder.record(numbered(10));
  tape.room = SIZE_MAX;
  recorder.record(numbered(11));
  EXPECT_EQ(numbers(tape), (Numbers{1, 2, 3, 1006, 10, 11}));
  EXPECT_EQ(tape.events[3].session_id, "s");
  EXPECT_EQ(recorder.lost(), 6U);
  EXPECT_TRUE(recorder.flush());
}

TEST(Recorder, TinyQueueReportsToo) {
  Tape tape{.events = {}, .room = 0};
  Recorder recorder(std::make_unique<TapeSink>(tape), 0);
  for (uint64_t i = 1; i <= 3; ++i) recorder.record(numbered(i));
  tape.room = 1;
  EXPECT_FALSE(recorder.flush());
  tape.room = SIZE_MAX;
  EXPECT_TRUE(recorder.flush());
  EXPECT_EQ(numbers(tape), (Numbers{1, 1002}));
}

TEST(Recorder, LossOfSeveralSessionsBelongsToNone) {
  for (auto [first, second, third, expected] :
       {std::array<std::string, 4>{"a", "a", "a", "a"}, {"a", "b", "a", ""}, {"", "a", "a", ""}}) {
    Tape tape{.events = {}, .room = 0};
    Recorder recorder(std::make_unique<TapeSink>(tape), 1);
    recorder.record(numbered(0));
    for (const std::string& session : {first, second, third}) recorder.record(numbered(1, session));
    tape.room = SIZE_MAX;
    EXPECT_TRUE(recorder.flush());
    EXPECT_EQ(tape.events.back().session_id, expected);
    EXPECT_EQ(tape.events.back().count, 3U);
  }
}

// Runs `action` with stderr in a file and returns what it wrote there.
template <class F>
std::string stderr_of(F action) {
  UniqueFd file(::memfd_create("stderr", MFD_CLOEXEC));
  UniqueFd old(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  EXPECT_EQ(::dup2(file.get(), STDERR_FILENO), STDERR_FILENO);
  action();
  EXPECT_EQ(::dup2(old.get(), STDERR_FILENO), STDERR_FILENO);
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_SET), 0);
  return read_all(file.get(), 65536).value();
}

TEST(Recorder, EndWritesWhatItCanAndCountsTheRestOnStderr) {
  Tape tape{.events = {}, .room = 0};
  std::string text = stderr_of([&] {
    Recorder recorder(std::make_unique<TapeSink>(tape), 3);
    for (uint64_t i = 1; i <= 5; ++i) recorder.record(numbered(i));
    tape.room = 2;
  });
  EXPECT_EQ(numbers(tape), (Numbers{1, 2}));
  EXPECT_EQ(text, "wrapd: 3 audit events could not be recorded\n");
  EXPECT_EQ(stderr_of([&] {
              tape.room = SIZE_MAX;
              Recorder recorder(std::make_unique<TapeSink>(tape), 3);
              recorder.record(numbered(1));
            }),
            "");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  size_t at = 0;
  for (size_t end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    lines.push_back(text.substr(at, end - at));
    EXPECT_TRUE(nlohmann::json::accept(lines.back())) << lines.back();
  }
  EXPECT_EQ(at, text.size()) << "a line is not whole";
  return lines;
}

TEST(JsonLinesSink, PipeThatIsFullSaysLater) {
  std::array<int, 2> ends;
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);  // blocking: a write that waits would hang this test
  UniqueFd reader(ends[0]);
  Event event = numbered(1);
  event.command = std::string(4000, 'x');
  event.path = std::string(3000, '\x02');  // longer than PIPE_BUF
  size_t taken = 0;
  {
    Recorder recorder(std::make_unique<JsonLinesSink>(UniqueFd(ends[1])), 1000);
    for (; taken < 1000 && recorder.waiting() == 0; ++taken) recorder.record(event);
    ASSERT_GT(taken, 1U);
    ASSERT_LT(taken, 1000U);
    std::string text;
    std::array<char, 65536> buffer;
    ASSERT_EQ(::fcntl(reader.get(), F_SETFL, O_NONBLOCK), 0);
    bool done = false;
    for (int round = 0; round < 1000 && !done; ++round) {
      for (ssize_t n; (n = ::read(reader.get(), buffer.data(), buffer.size())) > 0;) {
        text.append(buffer.data(), static_cast<size_t>(n));
      }
      done = recorder.flush();
    }
    ASSERT_TRUE(done);
    for (ssize_t n; (n = ::read(reader.get(), buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<size_t>(n));
    }
    EXPECT_EQ(lines_of(text).size(), taken);
  }
}

TEST(JsonLinesSink, PipeWithoutAReaderIsAnErrorNotASignal) {
  std::array<int, 2> ends;
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  ::close(ends[0]);
  JsonLinesSink sink{UniqueFd(ends[1])};
  auto written = sink.write(numbered(1));  // SIGPIPE has its default action here
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, EPIPE);
  JsonLinesSink none{UniqueFd()};
  EXPECT_FALSE(none.write(numbered(1)));
}

TEST(JsonLinesSink, LineCutByAFullDiskGoesOn) {
  char name[] = "/tmp/wrapd-audit-XXXXXX";
  int file = ::mkstemp(name);
  ASSERT_GE(file, 0);
  UniqueFd reader(::open(name, O_RDONLY | O_CLOEXEC));
  ::unlink(name);
  // A size limit cuts a write as a full disk does: first short, then with an error.
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  auto limit = [&](rlim_t bytes) {
    rlimit now{.rlim_cur = bytes, .rlim_max = old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &now), 0);
  };
  {
    JsonLinesSink sink{UniqueFd(file)};
    ASSERT_TRUE(sink.write(numbered(1)));
    struct stat st {};
    ASSERT_EQ(::fstat(reader.get(), &st), 0);
    limit(static_cast<rlim_t>(st.st_size) + 20);
    EXPECT_TRUE(sink.write(numbered(2)));  // begun
    EXPECT_FALSE(sink.flush());
    auto third = sink.write(numbered(3));
    EXPECT_FALSE(third);
    EXPECT_EQ(third.error().code, EFBIG);
    limit(old.rlim_cur);
    EXPECT_TRUE(sink.write(numbered(4)));
    EXPECT_TRUE(sink.flush());
  }
  limit(old.rlim_cur);
  (void)std::signal(SIGXFSZ, old_handler);
  auto lines = lines_of(read_all(reader.get(), 65536).value());
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["count"], 2);
  EXPECT_EQ(nlohmann::json::parse(lines[2])["count"], 4);
}

}  // namespace
}  // namespace wrapd::audit
