// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <climits>
#include <cstdint>

#include "audit/sink.h"

namespace wrapd::audit {
namespace {

// Writes the head of `text` without waiting: 0, or the errno value that stopped it; what is written is cut off `text`.
// The descriptor is often shared (stderr) and so cannot be made non-blocking: a pipe that polls writable takes
// PIPE_BUF bytes at once (pipe(7)), so that is what it is given; a file gets each line in one piece. Only another
// writer that comes between the two calls could make us wait, for as long as the reader then takes.
int write_some(int fd, std::string_view& text) {
  struct stat st {};
  size_t at_once = ::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? SIZE_MAX : PIPE_BUF;
  while (!text.empty()) {
    struct pollfd p {
      .fd = fd, .events = POLLOUT, .revents = 0
    };
    int ready = ::poll(&p, 1, 0);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return errno;
    if (ready == 0) return EAGAIN;
    if ((p.revents & POLLNVAL) != 0) return EBADF;
    if ((p.revents & (POLLERR | POLLHUP)) != 0) return EPIPE;  // nobody reads: a write would answer with SIGPIPE
    ssize_t n = ::write(fd, text.data(), std::min(text.size(), at_once));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

}  // namespace

JsonLinesSink::~JsonLinesSink() {
  // Nobody is left to be told; a cut line stays cut.
  (void)flush();
}

Result<> JsonLinesSink::flush() {
  std::string_view rest = partial_;
  int error = write_some(fd_.get(), rest);
  partial_.erase(0, partial_.size() - rest.size());
  if (error != 0) return fail_errno("cannot write audit events", error);
  return {};
}

Result<> JsonLinesSink::write(const Event& event) {
  if (auto flushed = flush(); !flushed) return flushed;
  std::string line = to_json(event) + "\n";
  std::string_view rest = line;
  int error = write_some(fd_.get(), rest);
  if (rest.size() == line.size()) return fail_errno("cannot write audit events", error);
  // Begun is taken: the rest follows with the next flush() or write(), before anything else.
  partial_ = rest;
  return {};
}

}  // namespace wrapd::audit
