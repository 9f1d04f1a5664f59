// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whose slot of the records' allowance is whose, and the record of what no session could record any more.

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <unordered_map>

#include "audit/allowance.h"
#include "base/result.h"
#include "daemon/event_loop.h"
#include "daemon/journal.h"

namespace wrapd::daemon {

class RecordShares {
 public:
  static constexpr std::chrono::seconds kInterval{30};

  // `journal` outlives it.
  [[nodiscard]] static Result<std::unique_ptr<RecordShares>> create(EventLoop& loop, Journal& journal,
                                                                    int runtime_directory);
  ~RecordShares();

  [[nodiscard]] int fd() const { return allowance_.fd(); }
  // Of a session that is about to be opened. Users beyond those that can be told apart share one.
  [[nodiscard]] size_t slot_of(uid_t uid);

 private:
  static constexpr size_t kShared = audit::Allowance::kSlots - 1;
  RecordShares(EventLoop& loop, Journal& journal, audit::Allowance allowance)
      : loop_(loop), journal_(journal), allowance_(std::move(allowance)) {}
  void take_over();
  void watch();
  bool record_losses();

  EventLoop& loop_;
  Journal& journal_;
  audit::Allowance allowance_;
  std::unordered_map<uid_t, size_t> slots_;
  size_t next_ = audit::Allowance::kEverybody + 1;
  EventSource timer_;
};

}  // namespace wrapd::daemon
