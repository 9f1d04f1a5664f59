// SPDX-License-Identifier: Apache-2.0

// Reading again what the administrator wrote: whole or not at all, because half a reload would be a mixture that nobody
// wrote. On a thread: user names and files may be far away, and nobody waits for it.

#include <cstdio>

#include "base/io.h"
#include "daemon/manager_notice.h"
#include "daemon/service.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kMostWaiting = 64;
constexpr size_t kMostReasons = 4096;  // bytes

std::string reasons_of(const Catalogue& catalogue) {
  std::string text;
  for (const auto& rejected : catalogue.rejected) text += (text.empty() ? "" : "; ") + rejected.why;
  return printable(text, kMostReasons);
}

// As many as wait, at most.
std::string joined(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

void Service::reload(std::string by, std::function<void(ApiResult<>)> done) {
  note_activity();
  auto& waiting = reloading_ ? reload_again_done_ : reload_done_;
  if (waiting.size() >= kMostWaiting) {
    return done(std::unexpected(ApiError{"LimitExceeded", "too many wait for a reload already; try again later"}));
  }
  waiting.push_back(std::move(done));
  start_reload(std::move(by));
}

void Service::start_reload(std::string by) {
  (reloading_ ? reload_again_by_ : reload_by_).insert(std::move(by));
  if (std::exchange(reloading_, true)) {
    reload_again_ = true;
    return;
  }
  load();
}

void Service::load() {
  notify_reloading("Reading policies");
  auto submitted = loader_->submit([this, paths = options_.catalogue]() -> Worker::Completion {
    return [this, loaded = load_administration(paths)] { on_loaded(loaded); };
  });
  if (!submitted) on_loaded(std::unexpected(submitted.error()));
}

void Service::on_loaded(const Result<Administration>& loaded) {
  reloading_ = false;
  const std::string problem = put_in_force(loaded, joined(std::exchange(reload_by_, {})));
  reload_failed_ = !problem.empty();
  if (reload_failed_) std::fprintf(stderr, "wrapd: nothing was reloaded; what was in force stays in force\n");
  told_status_ = status();
  notify_ready(told_status_);
  for (const auto& done : std::exchange(reload_done_, {})) {
    if (reload_failed_) {
      done(std::unexpected(ApiError{"InvalidPolicy", problem}));
    } else {
      done({});
    }
  }
  if (std::exchange(reload_again_, false)) {
    reload_done_ = std::exchange(reload_again_done_, {});
    reload_by_ = std::exchange(reload_again_by_, {});
    reloading_ = true;
    load();
  }
}

std::string Service::put_in_force(const Result<Administration>& loaded, const std::string& by) {
  if (!loaded) {
    std::fprintf(stderr, "wrapd: %s\n", loaded.error().message.c_str());
    announce_broken(journal_, options_.catalogue, loaded.error(), by);
    return loaded.error().message;
  }
  announce_rejected(journal_, *loaded->catalogue, by);
  if (!loaded->catalogue->rejected.empty()) return reasons_of(*loaded->catalogue);
  administration_ = *loaded;
  subordinate_ids_ = administration_.subordinate_ids;
  broker_->use(administration_.catalogue, administration_.supervisor_ids, subordinate_ids_);
  announce_loaded(journal_, *administration_.catalogue, by);
  refresh_staleness();
  return {};
}

void Service::refresh_staleness() {
  sessions_->refresh_staleness(
      [catalogue = administration_.catalogue](std::string_view policy, std::string_view digest) {
        auto now = catalogue->find(policy);
        return !now || now->digest != digest;
      });
}

}  // namespace wrapd::daemon
