// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <systemd/sd-journal.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audit/event.h"
#include "base/result.h"

namespace wrapd::wrapctl {

// Whether the caller may read what the system's services wrote.
enum class JournalAccess {
  readable,
  denied,   // there is a journal of the system's, and it is not for the caller
  missing,  // there is none
};
// `roots`: where journals lie, /var/log/journal and /run/log/journal.
[[nodiscard]] JournalAccess journal_access(const std::vector<std::string>& roots);
[[nodiscard]] JournalAccess journal_access();
// What to do about it.
inline constexpr const char* kJournalAdvice =
    "join one of the groups adm and systemd-journal (usermod -aG systemd-journal USER, then log in anew), or ask as "
    "root";

struct JournalEntry {
  uint64_t time = 0;  // when the journal got it, microseconds since the epoch
  std::string message;
  std::string event;   // the event as JSON
  std::string action;  // allowed, denied; empty where nothing was done
  std::string session;
};

// The service's audit records, and nothing that others wrote with the same fields: only what comes from a process of
// wrapd.service counts (journald's own word, systemd.journal-fields(7)).
class Journal {
 public:
  // `directory`: another place than the system's.
  [[nodiscard]] static Result<Journal> open(const std::optional<std::string>& directory,
                                            std::span<const audit::Kind> kinds = audit::kAllKinds);

  // Only this session's.
  [[nodiscard]] Result<> only_session(const std::string& id);

  // Where next() begins.
  [[nodiscard]] Result<> seek_first();
  [[nodiscard]] Result<> seek_time(uint64_t usec);
  [[nodiscard]] Result<> seek_last(uint64_t count);  // so that next() gives that many, and then what comes

  [[nodiscard]] Result<std::optional<JournalEntry>> next();
  // Until something may have been added.
  [[nodiscard]] Result<> wait();

 private:
  struct Close {
    void operator()(sd_journal* journal) const noexcept { ::sd_journal_close(journal); }
  };
  std::string field(const char* name);
  std::unique_ptr<sd_journal, Close> journal_;
};

// The ids of recorded sessions that begin with `prefix`; of very many not all.
[[nodiscard]] Result<std::vector<std::string>> sessions_in_journal(const std::optional<std::string>& directory,
                                                                   std::string_view prefix);

}  // namespace wrapd::wrapctl
