// SPDX-License-Identifier: Apache-2.0
#pragma once

// The patterns of unix_socket_rules, before variables are filled in and after. Everything here is bytes: a pattern
// knows neither characters nor locales.
//
//   *          any bytes but '/', also none           **   any bytes, also none
//   ?          one byte that is not '/'               \X   X itself, where X is one of * ? [ ] { } $ @ and backslash
//   ${HOME} ${CWD} ${UID} ${USER} ${XDG_RUNTIME_DIR}  their values, byte for byte
//
// '[' and '{' must be escaped, so that they can mean something one day.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/model.h"

namespace wrapd::policy {

inline constexpr size_t kMaxPattern = 4096;   // bytes, as written
inline constexpr size_t kMaxJudged = 4096;    // bytes of a name that is judged; a longer one is denied
inline constexpr size_t kMaxName = 64;        // bytes of the name of a policy or rule
inline constexpr size_t kMaxGuidance = 1024;  // bytes
inline constexpr size_t kMaxRules = 20000;

enum class TokenKind : uint8_t { byte, any_byte, star, globstar, variable };

struct Token {
  TokenKind kind = TokenKind::byte;
  uint8_t value = 0;  // the byte, or which variable
};

struct Pattern {
  bool abstract = false;      // written with '@' in front; the tokens are without it
  std::vector<Token> tokens;  // never empty
};

// Checks everything that can be checked without the values of variables. The error says what is wrong with the pattern
// and what would be right, without naming file or pattern.
[[nodiscard]] Result<Pattern> parse_pattern(std::string_view text);

// The pattern with the variables' values as literal bytes. The result has no variable, and is again an absolute, normal
// path or an abstract name. A value that is empty, or not an absolute normal path where it must be one, is an error.
[[nodiscard]] Result<Pattern> expand(const Pattern& pattern, const Variables& variables);

// 1 to 64 characters of A-Z a-z 0-9 . _ - that do not begin with a dot: names of policies and rules.
[[nodiscard]] bool valid_name(std::string_view name);

// At most kMaxGuidance bytes without control characters: what may be shown on a terminal as it is.
[[nodiscard]] bool valid_guidance(std::string_view text);

}  // namespace wrapd::policy
