// SPDX-License-Identifier: Apache-2.0
#include "daemon/options.h"

#include <getopt.h>

#include <charconv>

#include "base/io.h"
#include "config.h"

namespace wrapd::daemon {

Options default_options() {
  return Options{.catalogue = {.config = WRAPD_CONFIG_DIR "/wrapd.yaml",
                               .policies = WRAPD_CONFIG_DIR "/policies",
                               .vendor_policies = WRAPD_VENDOR_POLICY_DIR,
                               .subordinate_ids = "/etc/subuid"},
                 .runtime_directory = WRAPD_RUNTIME_DIR,
                 .supervisor = WRAPD_LIBEXECDIR "/wrap-supervisor",
                 .keeper = WRAPD_LIBEXECDIR "/wrapd-keeper",
                 .compiler = WRAPD_LIBEXECDIR "/wrap-compile"};
}

static Result<std::chrono::seconds> seconds_of(std::string_view text) {
  constexpr unsigned kMost = 7 * 24 * 60 * 60;
  unsigned seconds = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds > kMost) {
    return fail("--idle-exit takes a number of seconds, at most " + std::to_string(kMost));
  }
  return std::chrono::seconds(seconds);
}

Result<Options> parse_options(int argc, char** argv) {
  Options options = default_options();
  std::string* const paths[] = {&options.catalogue.config,
                                &options.catalogue.policies,
                                &options.catalogue.vendor_policies,
                                &options.runtime_directory,
                                &options.supervisor,
                                &options.compiler,
                                &options.keeper,
                                &options.catalogue.subordinate_ids};
  const struct option table[] = {{"config", required_argument, nullptr, 0},
                                 {"policy-dir", required_argument, nullptr, 1},
                                 {"vendor-policy-dir", required_argument, nullptr, 2},
                                 {"runtime-dir", required_argument, nullptr, 3},
                                 {"supervisor", required_argument, nullptr, 4},
                                 {"compiler", required_argument, nullptr, 5},
                                 {"keeper", required_argument, nullptr, 6},
                                 {"subuid", required_argument, nullptr, 7},
                                 {"idle-exit", required_argument, nullptr, 'i'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {"version", no_argument, nullptr, 'v'},
                                 {nullptr, 0, nullptr, 0}};
  ::optind = 1;
  ::opterr = 0;
  for (int c; (c = ::getopt_long(argc, argv, "+:", table, nullptr)) != -1;) {
    if (c == 'h') {
      options.help = true;
    } else if (c == 'v') {
      options.version = true;
    } else if (c == ':') {
      return fail(printable(argv[::optind - 1]) + " needs a value; see --help");
    } else if (c == '?') {
      return fail("unknown option " + printable(argv[::optind - 1]) + "; see --help");
    } else if (c == 'i') {
      auto seconds = seconds_of(::optarg);
      if (!seconds) return std::unexpected(seconds.error());
      options.idle_exit = *seconds;
    } else if (::optarg[0] != '/') {
      return fail(printable(argv[::optind - 1]) + ": an absolute path is needed");
    } else {
      *paths[c] = ::optarg;
    }
  }
  if (::optind < argc) return fail("unexpected argument " + printable(argv[::optind]) + "; see --help");
  return options;
}

std::string usage() {
  Options d = default_options();
  return "Usage: wrapd [OPTION]...\n"
         "The service behind wrap(1). Started by its socket, wrapd.socket, which is passed as\n"
         "\"wrapd-control\" (sd_listen_fds(3)).\n\n"
         "  --config FILE            who gets which policy (" +
         d.catalogue.config +
         ")\n"
         "  --policy-dir DIR         the administrator's policies (" +
         d.catalogue.policies +
         ")\n"
         "  --vendor-policy-dir DIR  policies replaced by those of the same file name (" +
         d.catalogue.vendor_policies +
         ")\n"
         "  --runtime-dir DIR        holds the per-caller sockets (" +
         d.runtime_directory +
         ")\n"
         "  --supervisor FILE        program of a session (" +
         d.supervisor +
         ")\n"
         "  --compiler FILE          checks policies that users wrote (" +
         d.compiler +
         ")\n"
         "  --keeper FILE            holds connections before Linux 6.16 (" +
         d.keeper +
         ")\n"
         "  --subuid FILE            whose ids the subordinate ones are, subuid(5) (" +
         d.catalogue.subordinate_ids +
         ")\n"
         "  --idle-exit SECONDS      ends with status 75 when nobody has needed it for that long (0, never)\n"
         "  --help, --version\n\n"
         "SIGHUP reads the configuration and the policies again, all of them or none.\n";
}

}  // namespace wrapd::daemon
