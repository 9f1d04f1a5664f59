// SPDX-License-Identifier: Apache-2.0
#include "policyfile/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "base/io.h"
#include "policyfile/load.h"

namespace wrapd::policyfile {
namespace {

using policy::YamlNode;

constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxNodes = 1U << 20;
constexpr const char* kNoAliases =
    "aliases are not supported; write the value out, or quote a value that begins with '*'";

// Leaves the library's parser; caught in parse_yaml().
struct Refused : std::exception {
  Refused(int at_line, int at_column, std::string what_is_wrong)
      : line(at_line), column(at_column), message(std::move(what_is_wrong)) {}
  int line;
  int column;
  std::string message;
};

class Builder : public YAML::EventHandler {
 public:
  explicit Builder(std::string_view text) : text_(text) {
    line_starts_.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') line_starts_.push_back(i + 1);
    }
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) {
      refuse(mark, "a second document, or text that does not belong to the first; a file is one document");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check(mark, "?", anchor);
    add(node_at(mark, YamlNode::Kind::null));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override { refuse(mark, kNoAliases); }

  void OnAnchor(const YAML::Mark& mark, const std::string& /*name*/) override {
    refuse(mark, "anchors are not supported; remove it, or quote a value that begins with '&'");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    if (!closes(mark)) refuse(mark, "the quote is not closed; close it");
    YamlNode node = node_at(mark, YamlNode::Kind::scalar);
    node.plain = tag == "?";
    node.text = value;
    add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    check(mark, tag, anchor);
    open(node_at(mark, YamlNode::Kind::sequence));
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    check(mark, tag, anchor);
    open(node_at(mark, YamlNode::Kind::map));
  }
  void OnMapEnd() override { close(); }

  // The library's own errors, where the text tells more than they do.
  [[nodiscard]] std::string explain(const YAML::Exception& e) const {
    char c = byte_at(e.mark);
    if (c == '*') return kNoAliases;
    if (c == '@' || c == '`' || c == '%') return std::string("a value that begins with '") + c + "' must be quoted";
    return "not YAML: " + printable(e.msg, 256) + "; check indentation, quotes and brackets up to here";
  }

  [[nodiscard]] std::optional<YamlNode> take() { return std::exchange(root_, std::nullopt); }

 private:
  struct Open {
    YamlNode node;
    std::map<std::string, int, std::less<>> keys;  // of a map, with the line of each
  };

  [[noreturn]] static void refuse(const YAML::Mark& mark, std::string message) {
    throw Refused(mark.line + 1, mark.column + 1, std::move(message));
  }

  static YamlNode node_at(const YAML::Mark& mark, YamlNode::Kind kind) {
    YamlNode node;
    node.kind = kind;
    node.line = std::max(mark.line, 0) + 1;
    node.column = std::max(mark.column, 0) + 1;
    return node;
  }

  // The library gives "?" and "!" to a value without a tag, and also to one tagged "!": told apart by the text.
  void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor) refuse(mark, "anchors are not supported; remove it");
    if ((tag != "?" && tag != "!" && !tag.empty()) || byte_at(mark) == '!') {
      refuse(mark, "tags are not supported; remove it, or quote a value that begins with '!'");
    }
  }

  // Offset in the text; the text's size if there is no such place.
  [[nodiscard]] size_t offset_of(const YAML::Mark& mark) const {
    if (mark.line < 0 || mark.column < 0 || static_cast<size_t>(mark.line) >= line_starts_.size()) return text_.size();
    return std::min(text_.size(), line_starts_[static_cast<size_t>(mark.line)] + static_cast<size_t>(mark.column));
  }

  [[nodiscard]] char byte_at(const YAML::Mark& mark) const {
    size_t at = offset_of(mark);
    return at < text_.size() ? text_[at] : '\0';
  }

