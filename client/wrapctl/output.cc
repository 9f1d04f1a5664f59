// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/output.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>

namespace wrapd::wrapctl {

void print_error(std::string_view message) {
  std::cerr << "wrapctl: " << message << '\n';
}

void print_coloured(Colour colour, std::string_view text) {
  const char* no_color = std::getenv("NO_COLOR");
  bool on = colour != Colour::none && ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
  if (on) std::cout << (colour == Colour::red ? "\x1b[31m" : "\x1b[32m");
  std::cout << text;
  if (on) std::cout << "\x1b[0m";
}

}  // namespace wrapd::wrapctl
