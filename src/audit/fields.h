// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one list of an event's fields that all renderings walk, so that none can miss or misname one. For the files of
// this directory only.

#include <cstdint>
#include <string>
#include <string_view>

#include "audit/event.h"

namespace wrapd::audit {

class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  // `name` is the JSON name; `text` is escaped: valid UTF-8 on one line.
  virtual void text(std::string_view name, std::string_view text) = 0;
  virtual void number(std::string_view name, uint64_t value) = 0;
  virtual void boolean(std::string_view name, bool value) = 0;
};

// Every field that is set, in the documented order, type and timestamp first.
void visit(const Event& event, FieldVisitor& visitor);

}  // namespace wrapd::audit
