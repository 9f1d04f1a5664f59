// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/unix_name.h"

#include <cstring>

namespace wrapd::supervisor {

UnixName decode_unix_name(const AddressCopy& address) {
  if (address.length < kUnixPathOffset || address.length > sizeof(sockaddr_un)) return {};
  if (address.storage.ss_family != AF_UNIX) return {};
  if (address.length == kUnixPathOffset) return {.kind = UnixName::Kind::unnamed, .text = {}};
  const char* bytes = reinterpret_cast<const char*>(&address.storage) + kUnixPathOffset;
  size_t size = address.length - kUnixPathOffset;
  if (bytes[0] == '\0') return {.kind = UnixName::Kind::abstract, .text = {bytes + 1, size - 1}};
  return {.kind = UnixName::Kind::path, .text = {bytes, ::strnlen(bytes, size)}};
}

}  // namespace wrapd::supervisor
