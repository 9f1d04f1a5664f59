// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace wrapd {

// True for a code point that a terminal or a dialog may not show, may show as nothing but room, or may move other
// characters for; also for one that has no agreed look (private use, noncharacters). Unicode 17.0. Letters that are
// written from right to left are shown, and are not invisible.
[[nodiscard]] bool is_invisible(char32_t code_point) noexcept;

}  // namespace wrapd
