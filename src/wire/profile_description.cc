// SPDX-License-Identifier: Apache-2.0
#include "wire/profile_description.h"

#include "wire/codec.h"

namespace wrapd::wire {

void fields(auto& v, Is<ProfileDescription> auto& description) {
  v.shown("policy", description.policy, kMaxName);
  v.word("mode", description.mode, policy::kModes);
  v.object("confinement", description.confinement);
  v.shown_list("notices", description.notices, kMaxNotices, kMaxNotice);
}

std::string encode(const ProfileDescription& description) {
  return encode_message(description);
}

Result<ProfileDescription> decode_profile_description(std::string_view text) {
  return decode_message<ProfileDescription>(text, kMaxProfileDescription, "profile's description");
}

}  // namespace wrapd::wire
