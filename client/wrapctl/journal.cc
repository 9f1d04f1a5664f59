// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/journal.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>

#include "base/io.h"

namespace wrapd::wrapctl {
namespace {

constexpr const char* kUnit = "_SYSTEMD_UNIT=wrapd.service";
constexpr size_t kMaxField = 256UL << 10;  // bytes of a value; events are far shorter
constexpr size_t kMaxSessions = 16;

std::unexpected<Error> failure(const char* what, int rc) {
  return fail_errno(std::string("cannot ") + what + " the journal", -rc);
}

Result<> match(sd_journal* journal, const std::string& text) {
  if (int rc = ::sd_journal_add_match(journal, text.data(), text.size()); rc < 0) return failure("filter", rc);
  return {};
}

}  // namespace

JournalAccess journal_access(const std::vector<std::string>& roots) {
  namespace fs = std::filesystem;
  auto access = JournalAccess::missing;
  for (const auto& root : roots) {
    std::error_code error;
    fs::directory_iterator list(root, error);
    if (error == std::errc::permission_denied) access = JournalAccess::denied;
    for (; !error && list != fs::directory_iterator(); list.increment(error)) {
      const std::string file = (list->path() / "system.journal").string();
      if (::access(file.c_str(), R_OK) == 0) return JournalAccess::readable;
      if (errno == EACCES) access = JournalAccess::denied;
    }
  }
  return access;
}

JournalAccess journal_access() {
  return journal_access({"/var/log/journal", "/run/log/journal"});
}

Result<Journal> Journal::open(const std::optional<std::string>& directory, std::span<const audit::Kind> kinds) {
  sd_journal* journal = nullptr;
  int rc = directory ? ::sd_journal_open_directory(&journal, directory->c_str(), 0)
                     : ::sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
  if (rc < 0) return fail_errno("cannot open the journal" + (directory ? " in " + printable(*directory) : ""), -rc);
  Journal out;
  out.journal_.reset(journal);
  if (rc = ::sd_journal_set_data_threshold(journal, kMaxField); rc < 0) return failure("set up", rc);
  if (auto done = match(journal, kUnit); !done) return std::unexpected(done.error());
  // Matches of one field are alternatives, those of several are needed together.
  for (auto kind : kinds) {
    if (auto done = match(journal, "MESSAGE_ID=" + std::string(audit::message_id(kind))); !done) {
      return std::unexpected(done.error());
    }
  }
  return out;
}

Result<> Journal::only_session(const std::string& id) {
  return match(journal_.get(), "WRAPD_SESSION_ID=" + id);
}

Result<> Journal::seek_first() {
  if (int rc = ::sd_journal_seek_head(journal_.get()); rc < 0) return failure("read", rc);
  return {};
}

Result<> Journal::seek_time(uint64_t usec) {
  if (int rc = ::sd_journal_seek_realtime_usec(journal_.get(), usec); rc < 0) return failure("read", rc);
  return {};
}

Result<> Journal::seek_last(uint64_t count) {
  if (int rc = ::sd_journal_seek_tail(journal_.get()); rc < 0) return failure("read", rc);
  // One further back, as next() steps first. Fewer than that: from the first on.
  int rc = ::sd_journal_previous_skip(journal_.get(), count + 1);
  if (rc < 0) return failure("read", rc);
  if (static_cast<uint64_t>(rc) <= count) return seek_first();
  return {};
}

std::string Journal::field(const char* name) {
  const void* data = nullptr;
  size_t length = 0;
  if (::sd_journal_get_data(journal_.get(), name, &data, &length) < 0) return {};
  std::string_view value(static_cast<const char*>(data), length);
  value.remove_prefix(std::min(value.find('=') + 1, value.size()));
  return std::string(value);
}

Result<std::optional<JournalEntry>> Journal::next() {
  int rc = ::sd_journal_next(journal_.get());
  if (rc < 0) return failure("read", rc);
  if (rc == 0) return std::nullopt;
  JournalEntry entry;
  if (rc = ::sd_journal_get_realtime_usec(journal_.get(), &entry.time); rc < 0) return failure("read", rc);
  entry.message = field("MESSAGE");
  entry.event = field("WRAPD_EVENT");
  entry.action = field("WRAPD_ACTION");
  entry.session = field("WRAPD_SESSION_ID");
  return entry;
}

Result<> Journal::wait() {
  if (int rc = ::sd_journal_wait(journal_.get(), UINT64_MAX); rc < 0 && rc != -EINTR) return failure("follow", rc);
  return {};
}

Result<std::vector<std::string>> sessions_in_journal(const std::optional<std::string>& directory,
                                                     std::string_view prefix) {
  // Not sd_journal_query_unique(3): that also gives what others wrote.
  constexpr audit::Kind kKinds[] = {audit::Kind::session_opened, audit::Kind::session_closed};
  auto journal = Journal::open(directory, kKinds);
  if (!journal) return std::unexpected(journal.error());
  if (auto sought = journal->seek_first(); !sought) return std::unexpected(sought.error());
  std::set<std::string> found;
  while (found.size() < kMaxSessions) {
    auto entry = journal->next();
    if (!entry) return std::unexpected(entry.error());
    if (!*entry) break;
    if ((*entry)->session.starts_with(prefix)) found.insert((*entry)->session);
  }
  return std::vector<std::string>(found.begin(), found.end());
}

}  // namespace wrapd::wrapctl
