// SPDX-License-Identifier: Apache-2.0
#include "base/io.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>

#include "base/invisible.h"

namespace wrapd {
namespace {

constexpr int kAllSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

constexpr char kHex[] = "0123456789abcdef";

// The code point of a valid UTF-8 sequence.
char32_t code_point_of(std::string_view sequence) {
  auto head = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return head;
  char32_t value = head & (0x7FU >> sequence.size());
  for (char byte : sequence.substr(1)) value = value << 6 | (static_cast<unsigned char>(byte) & 0x3FU);
  return value;
}

// What a text begins with: a character that is shown as it is, or bytes that are escaped one by one.
struct Piece {
  size_t bytes;
  bool shown;
};

Piece first_piece(std::string_view text) {
  const size_t length = utf8_length(text);
  if (length == 0) return {.bytes = 1, .shown = false};
  const char32_t code_point = code_point_of(text.substr(0, length));
  const bool control = code_point < 0x20 || code_point == 0x7F || code_point == '\\';
  return {.bytes = length, .shown = !control && (length == 1 || !is_invisible(code_point))};
}

}  // namespace

Result<std::string> read_all(int fd, size_t limit) {
  std::string out;
  std::array<char, 4096> buffer;
  for (;;) {
    ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot read");
    if (n == 0) return out;
    if (out.size() + static_cast<size_t>(n) > limit)
      return fail("larger than " + std::to_string(limit) + " bytes", EFBIG);
    out.append(buffer.data(), static_cast<size_t>(n));
  }
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  // O_NONBLOCK: a FIFO in the place of a file must not hang us; it is refused below.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return fail_errno("cannot open " + printable(path));
  struct stat st {};
  if (::fstat(fd.get(), &st) < 0) return fail_errno("cannot stat " + printable(path));
  if (!S_ISREG(st.st_mode)) return fail(printable(path) + ": not a regular file");
  auto text = read_all(fd.get(), limit);
  if (!text) return fail(printable(path) + ": " + text.error().message, text.error().code);
  return text;
}

Result<> write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<> write_all(int fd, std::string_view text) {
  return write_all(fd, std::as_bytes(std::span(text)));
}

Result<UniqueFd> sealed_memfd(const char* name, std::span<const std::byte> bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno("cannot create a memfd");
  if (auto written = write_all(fd.get(), bytes); !written) return std::unexpected(written.error());
  if (auto sealed = seal_memfd(fd.get()); !sealed) return std::unexpected(sealed.error());
  return fd;
}

Result<> seal_memfd(int fd) {
  if (::fcntl(fd, F_ADD_SEALS, kAllSeals) < 0) return fail_errno("cannot seal a memfd");
  return {};
}

Result<SealedMapping> SealedMapping::map(int fd, size_t limit) {
  int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return fail_errno("not a sealed memfd");
  if ((seals & kAllSeals) != kAllSeals) return fail("memfd is not sealed against every change", EPERM);
  struct stat st {};
  if (::fstat(fd, &st) < 0) return fail_errno("cannot stat a memfd");
  if (st.st_size <= 0) return fail("memfd is empty", EINVAL);
  if (static_cast<size_t>(st.st_size) > limit) return fail("memfd is larger than allowed", EFBIG);
  SealedMapping mapping;
  void* data = ::mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return fail_errno("cannot map a memfd");
  mapping.data_ = static_cast<const std::byte*>(data);
  mapping.size_ = static_cast<size_t>(st.st_size);
  return mapping;
}

SealedMapping::SealedMapping(SealedMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SealedMapping& SealedMapping::operator=(SealedMapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SealedMapping::~SealedMapping() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string random_hex(size_t bytes) {
  std::string out;
  out.reserve(2 * bytes);
  std::array<unsigned char, 64> buffer;
  while (bytes > 0) {
    size_t want = bytes < buffer.size() ? bytes : buffer.size();
    ssize_t n = ::getrandom(buffer.data(), want, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) std::abort();
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      out += kHex[buffer[i] >> 4];
      out += kHex[buffer[i] & 15];
    }
    bytes -= static_cast<size_t>(n);
  }
  return out;
}

bool constant_time_equal(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference =
        static_cast<unsigned char>(difference | (static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i])));
  }
  return difference == 0;
}

size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  auto tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  unsigned char c = byte(0);
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF && tail(1)) return 2;
  if ((c & 0xF0) == 0xE0 && tail(1) && tail(2)) {
    if (c == 0xE0 && byte(1) < 0xA0) return 0;
    if (c == 0xED && byte(1) > 0x9F) return 0;
    return 3;
  }
  if (c >= 0xF0 && c <= 0xF4 && tail(1) && tail(2) && tail(3)) {
    if (c == 0xF0 && byte(1) < 0x90) return 0;
    if (c == 0xF4 && byte(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

std::string printable(std::string_view text, size_t limit) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    if (out.size() >= limit) {
      out += "...";
      return out;
    }
    const Piece piece = first_piece(text);
    if (!piece.shown) {
      auto c = static_cast<unsigned char>(text[0]);
      out += "\\x";
      out += kHex[c >> 4];
      out += kHex[c & 15];
      text.remove_prefix(1);
    } else {
      out.append(text.substr(0, piece.bytes));
      text.remove_prefix(piece.bytes);
    }
  }
  return out;
}

std::string without_middle(std::string_view text, size_t limit) {
  constexpr std::string_view kMark = "[...]";
  struct Part {
    size_t at;
    size_t width;
  };
  std::vector<Part> parts;
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const Piece piece = first_piece(text.substr(at));
    parts.push_back({.at = at, .width = piece.shown ? 1 : 4 * piece.bytes});
    width += parts.back().width;
    at += piece.bytes;
  }
  if (width <= limit) return std::string(text);
  const size_t room = limit > kMark.size() ? limit - kMark.size() : 0;
  size_t head = 0;
  for (size_t used = parts[head].width; used <= room / 2; used += parts[head].width) ++head;
  size_t tail = parts.size();
  for (size_t used = parts[tail - 1].width; used <= room - room / 2; used += parts[tail - 1].width) --tail;
  const size_t resumes = tail < parts.size() ? parts[tail].at : text.size();
  return std::string(text.substr(0, parts[head].at)) + std::string(kMark) + std::string(text.substr(resumes));
}

}  // namespace wrapd
