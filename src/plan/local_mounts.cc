// SPDX-License-Identifier: Apache-2.0
#include "plan/local_mounts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "base/io.h"

namespace wrapd::plan {
namespace {

constexpr size_t kMaxMountinfo = 4U << 20;

// Those whose answers come from a disk or from memory. What is not named here costs trapped renames, no more.
constexpr std::array<std::string_view, 13> kLocal = {"bcachefs", "btrfs", "devtmpfs", "erofs",   "ext2",
                                                     "ext3",     "ext4",  "f2fs",     "overlay", "ramfs",
                                                     "squashfs", "tmpfs", "xfs"};

// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
std::optional<uint64_t> local_mount(std::string_view line) {
  constexpr std::string_view kSeparator = " - ";
  const size_t separator = line.find(kSeparator);
  if (separator == std::string_view::npos) return std::nullopt;
  std::string_view type = line.substr(separator + kSeparator.size());
  type = type.substr(0, type.find(' '));
  if (std::ranges::find(kLocal, type) == kLocal.end()) return std::nullopt;
  uint64_t id = 0;
  auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), id);
  if (error != std::errc() || *end != ' ') return std::nullopt;
  return id;
}

}  // namespace

LocalMounts LocalMounts::parse(std::string_view mountinfo) {
  LocalMounts out;
  while (!mountinfo.empty()) {
    const size_t end = mountinfo.find('\n');
    if (auto id = local_mount(mountinfo.substr(0, end))) out.mounts_.push_back(*id);
    mountinfo = end == std::string_view::npos ? std::string_view() : mountinfo.substr(end + 1);
  }
  std::ranges::sort(out.mounts_);
  return out;
}

Result<LocalMounts> LocalMounts::of(pid_t pid) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/mountinfo", kMaxMountinfo);
  if (!text && text.error().code == EFBIG) return LocalMounts();
  if (!text) return fail("cannot read the caller's mounts: " + text.error().message, text.error().code);
  return parse(*text);
}

bool LocalMounts::contains(uint64_t mount) const {
  return std::ranges::binary_search(mounts_, mount);
}

}  // namespace wrapd::plan
