// SPDX-License-Identifier: Apache-2.0
#include "base/invisible.h"

#include <algorithm>
#include <iterator>

namespace wrapd {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Of Unicode 17.0, in order: General_Category Cc from U+0080 on, Cf, Zl, Zp, Co, and Zs but for U+0020;
// Default_Ignorable_Code_Point (variation selectors, tags, fillers, the joiner, and what is reserved for more of them);
// and characters that are blank though they are neither.
constexpr Range kInvisible[] = {
    {0x0080, 0x00A0},     // C1 controls, no-break space
    {0x00AD, 0x00AD},     // soft hyphen
    {0x034F, 0x034F},     // combining grapheme joiner
    {0x0600, 0x0605},     // Arabic number signs
    {0x061C, 0x061C},     // Arabic letter mark
    {0x06DD, 0x06DD},     // Arabic end of ayah
    {0x070F, 0x070F},     // Syriac abbreviation mark
    {0x0890, 0x0891},     // Arabic pound and piastre marks
    {0x08E2, 0x08E2},     // Arabic disputed end of ayah
    {0x115F, 0x1160},     // Hangul fillers
    {0x1680, 0x1680},     // Ogham space mark
    {0x17B4, 0x17B5},     // Khmer inherent vowels
    {0x180B, 0x180F},     // Mongolian variation selectors, vowel separator
    {0x2000, 0x200F},     // spaces, zero width space and joiners, direction marks
    {0x2028, 0x202F},     // line and paragraph separators, embeddings and overrides, narrow no-break space
    {0x205F, 0x206F},     // mathematical space, word joiner, invisible operators, isolates
    {0x2800, 0x2800},     // Braille blank
    {0x3000, 0x3000},     // ideographic space
    {0x3164, 0x3164},     // Hangul filler
    {0xE000, 0xF8FF},     // private use
    {0xFDD0, 0xFDEF},     // noncharacters
    {0xFE00, 0xFE0F},     // variation selectors
    {0xFEFF, 0xFEFF},     // zero width no-break space
    {0xFFA0, 0xFFA0},     // halfwidth Hangul filler
    {0xFFF0, 0xFFFC},     // reserved, interlinear annotations, object replacement character
    {0x110BD, 0x110BD},   // Kaithi number sign
    {0x110CD, 0x110CD},   // Kaithi number sign above
    {0x13430, 0x1343F},   // Egyptian hieroglyph format controls
    {0x13441, 0x13442},   // Egyptian hieroglyph blanks
    {0x16FE4, 0x16FE4},   // Khitan small script filler
    {0x1BCA0, 0x1BCA3},   // shorthand format controls
    {0x1D159, 0x1D159},   // musical null notehead
    {0x1D173, 0x1D17A},   // musical beams, ties, slurs and phrases
    {0xE0000, 0xE0FFF},   // tags, variation selectors, reserved
    {0xF0000, 0x10FFFF},  // private use
};

constexpr bool in_order() {
  for (const Range* range = std::begin(kInvisible); range != std::end(kInvisible); ++range) {
    if (range->first > range->last) return false;
    if (range != std::begin(kInvisible) && (range - 1)->last >= range->first) return false;
  }
  return true;
}
static_assert(in_order());

}  // namespace

bool is_invisible(char32_t code_point) noexcept {
  if ((code_point & 0xFFFE) == 0xFFFE) return true;  // the last two of each plane are noncharacters
  const Range* range = std::ranges::lower_bound(kInvisible, code_point, {}, &Range::last);
  return range != std::end(kInvisible) && range->first <= code_point;
}

}  // namespace wrapd
