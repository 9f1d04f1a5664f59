// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd {

// Reads from `fd` to its end. More than `limit` bytes is an error (EFBIG), never a cut.
[[nodiscard]] Result<std::string> read_all(int fd, size_t limit);

// Opens PATH read-only (O_CLOEXEC | O_NOCTTY) and reads all of it; only regular files are read.
[[nodiscard]] Result<std::string> read_file(const std::string& path, size_t limit);

// Writes every byte or fails.
[[nodiscard]] Result<> write_all(int fd, std::span<const std::byte> bytes);
[[nodiscard]] Result<> write_all(int fd, std::string_view text);

// A memfd that holds `bytes` and whose content can never change again (memfd_create(2), F_SEAL_SEAL | SHRINK | GROW |
// WRITE). `name` is shown in /proc/PID/fd only. The caller owns the descriptor.
[[nodiscard]] Result<UniqueFd> sealed_memfd(const char* name, std::span<const std::byte> bytes);

// Seals a memfd that somebody else has filled; the same seals.
[[nodiscard]] Result<> seal_memfd(int fd);

// Read-only private mapping of a whole sealed memfd. Refuses what is not sealed against every change (EPERM), what is
// empty and what is larger than `limit`: an unsealed file could be changed, or cut to a SIGBUS, after it was checked.
class SealedMapping {
 public:
  [[nodiscard]] static Result<SealedMapping> map(int fd, size_t limit);
  SealedMapping() noexcept = default;
  SealedMapping(SealedMapping&& other) noexcept;
  SealedMapping& operator=(SealedMapping&& other) noexcept;
  ~SealedMapping();
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// 2 * `bytes` lower-case hexadecimal digits from getrandom(2). Aborts if the kernel has no randomness to give.
[[nodiscard]] std::string random_hex(size_t bytes);

// True if both are equal, in time that depends on the lengths alone.
[[nodiscard]] bool constant_time_equal(std::string_view a, std::string_view b) noexcept;

// Length of the valid UTF-8 sequence at the head of a text that is not empty, or 0 (RFC 3629: no overlong forms, no
// surrogates).
[[nodiscard]] size_t utf8_length(std::string_view text);

// A user-controlled string for a line of text: control characters, DEL, backslash, what is not seen or moves other
// characters (base/invisible.h) and bytes that are not UTF-8 become \xNN; cut after `limit` bytes of output with "..."
// at the end.
[[nodiscard]] std::string printable(std::string_view text, size_t limit = 4096);

// `text` such that printable() shows at most `limit` characters of it (code points; an escaped byte is four): where it
// would show more the middle gives way to "[...]". Both ends of a path say something, and who chose the beginning must
// not be able to push the end out of sight. `limit` is at least the mark's length. Characters stay whole.
[[nodiscard]] std::string without_middle(std::string_view text, size_t limit);

}  // namespace wrapd
