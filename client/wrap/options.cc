// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/options.h"

#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstring>

#include "base/io.h"
#include "config.h"

namespace wrapd::client {
namespace {

enum Flag : int {
  kPolicy = 256,
  kProfile,
  kStandalone,
  kAuditLog,
  kMode,
  kKeepFd,
  kStatusFd,
  kQuiet,
  kExplain,
  kVersion,
  kHelp,
  kControl,
  kCompile,
};

constexpr option kFlags[] = {
    {"policy", required_argument, nullptr, kPolicy},
    {"profile", required_argument, nullptr, kProfile},
    {"standalone", no_argument, nullptr, kStandalone},
    {"audit-log", required_argument, nullptr, kAuditLog},
    {"mode", required_argument, nullptr, kMode},
    {"keep-fd", required_argument, nullptr, kKeepFd},
    {"status-fd", required_argument, nullptr, kStatusFd},
    {"quiet", no_argument, nullptr, kQuiet},
    {"explain", no_argument, nullptr, kExplain},
    {"version", no_argument, nullptr, kVersion},
    {"help", no_argument, nullptr, kHelp},
    // For running from a build tree and for tests; not in the help.
    {"control", required_argument, nullptr, kControl},
    {"compile", required_argument, nullptr, kCompile},
    {nullptr, 0, nullptr, 0},
};

constexpr std::string_view kHelpText =
    R"(Usage: wrap [OPTION]... [--] CMD [ARG]...
Run CMD under the policy of this machine.

      --policy NAME      ask for this policy instead of your default one
      --profile FILE     narrow further with a profile of your own
      --standalone       no service: the profile (or the vendor's default) is the policy
      --audit-log FILE   append what was decided to FILE (fd:N: to this descriptor), as JSON lines
      --mode audit       the profile only records what it would deny
      --keep-fd N        pass descriptor N on to CMD; may be repeated
      --status-fd N      write JSON lines about CMD's start and end to descriptor N
      --quiet            no notices and no summary of what was denied
      --explain          print what would apply to CMD, and run nothing
      --version          print the version and exit
      --help             print this help and exit

Exit status: that of CMD; 128+N if signal N ended it; 125 if wrap failed; 126 if CMD cannot be executed;
127 if CMD was not found.
)";

Result<int> parse_fd(std::string_view option, std::string_view text) {
  int fd = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc() || end != text.data() + text.size() || fd < 0) {
    return fail(std::string(option) + " " + printable(text, 64) + ": not a descriptor; give a number such as 3");
  }
  return fd;
}

Result<> check(const Options& options) {
  if (options.action == Options::Action::help || options.action == Options::Action::version) return {};
  if (options.command.empty() && options.action == Options::Action::run) {
    return fail("no command given; say what to run: wrap [OPTION]... CMD [ARG]... (see wrap --help)");
  }
  if (options.audit_log && options.audit_log->starts_with("fd:") &&
      (options.audit_fd <= 2 || std::ranges::find(options.keep_fds, options.audit_fd) != options.keep_fds.end())) {
    return fail("--audit-log " + printable(*options.audit_log, 64) +
                ": a descriptor that CMD has is no place for its record; give another (./fd:N is a file)");
  }
  if (options.standalone && options.policy) {
    return fail("--policy names a policy of the service, which --standalone does not ask; use --profile FILE");
  }
  if (options.audit && !options.standalone && !options.profile) {
    return fail(
        "--mode audit relaxes a profile, never the administrator's policy; give --profile FILE or --standalone");
  }
  return {};
}

Result<> set_audit_log(Options& options, const char* value) {
  constexpr std::string_view kDescriptor = "fd:";
  options.audit_log = value;
  options.audit_fd = -1;
  if (!options.audit_log->starts_with(kDescriptor)) return {};
  auto fd = parse_fd("--audit-log fd:N", value + kDescriptor.size());
  if (!fd) return std::unexpected(fd.error());
  options.audit_fd = *fd;
  return {};
}

Result<> keep(Options& options, const char* value) {
  auto fd = parse_fd("--keep-fd", value);
  if (!fd) return std::unexpected(fd.error());
  const bool standard = *fd <= 2;  // kept anyway
  if (!standard && std::ranges::find(options.keep_fds, *fd) == options.keep_fds.end()) options.keep_fds.push_back(*fd);
  return {};
}

// An option that takes a value.
Result<> set_value(Options& options, int flag, const char* value) {
  switch (flag) {
    case kPolicy:
      options.policy = value;
      return {};
    case kProfile:
      options.profile = value;
      return {};
    case kAuditLog:
      return set_audit_log(options, value);
    case kMode:
      options.audit = std::strcmp(value, "audit") == 0;
      if (options.audit) return {};
      return fail("--mode " + printable(value, 64) + ": only audit can be asked for; leave the option out to enforce");
    case kKeepFd:
      return keep(options, value);
    case kStatusFd: {
      auto fd = parse_fd("--status-fd", value);
      if (!fd) return std::unexpected(fd.error());
      options.status_fd = *fd;
      return {};
    }
    case kControl:
      options.control = value;
      return {};
    default:
      options.compile = value;
      return {};
  }
}

}  // namespace

std::string_view help_text() {
  return kHelpText;
}

Result<Options> parse_options(int argc, char** argv) {
  Options options;
  options.control = WRAPD_RUNTIME_DIR "/control";
  optind = 0;  // glibc: start afresh, also after an earlier parse
  opterr = 0;
  int flag = 0;
  // '+': CMD's own options are CMD's. ':': a missing argument is told from an unknown option.
  while ((flag = ::getopt_long(argc, argv, "+:", kFlags, nullptr)) != -1) {
    Result<> set;
    switch (flag) {
      case kStandalone:
        options.standalone = true;
        break;
      case kQuiet:
        options.quiet = true;
        break;
      case kExplain:
        options.action = Options::Action::explain;
        break;
      case kVersion:
        options.action = Options::Action::version;
        return options;
      case kHelp:
        options.action = Options::Action::help;
        return options;
      case ':':
        return fail(printable(argv[optind - 1], 64) + " needs a value; see wrap --help");
      case '?':
        return fail((optopt > 0 && optopt < 256
                         ? "unknown option -" + printable(std::string(1, static_cast<char>(optopt)))
                         : "unknown option or value: " + printable(argv[optind - 1], 64)) +
                    "; see wrap --help");
      default:
        set = set_value(options, flag, optarg);
    }
    if (!set) return std::unexpected(set.error());
  }
  options.command.assign(argv + optind, argv + argc);
  if (auto ok = check(options); !ok) return std::unexpected(ok.error());
  return options;
}

}  // namespace wrapd::client
