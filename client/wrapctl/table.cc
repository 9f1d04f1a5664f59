// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/table.h"

#include <algorithm>
#include <numeric>

#include "client/wrapctl/text.h"

namespace wrapd::wrapctl {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kLastColumn = 16;  // kept for the last column while others can give way

// One line of cells, cut to its columns and, where even that is too much, to the terminal.
std::string line(const std::vector<Cell>& cells, const std::vector<size_t>& widths, std::optional<size_t> limit) {
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    size_t room = limit ? *limit - std::min(used, *limit) : widths[i];
    std::string text = cut(cells[i].text, std::min(widths[i], room));
    out += painted(cells[i].colour, text);
    used += columns_of(text);
    if (i + 1 == cells.size()) break;
    size_t padding = widths[i] - std::min(widths[i], columns_of(text)) + kGap;
    if (limit) padding = std::min(padding, *limit - std::min(used, *limit));
    out.append(padding, ' ');
    used += padding;
  }
  while (out.ends_with(' ')) out.pop_back();
  return out + '\n';
}

std::string note_line(const std::string& note, std::optional<size_t> limit) {
  if (!limit) return std::string(kGap, ' ') + note + '\n';
  const size_t indent = *limit > kGap ? kGap : 0;
  return std::string(indent, ' ') + cut(note, *limit - indent) + '\n';
}

}  // namespace

std::vector<size_t> Table::widths(std::optional<size_t> limit) const {
  std::vector<size_t> out;
  for (size_t i = 0; i < headings_.size(); ++i) {
    size_t widest = columns_of(headings_[i]);
    for (const auto& row : rows_) widest = std::max(widest, columns_of(row.cells[i].text));
    out.push_back(widest);
  }
  if (!limit) return out;
  auto total = [&out] { return std::accumulate(out.begin(), out.end(), kGap * (out.size() - 1)); };
  auto give_way = [&](size_t column, size_t least) {
    if (total() <= *limit || out[column] <= least) return;
    out[column] -= std::min(total() - *limit, out[column] - least);
  };
  give_way(out.size() - 1, kLastColumn);
  while (total() > *limit) {
    auto widest = std::max_element(out.begin(), out.end());
    if (*widest <= 1) break;
    --*widest;
  }
  return out;
}

std::string Table::render(std::optional<size_t> width) const {
  auto columns = widths(width);
  std::vector<Cell> head;
  head.reserve(headings_.size());
  for (const auto& heading : headings_) head.push_back({heading});
  std::string out = line(head, columns, width);
  for (const auto& row : rows_) {
    out += line(row.cells, columns, width);
    if (!row.note.empty()) out += note_line(row.note, width);
  }
  return out;
}

}  // namespace wrapd::wrapctl
