// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <ctime>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/io.h"
#include "client/wrapctl/journal.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

constexpr uint64_t kFollowedLines = 10;  // shown first by --follow

struct Options {
  std::optional<std::string> id;
  bool follow = false;
  std::optional<uint64_t> lines;
  std::optional<std::string> since;
  std::optional<std::string> directory;
};

BusError failed(const Error& error) {
  return {"System.Error", error.message};
}

// "30s", "10min", "2h", "1d" ago; "2026-01-31", "2026-01-31 12:00", "2026-01-31 12:00:00" in the local time zone.
std::optional<uint64_t> parse_since(const std::string& text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  uint64_t seconds = unit == "s" ? 1 : unit == "min" || unit == "m" ? 60 : unit == "h" ? 3600 : unit == "d" ? 86400 : 0;
  if (error == std::errc() && seconds > 0) {
    uint64_t now = now_usec() / 1'000'000;
    return number > now / seconds ? 0 : (now - number * seconds) * 1'000'000;
  }
  for (const char* format : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"}) {
    std::tm time{};
    const char* rest = ::strptime(text.c_str(), format, &time);
    if (rest == nullptr || *rest != '\0') continue;
    time.tm_isdst = -1;
    std::time_t at = ::mktime(&time);
    if (at >= 0) return static_cast<uint64_t>(at) * 1'000'000;
  }
  return std::nullopt;
}

void print(const Context& context, const JournalEntry& entry) {
  if (!context.json) {
    Colour colour = entry.action == "denied" ? Colour::red : Colour::none;
    std::cout << local_time(entry.time) << ' ' << painted(colour, safe_text(entry.message)) << '\n';
    return;
  }
  auto event = nlohmann::json::parse(entry.event, nullptr, false);
  // A record whose event is not what we write is still a record.
  if (!event.is_object()) event = {{"timestamp", rfc3339(entry.time)}, {"message", safe_text(entry.message)}};
  print_json(event);
}

Result<bool> has_records(const Options& options, const std::string& id) {
  auto journal = Journal::open(options.directory);
  if (!journal) return std::unexpected(journal.error());
  if (auto done = journal->only_session(id); !done) return std::unexpected(done.error());
  if (auto sought = journal->seek_first(); !sought) return std::unexpected(sought.error());
  auto entry = journal->next();
  if (!entry) return std::unexpected(entry.error());
  return entry->has_value();
}

BusResult<std::string> find_session(const Options& options) {
  const std::string& given = *options.id;
  constexpr size_t kFullId = 32;
  std::vector<std::string> ids;
  if (given.size() == kFullId) {
    ids.push_back(given);
  } else if (auto found = sessions_in_journal(options.directory, given)) {
    ids = std::move(*found);
  } else {
    return std::unexpected(failed(found.error()));
  }
  auto id = find_id(ids, given, "session");
  bool found = id.has_value();
  if (!id && id.error().name != "org.wrapd1.Error.NoSuchSession") return id;
  // --follow may wait for one that has recorded nothing yet.
  if (found && given.size() == kFullId && !options.follow) {
    auto records = has_records(options, *id);
    if (!records) return std::unexpected(failed(records.error()));
    found = *records;
  }
  if (found) return id;
  return std::unexpected(BusError{
      "org.wrapd1.Error.NoSuchSession",
      "the journal has nothing of a session " + safe_text(given) + "; wrapctl log without an id shows what it has"});
}

BusResult<Journal> open(const Options& options) {
  auto journal = Journal::open(options.directory);
  if (!journal) return std::unexpected(failed(journal.error()));
  if (options.id) {
    auto id = find_session(options);
    if (!id) return std::unexpected(id.error());
    if (auto done = journal->only_session(*id); !done) return std::unexpected(failed(done.error()));
  }
  Result<> sought;
  if (options.since) {
    auto since = parse_since(*options.since);
    if (!since) {
      return std::unexpected(BusError{"org.wrapd1.Error.InvalidArgument",
                                      "--since: '" + safe_text(*options.since) +
                                          "' is no time; give 30s, 10min, 2h, 1d or YYYY-MM-DD [HH:MM[:SS]]"});
    }
    sought = journal->seek_time(*since);
  } else if (options.lines || options.follow) {
    sought = journal->seek_last(options.lines.value_or(kFollowedLines));
  } else {
    sought = journal->seek_first();
  }
  if (!sought) return std::unexpected(failed(sought.error()));
  return std::move(*journal);
}

int run(const Context& context, const Options& options) {
  if (!options.directory && journal_access() == JournalAccess::denied) {
    return report(context, {"org.wrapd1.Error.NotPermitted",
                            std::string("you may not read the system's journal; ") + kJournalAdvice});
  }
  if (!options.directory && journal_access() == JournalAccess::missing) {
    return report(context, {"org.wrapd1.Error.NotPermitted",
                            "there is no journal of the system here; is systemd-journald running?"});
  }
  auto journal = open(options);
  if (!journal) return report(context, journal.error());
  for (;;) {
    auto entry = journal->next();
    if (!entry) return report(context, failed(entry.error()));
    if (*entry) {
      print(context, **entry);
      continue;
    }
    if (!options.follow || !std::cout.flush()) return kOk;
    if (auto waited = journal->wait(); !waited) return report(context, failed(waited.error()));
  }
}

}  // namespace

void add_log(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("log", "show the audit records of the journal");
  auto options = std::make_shared<Options>();
  verb->add_option("ID", options->id, "only this session's: its id, or its first digits (4 at least)");
  verb->add_flag("-f,--follow", options->follow, "go on with what comes, until interrupted");
  auto* lines = verb->add_option("-n,--lines", options->lines, "only the last LINES records")
                    ->type_name("LINES")
                    ->range(1, uint64_t{1} << 40);
  verb->add_option("--since", options->since, "from TIME on: 30s, 10min, 2h, 1d ago, or YYYY-MM-DD [HH:MM[:SS]]")
      ->type_name("TIME")
      ->excludes(lines);
  verb->add_option("--directory", options->directory, "read the journal files of this directory")->type_name("DIR");
  verb->footer(
      "Shows what the service itself recorded, and nothing that others wrote in its name. With --json each\n"
      "record is one line. To read the system's journal takes one of the groups adm and systemd-journal.");
  verb->callback([&context, options] { context.run = [&context, options] { return run(context, *options); }; });
}

}  // namespace wrapd::wrapctl
