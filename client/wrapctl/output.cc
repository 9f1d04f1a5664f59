// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

namespace wrapd::wrapctl {

void print_error(std::string_view message) {
  std::cerr << "wrapctl: " << message << '\n';
}

void print_json(const nlohmann::json& document) {
  std::string text = document.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  // The one control character that JSON does not escape.
  for (size_t at = 0; (at = text.find('\x7f', at)) != std::string::npos;) text.replace(at, 1, "\\u007f");
  std::cout << text << '\n';
}

std::string painted(Colour colour, std::string_view text) {
  const char* no_color = std::getenv("NO_COLOR");
  bool on = colour != Colour::none && ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
  if (!on) return std::string(text);
  const char* start = colour == Colour::red ? "\x1b[31m" : colour == Colour::green ? "\x1b[32m" : "\x1b[33m";
  return start + std::string(text) + "\x1b[0m";
}

std::optional<size_t> terminal_width() {
  if (::isatty(STDOUT_FILENO) != 1) return std::nullopt;
  if (const char* columns = std::getenv("COLUMNS")) {
    std::string_view text(columns);
    size_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value > 0) return value;
  }
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace wrapd::wrapctl