  // The library takes the end of the file for the closing quote if a line end stands before it.
  [[nodiscard]] bool closes(const YAML::Mark& mark) const {
    char quote = byte_at(mark);
    if (quote != '"' && quote != '\'') return true;
    for (size_t at = offset_of(mark) + 1; at < text_.size(); ++at) {
      if (quote == '"' && text_[at] == '\\') {
        ++at;
      } else if (text_[at] == quote) {
        if (quote == '"' || at + 1 == text_.size() || text_[at + 1] != quote) return true;
        ++at;
      }
    }
    return false;
  }

  void open(YamlNode node) {
    if (open_.size() >= kMaxDepth) {
      throw Refused(node.line, node.column,
                    "nested too deeply; nothing here is deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    if (!open_.empty() && expects_key()) throw Refused(node.line, node.column, "a key must be a plain word");
    open_.push_back({std::move(node), {}});
  }

  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }

  [[nodiscard]] bool expects_key() const {
    const YamlNode& parent = open_.back().node;
    return parent.kind == YamlNode::Kind::map && parent.items.size() % 2 == 0;
  }

  void add(YamlNode node) {
    if (++nodes_ > kMaxNodes) throw Refused(node.line, node.column, "too many values in one file");
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    if (expects_key()) check_key(node);
    open_.back().node.items.push_back(std::move(node));
  }

  void check_key(const YamlNode& key) {
    if (key.kind != YamlNode::Kind::scalar) throw Refused(key.line, key.column, "a key must be a plain word");
    if (key.plain && key.text == "<<") {
      throw Refused(key.line, key.column, "merge keys are not supported; write the keys out");
    }
    auto [first, added] = open_.back().keys.try_emplace(key.text, key.line);
    if (!added) {
      throw Refused(key.line, key.column,
                    "duplicate key '" + printable(key.text, 64) + "', first on line " + std::to_string(first->second) +
                        "; keep one of them");
    }
  }

  std::string_view text_;
  std::vector<size_t> line_starts_;
  std::vector<Open> open_;
  std::optional<YamlNode> root_;
  size_t documents_ = 0;
  size_t nodes_ = 0;
};

// The library stops reading at some control characters, and takes other encodings by guess.
void check_bytes(std::string_view text) {
  int line = 1;
  size_t line_start = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    auto column = static_cast<int>(i - line_start) + 1;
    if (c == '\n') {
      ++line;
      line_start = i + 1;
      continue;
    }
    const bool line_end = c == '\r' && i + 1 < text.size() && text[i + 1] == '\n';
    if (c == 0x7f || (c < 0x20 && c != '\t' && !line_end)) {
      throw Refused(line, column, "control character; only tabs and line ends may occur (write \"\\xNN\" in quotes)");
    }
  }
  if (text.starts_with("\xef\xbb\xbf")) throw Refused(1, 1, "byte order mark; save the file as UTF-8 without one");
}

// Position of the first byte that is not UTF-8, or npos.
size_t find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text.substr(i));
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

YamlNode parse(std::string_view text) {
  check_bytes(text);
  if (size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    auto before = text.substr(0, bad);
    size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
    throw Refused(static_cast<int>(std::ranges::count(before, '\n')) + 1, static_cast<int>(bad - start) + 1,
                  "not UTF-8; save the file as UTF-8");
  }
  Builder builder(text);
  std::istringstream in{std::string(text)};
  try {
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    throw Refused(std::max(e.mark.line, 0) + 1, std::max(e.mark.column, 0) + 1, builder.explain(e));
  }
  auto root = builder.take();
  if (!root) throw Refused(1, 1, "the file is empty; begin with 'version: 1'");
  return std::move(*root);
}

}  // namespace

Result<YamlNode> parse_yaml(std::string_view text, const std::string& file) {
  if (text.size() > kMaxPolicyText) {
    return std::unexpected(
        policy::yaml_error(file, 1, 1, "larger than " + std::to_string(kMaxPolicyText) + " bytes; use fewer rules"));
  }
  try {
    return parse(text);
  } catch (const Refused& e) {
    return std::unexpected(policy::yaml_error(file, e.line, e.column, e.message));
  } catch (const std::exception& e) {
    return std::unexpected(policy::yaml_error(file, 1, 1, std::string("cannot be parsed: ") + e.what()));
  }
}

}  // namespace wrapd::policyfile
