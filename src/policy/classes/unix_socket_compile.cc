// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/io.h"
#include "policy/classes/unix_socket.h"
#include "policy/read_policy.h"

namespace wrapd::policy {
namespace {

constexpr uint32_t kReaching = bit(Operation::connect) | bit(Operation::listen);

// The directory that every match lies beneath.
std::string literal_directory(const Pattern& pattern) {
  const std::string path = pattern.beginning();
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

// True if matches lie in directories that the pattern does not name.
bool has_wild_directory(const Pattern& pattern) {
  auto wild = std::ranges::find_if(pattern.tokens, [](const Token& t) { return t.kind != TokenKind::byte; });
  return std::any_of(wild, pattern.tokens.end(), [](const Token& t) {
    return t.kind == TokenKind::globstar || (t.kind == TokenKind::byte && t.value == '/');
  });
}

struct Literal {
  std::string path;
  uint32_t rule;
};

struct Parts {
  MatcherBuilder matcher{unix_socket::kShape};
  std::vector<Literal> literals;
  std::set<std::string> directories;
};

Result<> add_rule(Parts& parts, const Rule& rule, uint32_t index, const Variables& variables) {
  for (const Pattern& written : rule.patterns) {
    auto pattern = expand(written, variables);
    if (!pattern) return fail("'" + printable(written.text, 256) + "': " + pattern.error().message);
    const uint32_t root = pattern->abstract ? unix_socket::kAbstractRoot : unix_socket::kPathRoot;
    if (!parts.matcher.insert(root, pattern->tokens, rule.operations, index)) {
      return fail("the patterns up to here are too many to compile; use fewer or shorter ones");
    }
    if (pattern->abstract) continue;
    if (rule.decision != Verdict::deny && (rule.operations & kReaching) != 0) {
      parts.directories.insert(literal_directory(*pattern) + (has_wild_directory(*pattern) ? "/" : ""));
    }
    if ((rule.operations & bit(Operation::connect)) == 0 || !rule.restricts() || !pattern->is_literal()) continue;
    if (std::string path = pattern->beginning(); path.size() <= kMaxJudged) {
      parts.literals.push_back({std::move(path), index});
    }
  }
  return {};
}

}  // namespace

namespace unix_socket {

void read(YamlReader& r, const YamlReader::Map& map, const YamlNode& node, Rule& rule) {
  if (const auto* v = r.required(map, node, "the rule", "paths")) read_patterns(r, *v, rule);
  const auto* operations = map.find("operations");
  rule.operations = operations != nullptr ? read_operations(r, *operations, kOperations, {"sendto", "sendmsg", "send"})
                                          : kAllOperations;
}

Result<> compile(const std::string& file, const std::vector<Rule>& rules, const Variables& variables,
                 SectionWriter& section) {
  Parts parts;
  uint32_t index = 0;
  for (const Rule& rule : rules) {
    if (auto added = add_rule(parts, rule, index++, variables); !added) {
      return fail(file + (rule.line > 0 ? ":" + std::to_string(rule.line) : "") + ": rule '" + printable(rule.name) +
                  "': " + added.error().message);
    }
  }
  const std::vector<std::byte> bytes = parts.matcher.build([&](std::span<const uint32_t> accepted) {
    return may_connect(accepted, [&](uint32_t rule) { return rules[rule].decision; });
  });
  // A literal that an earlier rule lets through is not denied or asked about.
  const Matcher matcher(bytes.data(), kShape);
  std::erase_if(parts.literals, [&](const Literal& literal) {
    return matcher.first(kPathRoot, static_cast<uint32_t>(Operation::connect), literal.path) != literal.rule;
  });
  section.add_bytes(bytes);
  section.add(static_cast<uint32_t>(parts.literals.size()));
  section.add(static_cast<uint32_t>(parts.directories.size()));
  for (const Literal& literal : parts.literals) {
    section.add_text(literal.path);
    section.add(literal.rule);
  }
  for (const std::string& directory : parts.directories) section.add_text(directory);
  return {};
}

}  // namespace unix_socket

Result<std::set<std::string>> denied_directories(const Policy& policy, const Variables& variables) {
  std::set<std::string> directories;
  if (!policy.judges(Class::unix_socket)) return directories;
  for (const Rule& rule : *policy.of(Class::unix_socket).rules) {
    if ((rule.operations & kReaching) == 0 || !rule.restricts()) continue;
    for (const Pattern& written : rule.patterns) {
      auto pattern = expand(written, variables);
      if (!pattern) return std::unexpected(pattern.error());
      if (!pattern->abstract) directories.insert(literal_directory(*pattern));
    }
  }
  return directories;
}

bool binds_paths(const Policy& policy) {
  if (!policy.judges(Class::unix_socket)) return false;
  return std::ranges::any_of(*policy.of(Class::unix_socket).rules, [](const Rule& rule) {
    return (rule.operations & bit(Operation::bind)) != 0 && rule.decision != Verdict::deny &&
           std::ranges::any_of(rule.patterns, [](const Pattern& pattern) { return !pattern.abstract; });
  });
}

}  // namespace wrapd::policy
