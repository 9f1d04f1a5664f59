// SPDX-License-Identifier: Apache-2.0
#pragma once

// The patterns of rules, before variables are filled in and after. Everything here is bytes: a pattern knows neither
// characters nor locales.
//
//   *          any bytes but '/', also none           **   any bytes, also none
//   ?          one byte that is not '/'               \X   X itself, where X is one of * ? [ ] { } $ @ and backslash
//   ${HOME} ${CWD} ${UID} ${USER} ${XDG_RUNTIME_DIR}  their values, byte for byte
//
// '[' and '{' must be escaped, so that they can mean something one day.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/name.h"

namespace wrapd::policy {

inline constexpr size_t kMaxPattern = 4096;   // bytes, as written
inline constexpr size_t kMaxJudged = 4096;    // bytes of a name that is judged; a longer one is denied
inline constexpr size_t kMaxGuidance = 1024;  // bytes
inline constexpr size_t kMaxRules = 20000;

// What ${...} stands for. The service takes them from the kernel and the passwd database, never from an environment;
// the working directory alone is the client's word. An empty value makes patterns that use it an error.
struct Variables {
  std::string home;
  std::string cwd;
  std::string uid;
  std::string user;
  std::string xdg_runtime_dir;
};
enum class Variable : uint8_t { home, cwd, uid, user, xdg_runtime_dir };

// Where something is written in its file, both from 1; columns in bytes.
struct Place {
  int line = 1;
  int column = 1;
};

enum class TokenKind : uint8_t { byte, any_byte, star, globstar, variable };

struct Token {
  TokenKind kind = TokenKind::byte;
  uint8_t value = 0;  // the byte, or the Variable
};

struct Pattern {
  bool abstract = false;      // written with '@' in front; the tokens are without it
  std::vector<Token> tokens;  // never empty
  std::string text{};         // as written
  Place place{};              // where

  // The bytes before the first wildcard or variable.
  [[nodiscard]] std::string beginning() const;
  [[nodiscard]] bool is_literal() const;     // a name: neither wildcards nor variables
  [[nodiscard]] bool has_wildcards() const;  // besides variables
  [[nodiscard]] bool uses(Variable variable) const;
};

// The way to write these tokens.
[[nodiscard]] std::string to_text(std::span<const Token> tokens);

// Checks everything that can be checked without the values of variables. The error says what is wrong with the pattern
// and what would be right, without naming file or pattern.
[[nodiscard]] Result<Pattern> parse_pattern(std::string_view text);

// The pattern with the variables' values as literal bytes. The result has no variable, and is again an absolute, normal
// path or an abstract name. A value that is empty, or not an absolute normal path where it must be one, is an error.
// The text stays as it was written.
[[nodiscard]] Result<Pattern> expand(const Pattern& pattern, const Variables& variables);

// At most kMaxGuidance bytes without control characters: what may be shown on a terminal as it is.
[[nodiscard]] bool valid_guidance(std::string_view text);

}  // namespace wrapd::policy
