// SPDX-License-Identifier: Apache-2.0
#include "policy/yaml_reader.h"

#include <algorithm>
#include <charconv>

#include "base/io.h"
#include "policy/pattern.h"

namespace wrapd::policy {
namespace {

std::string quoted(std::string_view text) {
  return "'" + printable(text, 64) + "'";
}

std::string joined(const YamlReader::Words& words, std::string_view last) {
  std::string out;
  size_t left = words.size();
  for (auto word : words) {
    out += word;
    --left;
    if (left > 0) out += left == 1 ? last : ", ";
  }
  return out;
}

bool contains(const YamlReader::Words& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

// Levenshtein's distance.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

std::string suggestion(std::string_view word, const YamlReader::Words& words) {
  if (word.size() <= 64) {
    for (auto candidate : words) {
      if (candidate.size() > 3 && distance(word, candidate) <= 2)
        return "did you mean '" + std::string(candidate) + "'?";
    }
  }
  return "allowed here: " + joined(words, ", ");
}

std::string_view kind_name(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "empty";
    case YamlNode::Kind::scalar:
      return "a single value";
    case YamlNode::Kind::sequence:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
  }
  return "empty";
}

// 0 for what is no unit.
uint64_t seconds_of(char unit) {
  switch (unit) {
    case 's':
      return 1;
    case 'm':
      return 60;
    case 'h':
      return 3600;
    default:
      return 0;
  }
}

std::string duration_text(unsigned seconds) {
  if (seconds % 3600 == 0) return std::to_string(seconds / 3600) + "h";
  if (seconds % 60 == 0) return std::to_string(seconds / 60) + "m";
  return std::to_string(seconds) + "s";
}

}  // namespace

Error yaml_error(const std::string& file, int line, int column, const std::string& message) {
  return {file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + message};
}

void YamlReader::refuse(const YamlNode& at, const std::string& message) {
  if (!error_) error_ = yaml_error(file_, at.line, at.column, message);
}

const YamlNode* YamlReader::Map::find(std::string_view key) const {
  const YamlNode* found = key_node(key);
  return found == nullptr ? nullptr : found + 1;
}

const YamlNode* YamlReader::Map::key_node(std::string_view key) const {
  if (node_ == nullptr) return nullptr;
  for (size_t i = 0; i + 1 < node_->items.size(); i += 2) {
    if (node_->items[i].text == key) return &node_->items[i];
  }
  return nullptr;
}

bool YamlReader::is(const YamlNode& node, YamlNode::Kind kind, std::string_view what, std::string_view wanted) {
  if (node.kind == kind) return true;
  refuse(node, std::string(what) + " is " + std::string(kind_name(node)) + "; write " + std::string(wanted));
  return false;
}

YamlReader::Map YamlReader::map(const YamlNode& node, std::string_view what, const Words& allowed,
                                const Words& unsupported) {
  if (!is(node, YamlNode::Kind::map, what, "a map of " + joined(allowed, ", "))) return Map();
  for (size_t i = 0; i + 1 < node.items.size(); i += 2) {
    const YamlNode& key = node.items[i];
    if (contains(unsupported, key.text)) {
      refuse(key, quoted(key.text) + " is not supported yet; remove it");
    } else if (!contains(allowed, key.text)) {
      refuse(key,
             "unknown key " + quoted(key.text) + " in " + std::string(what) + "; " + suggestion(key.text, allowed));
    } else if (node.items[i + 1].kind == YamlNode::Kind::null) {
      refuse(key, quoted(key.text) + " has no value; give it one or remove the key");
    }
  }
  return Map(&node);
}

const YamlNode* YamlReader::required(const Map& map, const YamlNode& node, std::string_view what,
                                     std::string_view key) {
  const YamlNode* value = map.find(key);
  if (value == nullptr) refuse(node, std::string(what) + " has no " + quoted(key) + "; add it");
  return value;
}

const std::vector<YamlNode>& YamlReader::list(const YamlNode& node, std::string_view what) {
  static const std::vector<YamlNode> kNothing;
  return is(node, YamlNode::Kind::sequence, what, "a list: [...]") ? node.items : kNothing;
}

std::string YamlReader::string(const YamlNode& node, std::string_view what) {
  return is(node, YamlNode::Kind::scalar, what, "a text") ? node.text : std::string();
}

std::string YamlReader::name(const YamlNode& node, std::string_view what) {
  std::string text = string(node, what);
  if (node.kind == YamlNode::Kind::scalar && !valid_name(text)) {
    refuse(node, std::string(what) + " " + quoted(text) + " is not a name; write 1 to " + std::to_string(kMaxName) +
                     " characters of A-Z a-z 0-9 . _ - that do not begin with a dot");
  }
  return text;
}

bool YamlReader::boolean(const YamlNode& node, std::string_view what) {
  if (!is(node, YamlNode::Kind::scalar, what, "true or false")) return false;
  if (!node.plain || (node.text != "true" && node.text != "false")) {
    refuse(node, std::string(what) + " is " + (node.plain ? quoted(node.text) : "a quoted text") +
                     "; write true or false, without quotes");
  }
  return node.text == "true";
}

unsigned YamlReader::number(const YamlNode& node, std::string_view what, unsigned low, unsigned high) {
  std::string wanted = "a whole number from " + std::to_string(low) + " to " + std::to_string(high);
  if (!is(node, YamlNode::Kind::scalar, what, wanted)) return low;
  unsigned value = 0;
  const char* end = node.text.data() + node.text.size();
  auto [at, failure] = std::from_chars(node.text.data(), end, value);
  bool leading_zero = node.text.size() > 1 && node.text.front() == '0';
  if (!node.plain || failure != std::errc() || at != end || leading_zero || value < low || value > high) {
    refuse(node, std::string(what) + " is " + (node.plain ? quoted(node.text) : "a quoted text") + "; write " + wanted);
    return low;
  }
  return value;
}

unsigned YamlReader::duration(const YamlNode& node, std::string_view what, unsigned low, unsigned high) {
  const std::string wanted =
      "a whole number with s, m or h, from " + duration_text(low) + " to " + duration_text(high) + ", like 90s";
  if (!is(node, YamlNode::Kind::scalar, what, wanted)) return low;
  uint64_t count = 0;
  const std::string& text = node.text;
  uint64_t unit = text.empty() ? 0 : seconds_of(text.back());
  const char* end = text.data() + (text.empty() ? 0 : text.size() - 1);
  auto [at, failure] = std::from_chars(text.data(), end, count);
  bool leading_zero = text.starts_with('0');
  if (!node.plain || unit == 0 || failure != std::errc() || at != end || leading_zero || count > high ||
      count * unit < low || count * unit > high) {
    refuse(node, std::string(what) + " is " + (node.plain ? quoted(text) : "a quoted text") + "; write " + wanted);
    return low;
  }
  return static_cast<unsigned>(count * unit);
}

size_t YamlReader::word(const YamlNode& node, std::string_view what, const Words& words, const Words& unsupported) {
  if (!is(node, YamlNode::Kind::scalar, what, joined(words, " or "))) return 0;
  const auto found = std::ranges::find(words, std::string_view(node.text));
  if (found != words.end()) return static_cast<size_t>(found - words.begin());
  if (contains(unsupported, node.text)) {
    refuse(node, std::string(what) + " " + quoted(node.text) + " is not supported yet; write " + joined(words, " or "));
  } else {
    refuse(node, "unknown " + std::string(what) + " " + quoted(node.text) + "; write " + joined(words, " or "));
  }
  return 0;
}

void YamlReader::version_1(const Map& map, const YamlNode& node, std::string_view what) {
  const YamlNode* version = map.find("version");
  if (version == nullptr) {
    refuse(node, std::string(what) + " has no 'version'; add 'version: 1'");
    return;
  }
  if (version->kind != YamlNode::Kind::scalar || !version->plain || version->text != "1") {
    refuse(*version, "unknown version" + (version->kind == YamlNode::Kind::scalar ? " " + quoted(version->text) : "") +
                         "; write 1, without quotes");
  }
}

}  // namespace wrapd::policy
