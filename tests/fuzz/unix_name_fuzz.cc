// SPDX-License-Identifier: Apache-2.0

// Any bytes and any length as a socket address: what is decoded lies within what was given, and means what the kernel
// would make of it (unix(7)).

#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "supervisor/calls/socket.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using wrapd::supervisor::AddressCopy;
  using wrapd::supervisor::UnixName;
  AddressCopy address;
  size_t length = std::min(size, sizeof address.storage);
  if (length > 0) std::memcpy(&address.storage, data, length);
  address.length = static_cast<socklen_t>(length);

  UnixName name = wrapd::supervisor::decode_unix_name(address);
  const char* begin = reinterpret_cast<const char*>(&address.storage);
  const size_t offset = offsetof(sockaddr_un, sun_path);
  auto require = [](bool condition) {
    if (!condition) std::abort();
  };
  if (name.kind == UnixName::Kind::invalid) return 0;
  require(address.storage.ss_family == AF_UNIX && length >= offset && length <= sizeof(sockaddr_un));
  switch (name.kind) {
    case UnixName::Kind::unnamed:
      require(length == offset && name.text.empty());
      break;
    case UnixName::Kind::path:
      require(!name.text.empty() && name.text.data() == begin + offset);
      require(name.text.size() <= length - offset && name.text.find('\0') == std::string_view::npos);
      // It ends at the first NUL or where the address does.
      require(name.text.size() == length - offset || begin[offset + name.text.size()] == '\0');
      break;
    case UnixName::Kind::abstract:
      require(begin[offset] == '\0' && name.text.data() == begin + offset + 1 &&
              name.text.size() == length - offset - 1);
      break;
    case UnixName::Kind::invalid:
      break;
  }
  (void)wrapd::supervisor::is_protected(name.text);
  return 0;
}
