// SPDX-License-Identifier: Apache-2.0
#pragma once

// YAML as a plain tree with positions, cut down to what configuration needs: one document of maps, lists and scalars.
// Aliases, anchors, tags, merge keys, duplicate keys and further documents are errors here, because the library would
// let some of them pass, drop others and guess at the meaning of scalars. Scalars stay text: what `no` or `0644` means
// is decided where the field is known.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace wrapd::policy {

struct YamlNode {
  enum class Kind { null, scalar, sequence, map };
  Kind kind = Kind::null;
  bool plain = false;  // a scalar without quotes
  int line = 1;        // from 1
  int column = 1;      // from 1, in bytes
  std::string text;    // of a scalar
  // The elements of a sequence; of a map key, value, key, value. Keys are scalars.
  std::vector<YamlNode> items;
};

// "FILE:LINE:COL: message".
[[nodiscard]] Error yaml_error(const std::string& file, int line, int column, const std::string& message);

}  // namespace wrapd::policy
