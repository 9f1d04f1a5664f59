// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/journal.h"

#include "client/wrapctl/doctor/probe.h"
#include "client/wrapctl/text.h"

namespace wrapd::wrapctl::doctor {

Finding probe_journal() {
  switch (journal_access()) {
    case JournalAccess::missing:
      return fallback("there is no journal: the service writes its records to its standard error as JSON lines",
                      "run systemd-journald to keep them; wrapctl log needs it");
    case JournalAccess::denied:
      return fallback("records are kept, and you may not read them: wrapctl log works for others only", kJournalAdvice);
    case JournalAccess::readable:
      break;
  }
  auto journal = Journal::open(std::nullopt);
  if (!journal) return failed(journal.error().message, "systemctl status systemd-journald");
  if (auto sought = journal->seek_last(1); !sought) return failed(sought.error().message, "journalctl --verify");
  auto entry = journal->next();
  if (!entry) return failed(entry.error().message, "journalctl --verify");
  if (!*entry) {
    return fallback("it can be read and holds no record of the service's",
                    "that is right before the first session; after one, see systemctl status systemd-journald");
  }
  return ok("it can be read; the last record is " + age((*entry)->time, now_usec()) + " old");
}

}  // namespace wrapd::wrapctl::doctor
