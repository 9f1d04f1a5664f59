// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/text.h"

#include <langinfo.h>
#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <cwchar>
#include <iomanip>
#include <limits>
#include <sstream>
#include <vector>

#include "base/io.h"

namespace wrapd::wrapctl {
namespace {

constexpr uint64_t kSecond = 1'000'000;

bool utf8_locale() {
  return std::strcmp(::nl_langinfo(CODESET), "UTF-8") == 0;
}

struct Character {
  size_t bytes = 1;
  int width = -1;  // columns; negative: not printable
};

// The first character of valid UTF-8 that is not empty, as the locale has it.
Character first_character(std::string_view text) {
  auto head = static_cast<unsigned char>(text[0]);
  if (head < 0x80) return {1, 1};
  Character out;
  out.bytes = head >= 0xF0 ? 4 : head >= 0xE0 ? 3 : 2;
  if (out.bytes > text.size()) return {text.size(), -1};
  if (!utf8_locale()) return out;
  wchar_t wide = 0;
  std::mbstate_t state{};
  if (std::mbrtowc(&wide, text.data(), out.bytes, &state) == out.bytes) out.width = ::wcwidth(wide);
  return out;
}

void append_safe(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string printed = printable(text, std::numeric_limits<size_t>::max());
  for (std::string_view rest = printed; !rest.empty();) {
    Character character = first_character(rest);
    std::string_view bytes = rest.substr(0, character.bytes);
    if (character.width >= 0) {
      out += bytes;
    } else {
      for (char byte : bytes) {
        out += "\\x";
        out += kHex[static_cast<unsigned char>(byte) >> 4];
        out += kHex[static_cast<unsigned char>(byte) & 15];
      }
    }
    rest.remove_prefix(character.bytes);
  }
}

// What a cut leaves whole: a character with the marks that stand on it, or an escape.
struct Part {
  size_t at = 0;
  size_t columns = 0;
};

std::vector<Part> parts_of(std::string_view safe) {
  std::vector<Part> parts;
  for (size_t at = 0; at < safe.size();) {
    Character character = first_character(safe.substr(at));
    if (safe.substr(at).starts_with("\\x")) character = {.bytes = std::min<size_t>(4, safe.size() - at), .width = 4};
    if (character.width > 0 || parts.empty()) parts.push_back({.at = at});
    if (character.width > 0) parts.back().columns += static_cast<size_t>(character.width);
    at += character.bytes;
  }
  return parts;
}

std::tm broken_down(uint64_t usec, bool local) {
  auto seconds = static_cast<std::time_t>(usec / kSecond);
  std::tm out{};
  if (local) {
    ::localtime_r(&seconds, &out);
  } else {
    ::gmtime_r(&seconds, &out);
  }
  return out;
}

std::string formatted(const std::tm& time, const char* format) {
  std::ostringstream out;
  out << std::put_time(&time, format);
  return out.str();
}

}  // namespace

std::string safe_text(std::string_view text) {
  std::string out;
  // A backslash of the service's escapes stays one.
  for (;;) {
    size_t backslash = text.find('\\');
    append_safe(out, text.substr(0, backslash));
    if (backslash == std::string_view::npos) return out;
    out += '\\';
    text.remove_prefix(backslash + 1);
  }
}

size_t columns_of(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    Character character = first_character(text);
    columns += static_cast<size_t>(character.width > 0 ? character.width : 0);
    text.remove_prefix(character.bytes);
  }
  return columns;
}

std::string cut(std::string_view text, size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  const std::string ellipsis = utf8_locale() ? "\u2026" : "...";
  const size_t taken = columns_of(ellipsis);
  if (taken > columns) return std::string(columns, '.');
  const std::vector<Part> parts = parts_of(text);
  const size_t room = columns - taken;
  size_t head = 0;
  for (size_t used = parts[head].columns; used <= room - room / 2; used += parts[head].columns) ++head;
  size_t tail = parts.size();
  for (size_t used = parts[tail - 1].columns; used <= room / 2; used += parts[tail - 1].columns) --tail;
  std::string out(text.substr(0, parts[head].at));
  out += ellipsis;
  if (tail < parts.size()) out += text.substr(parts[tail].at);
  return out;
}

std::string age(uint64_t from, uint64_t to) {
  uint64_t seconds = to > from ? (to - from) / kSecond : 0;
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3600) return std::to_string(seconds / 60) + "min";
  if (seconds < 86400) return std::to_string(seconds / 3600) + "h";
  return std::to_string(seconds / 86400) + "d";
}

std::string rfc3339(uint64_t usec) {
  std::string milliseconds = std::to_string(1000 + usec / 1000 % 1000).substr(1);
  return formatted(broken_down(usec, false), "%Y-%m-%dT%H:%M:%S.") + milliseconds + "Z";
}

std::string local_time(uint64_t usec) {
  return formatted(broken_down(usec, true), "%Y-%m-%d %H:%M:%S");
}

uint64_t now_usec() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

std::string user_name(uint32_t uid) {
  std::vector<char> buffer(4096);
  passwd entry{};
  passwd* found = nullptr;
  while (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == ERANGE && buffer.size() < (1U << 20)) {
    buffer.resize(buffer.size() * 2);
  }
  return found != nullptr ? safe_text(entry.pw_name) : std::to_string(uid);
}

}  // namespace wrapd::wrapctl
