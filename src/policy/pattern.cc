// SPDX-License-Identifier: Apache-2.0
#include "policy/pattern.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/io.h"

namespace wrapd::policy {
namespace {

constexpr std::array<std::string_view, 5> kVariableNames = {"HOME", "CWD", "UID", "USER", "XDG_RUNTIME_DIR"};
constexpr std::string_view kEscapable = "*?[]{}$@\\";

const std::string& value_of(Variable variable, const Variables& v) {
  switch (variable) {
    case Variable::home:
      return v.home;
    case Variable::cwd:
      return v.cwd;
    case Variable::uid:
      return v.uid;
    case Variable::user:
      return v.user;
    case Variable::xdg_runtime_dir:
      return v.xdg_runtime_dir;
  }
  return v.xdg_runtime_dir;
}

Variable variable_of(const Token& token) {
  return static_cast<Variable>(token.value);
}

bool is_directory(Variable variable) {
  return variable != Variable::uid && variable != Variable::user;
}

bool is_byte(const Token& t, char c) {
  return t.kind == TokenKind::byte && t.value == static_cast<uint8_t>(c);
}

Token byte_token(char c) {
  return {TokenKind::byte, static_cast<uint8_t>(c)};
}

// An element of a path between slashes that resolution would swallow: nothing, "." or "..".
bool is_dots(std::span<const Token> element) {
  return element.size() <= 2 && std::ranges::all_of(element, [](const Token& t) { return is_byte(t, '.'); });
}

// A judged path is always resolved, so a pattern that is not normal could never match what its author means.
Result<> check_normal(std::span<const Token> tokens) {
  if (tokens.size() < 2) return fail("'/' alone is no socket; name a path beneath it");
  size_t start = 1;
  for (size_t i = 1; i <= tokens.size(); ++i) {
    if (i < tokens.size() && !is_byte(tokens[i], '/')) continue;
    auto element = tokens.subspan(start, i - start);
    if (element.empty()) {
      return i == tokens.size() ? fail("ends with '/'; remove it, or write '/**' for everything beneath")
                                : fail("'//' never occurs in a resolved path; write one '/'");
    }
    if (is_dots(element)) return fail("'.' and '..' never occur in a resolved path; write the path without them");
    start = i + 1;
  }
  return {};
}

Result<Token> parse_variable(std::string_view text, size_t& at) {
  size_t end = text.starts_with("${") ? text.find('}') : std::string_view::npos;
  if (end == std::string_view::npos) {
    return fail("'$' must begin a variable such as ${HOME}; for the character itself write '\\$'");
  }
  std::string_view name = text.substr(2, end - 2);
  const auto* found = std::ranges::find(kVariableNames, name);
  if (found == kVariableNames.end()) {
    return fail("unknown variable '" + printable(name, 64) + "'; known are HOME, CWD, UID, USER and XDG_RUNTIME_DIR");
  }
  at += end;
  return Token{TokenKind::variable, static_cast<uint8_t>(found - kVariableNames.begin())};
}

Result<Token> parse_stars(std::string_view text, size_t& at) {
  size_t count = std::min(text.find_first_not_of('*'), text.size());
  if (count > 2) return fail("'***' has no meaning; write '*' within a path element or '**' across them");
  at += count - 1;
  return Token{count == 2 ? TokenKind::globstar : TokenKind::star, 0};
}

Result<Token> parse_token(std::string_view text, size_t& at, bool abstract) {
  std::string_view rest = text.substr(at);
  switch (rest.front()) {
    case '*':
      return parse_stars(rest, at);
    case '?':
      return Token{TokenKind::any_byte, 0};
    case '$':
      return parse_variable(rest, at);
    case '[':
    case '{':
      return fail(std::string("'") + rest.front() +
                  "' is not supported in patterns; for the character itself write '\\" + rest.front() + "'");
    case '\\':
      if (rest.size() < 2 || kEscapable.find(rest[1]) == std::string_view::npos) {
        return fail("'\\' must stand before one of * ? [ ] { } $ @ \\; for a backslash write '\\\\'");
      }
      ++at;
      return byte_token(rest[1]);
    case '\0':
      if (!abstract) return fail("a path holds no NUL byte; remove it");
      return byte_token('\0');
    default:
      return byte_token(rest.front());
  }
}

// Where the value of a directory stands: "/home/a" of "/home/a/" and nothing of "/", if a '/' follows anyway.
Result<std::string_view> directory_value(std::string_view value, bool slash_follows) {
  if (value.empty() || value.front() != '/') return fail("is not an absolute path");
  while (value.size() > 1 && value.back() == '/') value.remove_suffix(1);
  if (value == "/" && slash_follows) value = {};
  return value;
}

}  // namespace

std::string Pattern::beginning() const {
  std::string out;
  for (const Token& token : tokens) {
    if (token.kind != TokenKind::byte) break;
    out += static_cast<char>(token.value);
  }
  return out;
}

bool Pattern::is_literal() const {
  return std::ranges::all_of(tokens, [](const Token& t) { return t.kind == TokenKind::byte; });
}

bool Pattern::has_wildcards() const {
  return std::ranges::any_of(tokens,
                             [](const Token& t) { return t.kind != TokenKind::byte && t.kind != TokenKind::variable; });
}

bool Pattern::uses(Variable variable) const {
  return std::ranges::any_of(
      tokens, [&](const Token& t) { return t.kind == TokenKind::variable && variable_of(t) == variable; });
}

std::string to_text(std::span<const Token> tokens) {
  std::string out;
  for (const Token& token : tokens) {
    const char c = static_cast<char>(token.value);
    switch (token.kind) {
      case TokenKind::byte:
        if (kEscapable.find(c) != std::string_view::npos) out += '\\';
        out += c;
        break;
      case TokenKind::any_byte:
        out += '?';
        break;
      case TokenKind::star:
        out += '*';
        break;
      case TokenKind::globstar:
        out += "**";
        break;
      case TokenKind::variable:
        out += "${" + std::string(kVariableNames[token.value]) + "}";
    }
  }
  return out;
}

Result<Pattern> parse_pattern(std::string_view text) {
  if (text.empty()) return fail("empty pattern; write an absolute path or '@' and an abstract name");
  if (text.size() > kMaxPattern) return fail("longer than " + std::to_string(kMaxPattern) + " bytes; shorten it");
  Pattern out{.abstract = text.front() == '@', .tokens = {}, .text = std::string(text)};
  size_t at = out.abstract ? 1 : 0;
  if (at == text.size()) return fail("'@' needs a name behind it; for every abstract name write '@**'");
  for (; at < text.size(); ++at) {
    auto token = parse_token(text, at, out.abstract);
    if (!token) return std::unexpected(token.error());
    out.tokens.push_back(*token);
  }
  if (out.abstract) return out;
  const Token& first = out.tokens.front();
  if (first.kind == TokenKind::variable && is_directory(variable_of(first))) {
    // What is known only with the value is checked by expand(); the rest here, with a stand-in for the value.
    if (out.tokens.size() == 1) return out;
    std::vector<Token> stand_in = {byte_token('/'), byte_token('x')};
    stand_in.insert(stand_in.end(), out.tokens.begin() + 1, out.tokens.end());
    if (auto normal = check_normal(stand_in); !normal) return std::unexpected(normal.error());
    return out;
  }
  if (!is_byte(first, '/')) {
    return fail(
        "not an absolute path; begin with '/', ${HOME}, ${CWD}, ${XDG_RUNTIME_DIR}, or '@' for an abstract name");
  }
  if (auto normal = check_normal(out.tokens); !normal) return std::unexpected(normal.error());
  return out;
}

Result<Pattern> expand(const Pattern& pattern, const Variables& variables) {
  Pattern out{.abstract = pattern.abstract, .tokens = {}, .text = pattern.text, .place = pattern.place};
  for (size_t i = 0; i < pattern.tokens.size(); ++i) {
    const Token& token = pattern.tokens[i];
    if (token.kind != TokenKind::variable) {
      out.tokens.push_back(token);
      continue;
    }
    std::string label = "${" + std::string(kVariableNames[token.value]) + "}";
    std::string_view value = value_of(variable_of(token), variables);
    if (value.empty()) return fail(label + " has no value for this user; give it one or take the pattern out");
    if (is_directory(variable_of(token))) {
      auto directory = directory_value(value, i + 1 < pattern.tokens.size() && is_byte(pattern.tokens[i + 1], '/'));
      if (!directory) return fail(label + " is '" + printable(value, 256) + "', which " + directory.error().message);
      value = *directory;
    }
    if (value.find('\0') != std::string_view::npos) return fail(label + " holds a NUL byte");
    for (char c : value) out.tokens.push_back(byte_token(c));
    if (out.tokens.size() > 2 * kMaxPattern) return fail("too long once " + label + " is filled in");
  }
  if (out.tokens.empty()) return fail("empty once the variables are filled in");
  if (!out.abstract) {
    if (!is_byte(out.tokens.front(), '/')) return fail("not an absolute path once the variables are filled in");
    if (auto normal = check_normal(out.tokens); !normal) {
      return fail("once the variables are filled in: " + normal.error().message);
    }
  }
  return out;
}

bool valid_guidance(std::string_view text) {
  if (text.size() > kMaxGuidance) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) return false;
    // U+0080 to U+009F, which terminals obey as well.
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) return false;
  }
  return true;
}

}  // namespace wrapd::policy
