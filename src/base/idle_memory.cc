// SPDX-License-Identifier: Apache-2.0
#include "base/idle_memory.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace wrapd {
namespace {

// Segments that may be written hold what relocation wrote, also where they are read-only by now.
int release_segments(dl_phdr_info* object, size_t, void*) {
  const auto page = static_cast<uintptr_t>(::getpagesize());
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (object->dlpi_addr + segment.p_vaddr) & ~(page - 1);
    const uintptr_t end = (object->dlpi_addr + segment.p_vaddr + segment.p_filesz + page - 1) & ~(page - 1);
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // failed: the pages stay
  }
  return 0;
}

}  // namespace

void release_program_pages() noexcept {
  const int before = errno;
  ::dl_iterate_phdr(release_segments, nullptr);
  errno = before;
}

}  // namespace wrapd
