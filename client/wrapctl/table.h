// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/wrapctl/output.h"

namespace wrapd::wrapctl {

struct Cell {
  std::string text;  // safe
  Colour colour = Colour::none;
};

// Rows under headings, two columns apart. No line is ever longer than the terminal: the last column gives way first,
// then the widest; a note loses its middle.
class Table {
 public:
  explicit Table(std::vector<std::string> headings) : headings_(std::move(headings)) {}
  // As many cells as there are headings. `note`: safe text for a line of its own below the row; empty: none.
  void add(std::vector<Cell> row, std::string note = {}) { rows_.push_back({std::move(row), std::move(note)}); }
  // Each line ends in a newline. `width`: of the terminal; none: nothing is cut.
  [[nodiscard]] std::string render(std::optional<size_t> width) const;

 private:
  struct Row {
    std::vector<Cell> cells;
    std::string note;
  };
  [[nodiscard]] std::vector<size_t> widths(std::optional<size_t> limit) const;
  std::vector<std::string> headings_;
  std::vector<Row> rows_;
};

}  // namespace wrapd::wrapctl
