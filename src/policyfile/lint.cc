// SPDX-License-Identifier: Apache-2.0
#include "policyfile/lint.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "base/io.h"
#include "base/unique_fd.h"

namespace wrapd::policyfile {
namespace {

constexpr size_t kMaxDepth = 64;  // directories that are open at once
constexpr int kMaxLinks = 40;     // as in the kernel: path_resolution(7)
constexpr size_t kMaxShown = 512;

// The directories that every name of a pattern begins with.
struct Prefix {
  std::vector<std::string> directories;
  size_t end = 0;  // how many tokens they are
};

Prefix prefix_of(const policy::Pattern& pattern) {
  Prefix out;
  if (pattern.abstract) return out;
  const std::string beginning = pattern.beginning();  // a byte for each token
  if (!beginning.starts_with('/')) return out;
  for (size_t slash; (slash = beginning.find('/', out.end + 1)) != std::string::npos; out.end = slash) {
    out.directories.push_back(beginning.substr(out.end + 1, slash - out.end - 1));
  }
  return out;
}

struct Detour {
  std::string link;    // the first symbolic link on the way
  std::string target;  // what it holds
  std::string real;    // where the whole prefix leads; empty for "/"
};

// Goes from directory to directory by hand: realpath(3) would mount what waits to be mounted.
class Walk {
 public:
  std::optional<Detour> along(const std::vector<std::string>& directories) {
    rest_.assign(directories.begin(), directories.end());
    if (!to_root()) return std::nullopt;
    while (!rest_.empty()) {
      std::string name = std::move(rest_.front());
      rest_.pop_front();
      if (!step(name)) return std::nullopt;
    }
    if (detour_) detour_->real = path();
    return std::move(detour_);
  }

 private:
  bool to_root() {
    names_.clear();
    open_.clear();
    open_.emplace_back(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    return static_cast<bool>(open_.back());
  }

  // False: gives up. Beyond the first name that is not to be seen, names stand for themselves.
  bool step(const std::string& name) {
    if (name.empty() || name == ".") return true;
    if (name == "..") {
      if (names_.empty()) return true;
      names_.pop_back();
      if (open_.size() > names_.size() + 1) open_.pop_back();
      return true;
    }
    UniqueFd found = look_up(name);
    struct stat st {};
    if (found && ::fstat(found.get(), &st) < 0) return false;
    if (found && S_ISLNK(st.st_mode)) return follow(found.get(), name);
    names_.push_back(name);
    if (found && S_ISDIR(st.st_mode)) open_.push_back(std::move(found));
    return true;
  }

  UniqueFd look_up(const std::string& name) {
    if (open_.size() != names_.size() + 1 || open_.size() > kMaxDepth || !may_look_into(open_.back().get())) return {};
    // Does not mount what waits behind the name: open(2), O_PATH.
    return UniqueFd(::openat(open_.back().get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  }

  [[nodiscard]] static bool may_look_into(int directory) {
    struct statfs fs {};
    return ::fstatfs(directory, &fs) == 0 && fs.f_type != AUTOFS_SUPER_MAGIC;
  }

  bool follow(int link, const std::string& name) {
    if (++links_ > kMaxLinks) return false;
    std::array<char, PATH_MAX> buffer;
    const ssize_t length = ::readlinkat(link, "", buffer.data(), buffer.size());
    if (length <= 0 || static_cast<size_t>(length) == buffer.size()) return false;
    std::string_view target(buffer.data(), static_cast<size_t>(length));
    if (!detour_) detour_ = Detour{.link = path() + "/" + name, .target = std::string(target), .real = {}};
    if (target.front() == '/' && !to_root()) return false;
    std::deque<std::string> elements;
    while (!target.empty()) {
      const size_t slash = std::min(target.find('/'), target.size());
      elements.emplace_back(target.substr(0, slash));
      target.remove_prefix(std::min(slash + 1, target.size()));
    }
    rest_.insert(rest_.begin(), elements.begin(), elements.end());
    return true;
  }

  [[nodiscard]] std::string path() const {
    std::string out;
    for (const auto& name : names_) out += "/" + name;
    return out;
  }

  std::deque<std::string> rest_;
  std::vector<std::string> names_;  // of the directory that was come to
  std::vector<UniqueFd> open_;      // "/" and those of names_ that could be opened
  std::optional<Detour> detour_;
  int links_ = 0;
};

// A pattern for exactly this path.
std::string escaped(std::string_view path) {
  std::vector<policy::Token> tokens;
  for (char c : path) tokens.push_back({.value = static_cast<uint8_t>(c)});
  return policy::to_text(tokens);
}

std::string quoted(std::string_view text) {
  return '"' + printable(text, kMaxShown) + '"';
}

std::string effect_of(const policy::Rule& rule, const policy::Pattern& pattern) {
  if (pattern.has_wildcards() || !rule.restricts()) return "matches nothing";
  return "counts only for a socket that is there already, by device and inode";
}

class Linter {
 public:
  explicit Linter(const policy::Policy& policy) : policy_(policy) {}

  std::vector<Remark> run() && {
    policy_.for_each_rule([&](const policy::Rule& rule) {
      for (const policy::Pattern& pattern : rule.patterns) {
        if (remarks_.size() < kMaxRemarks) examine(rule, pattern);
      }
    });
    return std::move(remarks_);
  }

 private:
  void examine(const policy::Rule& rule, const policy::Pattern& pattern) {
    const Prefix prefix = prefix_of(pattern);
    if (prefix.directories.empty()) return;
    const auto& detour = detour_of(prefix.directories);
    if (!detour) return;
    const auto rest = std::span(pattern.tokens).subspan(prefix.end);
    remarks_.push_back(
        {.place = policy_.file + ":" + std::to_string(pattern.place.line) + ":" + std::to_string(pattern.place.column),
         .text = printable(detour->link, kMaxShown) + " is a symbolic link to " + printable(detour->target, kMaxShown) +
                 ", and what is judged is the real path: " + quoted(pattern.text) + " " + effect_of(rule, pattern) +
                 "; write " + quoted(escaped(detour->real) + policy::to_text(rest)),
         .void_denial = pattern.has_wildcards() && rule.restricts()});
  }

  // Many patterns begin alike.
  const std::optional<Detour>& detour_of(const std::vector<std::string>& directories) {
    auto [known, added] = detours_.try_emplace(directories);
    if (added) known->second = Walk().along(directories);
    return known->second;
  }

  const policy::Policy& policy_;
  std::map<std::vector<std::string>, std::optional<Detour>> detours_;
  std::vector<Remark> remarks_;
};

}  // namespace

std::vector<Remark> lint(const policy::Policy& policy) {
  return Linter(policy).run();
}

}  // namespace wrapd::policyfile
