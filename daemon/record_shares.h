// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whose slot of the records' allowance is whose, and the record of what no session could record any more.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>

#include "audit/allowance.h"
#include "base/result.h"
#include "daemon/event_loop.h"
#include "daemon/journal.h"
#include "daemon/quota.h"

namespace wrapd::daemon {

class RecordShares {
 public:
  static constexpr std::chrono::seconds kInterval{30};

  // `sessions` says who has sessions open; it and `journal` outlive this.
  [[nodiscard]] static Result<std::unique_ptr<RecordShares>> create(EventLoop& loop, Journal& journal,
                                                                    const Quota& sessions, int runtime_directory,
                                                                    std::chrono::milliseconds interval = kInterval);
  ~RecordShares();

  [[nodiscard]] int fd() const { return allowance_.fd(); }
  // Of a session that is about to be opened and is counted in `sessions`. Users beyond those that can be told apart
  // share one.
  [[nodiscard]] size_t slot_of(uint64_t user);

 private:
  static constexpr size_t kShared = audit::Allowance::kSlots - 1;
  RecordShares(EventLoop& loop, Journal& journal, const Quota& sessions, audit::Allowance allowance,
               std::chrono::milliseconds interval)
      : loop_(loop), journal_(journal), sessions_(sessions), allowance_(std::move(allowance)), interval_(interval) {}
  void take_over();
  void watch();
  bool record_losses();
  void record(std::optional<uint64_t> user, uint64_t events);

  EventLoop& loop_;
  Journal& journal_;
  const Quota& sessions_;
  audit::Allowance allowance_;
  std::chrono::milliseconds interval_;
  std::unordered_map<uint64_t, size_t> slots_;
  size_t next_ = audit::Allowance::kEverybody + 1;
  EventSource timer_;
};

}  // namespace wrapd::daemon
