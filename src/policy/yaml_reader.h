// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "policy/yaml_tree.h"

namespace wrapd::policy {

// Takes typed values out of a tree. The first error is kept and everything after it yields harmless defaults, so that
// code reads like the schema; the caller asks for error() once, at the end.
class YamlReader {
 public:
  explicit YamlReader(std::string file) : file_(std::move(file)) {}

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  void refuse(const YamlNode& at, const std::string& message);

  // The values of a map, by key. What is looked up must be among the allowed keys.
  class Map {
   public:
    explicit Map(const YamlNode* node = nullptr) : node_(node) {}
    [[nodiscard]] const YamlNode* find(std::string_view key) const;  // nullptr: not there
    [[nodiscard]] const YamlNode* key_node(std::string_view key) const;

   private:
    const YamlNode* node_;
  };

  // `what` names the map in messages ("a rule"). A key of `unsupported` is known but not enforced yet.
  using Words = std::vector<std::string_view>;
  Map map(const YamlNode& node, std::string_view what, const Words& allowed, const Words& unsupported = {});
  // Like find(), but an error at the map if the key is not there.
  const YamlNode* required(const Map& map, const YamlNode& node, std::string_view what, std::string_view key);

  const std::vector<YamlNode>& list(const YamlNode& node, std::string_view what);
  std::string string(const YamlNode& node, std::string_view what);
  std::string name(const YamlNode& node, std::string_view what);
  bool boolean(const YamlNode& node, std::string_view what);  // true or false, nothing else
  unsigned number(const YamlNode& node, std::string_view what, unsigned low, unsigned high);
  // Seconds, written as a whole number of seconds, minutes or hours: 90s, 5m, 1h. Bounds in seconds.
  unsigned duration(const YamlNode& node, std::string_view what, unsigned low, unsigned high);
  // Index into `words`; `unsupported` are words that will mean something one day.
  size_t word(const YamlNode& node, std::string_view what, const Words& words, const Words& unsupported = {});
  // The map's `version` must be there and 1.
  void version_1(const Map& map, const YamlNode& node, std::string_view what);

 private:
  bool is(const YamlNode& node, YamlNode::Kind kind, std::string_view what, std::string_view wanted);

  std::string file_;
  std::optional<Error> error_;
};

}  // namespace wrapd::policy
