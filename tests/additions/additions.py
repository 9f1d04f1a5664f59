# SPDX-License-Identifier: Apache-2.0
"""The toys, as a person would add them: new files are beside this one, in the folder of the addition's name; what changes in
files that are there stands here, as pairs of a text that is there once and what comes in its place."""

TOY_ID = "00112233445566778899aabbccddeeff"
AUDIT_ROW = "| `approval` | `bc25e06a61ea42c7a80c7f6e2d946c79`"
CATALOG_ENTRY = "-- bc25e06a61ea42c7a80c7f6e2d946c79\n"
BROUGHT_ROW = "| `connect`, `bind`, `listen` | notify |"
NEW_GROUP = """  if (traps_.has(TrapGroup::rename_link)) {
    expected"""

CLASS = {
    "src/policy/request.h": [
        ("enum class Class : uint8_t { unix_socket };", "enum class Class : uint8_t { unix_socket, toy };"),
        ("kClasses = 1;", "kClasses = 2;"),
        ("{ connect, bind, listen };", "{ connect, bind, listen, getpriority };"),
        ('      return "listen";\n', '      return "listen";\n    case Operation::getpriority:\n      return "getpriority";\n'),
    ],
    "src/policy/model.h": [
        ("  Verdict decision = Verdict::deny;\n", "  uint8_t whose = 0;\n  Verdict decision = Verdict::deny;\n"),
    ],
    "src/policy/classes.cc": [
        ("{kUnixSocketClass}", "{kUnixSocketClass, kToyClass}"),
        ('#include "policy/classes/unix_socket.h"', '#include "policy/classes/toy.h"\n#include "policy/classes/unix_socket.h"'),
    ],
    "src/policy/meson.build": [("'classes.cc',", "'classes.cc', 'classes/toy.cc',")],
    "src/plan/traps.h": [
        ("  rename_link,      // rename, link, symlink and their kin\n",
         "  rename_link,      // rename, link, symlink and their kin\n  toy,              // getpriority\n"),
        ('    Group{"rename_link", policy::Class::unix_socket},\n',
         '    Group{"rename_link", policy::Class::unix_socket},\n    Group{"toy", policy::Class::toy},\n'),
        ("kClassTraps = {kUnixSocketTraps};", "kClassTraps = {kUnixSocketTraps, TrapSet{TrapGroup::toy}};"),
        ("  symlinkat,\n};", "  symlinkat,\n  getpriority,\n};"),
        ("inline constexpr Trap kTraps[] = {\n", "inline constexpr Trap kTraps[] = {\n"
         '    {__NR_getpriority, Call::getpriority, TrapGroup::toy, "getpriority"},\n'),
    ],
    "src/supervisor/dispatch.cc": [
        ("  add<RenameLinkHandler>", "  add<ToyHandler>(session, {toy});\n  add<RenameLinkHandler>"),
        ('#include "supervisor/calls/socket.h"', '#include "supervisor/calls/socket.h"\n#include "supervisor/calls/toy.h"'),
    ],
    "src/supervisor/meson.build": [("'calls/socket.cc',", "'calls/socket.cc', 'calls/toy.cc',")],
    "units/wrapd.catalog": [
        (CATALOG_ENTRY, f"-- {TOY_ID}\nSubject: A wrapped program asked for a priority\nDefined-By: wrapd\n"
         f"Documentation: man:wrap(1)\n\nThe policy's decision was: @WRAPD_DECISION@.\n\n{CATALOG_ENTRY}"),
    ],
    "docs/audit.md": [
        (AUDIT_ROW, f"| `toy_op` | `{TOY_ID}` | as for `unix_socket_op` | a priority was asked for |\n{AUDIT_ROW}"),
    ],
    "docs/policy.md": [
        ("| `approval.timeout` |", "| `toy_rules` | a list | not judged | rules of whose priority may be asked for: `whose` is "
         "`own`, `others` or both |\n| `approval.timeout` |"),
    ],
    "docs/filter.md": [
        ("`getpriority`, ", ""),
        (BROUGHT_ROW, f"| `getpriority` | notify | Judged by its arguments, which are registers. |\n{BROUGHT_ROW}"),
    ],
    **{f"tests/unit/policy/bad/{name}.yaml": [("unix_socket_rules, approval", "unix_socket_rules, toy_rules, approval")]
       for name in ("list-document", "null-document", "scalar-document", "unknown-key")},
    "tests/unit/policy/bad/sandbox-list.yaml": [("unix_sockets, on_unsupported", "unix_sockets, toys, on_unsupported")],
    "tests/unit/plan/filter_test.cc": [
        (NEW_GROUP, f"  if (traps_.has(TrapGroup::toy)) expected.push_back(__NR_getpriority);\n{NEW_GROUP}"),
    ],
    "tests/integration/filter/filter_test.cc": [
        ('      {"connect", 0,', '      {"getpriority", 0, __NR_getpriority, 96, {stop}},\n      {"connect", 0,'),
        ("TrapGroup group_of(const Case& c) {\n",
         "TrapGroup group_of(const Case& c) {\n  if (c.nr == __NR_getpriority) return TrapGroup::toy;\n"),
    ],
}

# In the group `sockets`: who may listen on a socket's name may change the socket's mode.
SYSTEM_CALL = {
    "src/plan/traps.h": [
        ("  sockets,          // connect, bind, listen\n", "  sockets,          // connect, bind, listen, fchmod\n"),
        ("  listen,\n", "  listen,\n  fchmod,\n"),
        ('    {__NR_socket, Call', '    {__NR_fchmod, Call::fchmod, TrapGroup::sockets, "fchmod"},\n    {__NR_socket, Call'),
    ],
    "src/supervisor/calls/socket.h": [
        ("  Outcome listen(const", "  Outcome change_mode(const Caller& call, CallContext& context);\n  Outcome listen(const"),
    ],
    "src/supervisor/calls/socket.cc": [
        ("    case SYS_socket:\n", "    case SYS_fchmod:\n      return change_mode(call, context);\n    case SYS_socket:\n"),
        ("// The filter brings only AF_UNIX", """\
Outcome SocketHandler::change_mode(const Caller& call, CallContext& context) {
  GatedCall gated(gate_, call, context);
  auto socket = call.take_descriptor(static_cast<int>(call.arguments[0]));
  if (!socket) return gated.failed(socket.error());
  AddressCopy bound;
  if (int rc = kernel_.socket_name(socket->get(), bound.storage, bound.length); rc < 0) return gated.error(-rc);
  bound.length = std::min(bound.length, socklen_t{sizeof(sockaddr_un)});
  if (auto refused = judge_listen(call, gated, socket->get(), decode_unix_name(bound))) return std::move(*refused);
  return gated.act([&] { return call.act().change_mode(socket->get(), static_cast<mode_t>(call.arguments[1])); });
}

// The filter brings only AF_UNIX"""),
    ],
    "src/kernel/operations.h": [
        ("  [[nodiscard]] virtual int listen(int socket, int backlog);\n",
         "  [[nodiscard]] virtual int listen(int socket, int backlog);\n"
         "  [[nodiscard]] virtual int change_mode(int socket, mode_t mode);\n"),
    ],
    "src/kernel/operations.cc": [
        ("#include <fcntl.h>\n", "#include <fcntl.h>\n#include <sys/stat.h>\n"),
        ("int Operations::rename(", "int Operations::change_mode(int socket, mode_t mode) {\n"
         "  return result(::fchmod(socket, mode));\n}\n\nint Operations::rename("),
    ],
    "src/plan/generate_supervisor_filter.cc": [("    __NR_listen,\n", "    __NR_listen,\n    __NR_fchmod,\n")],
    "docs/filter.md": [
        ("`fchmod`, ", ""),
        ("| `rename`, `renameat`, `renameat2`, `link`",
         "| `fchmod` | notify | Judged as `listen` is. |\n| `rename`, `renameat`, `renameat2`, `link`"),
    ],
    "tests/unit/supervisor/fake_kernel.h": [
        ('  int rename(int,', '  int change_mode(int, mode_t) override { return operation("change_mode"); }\n  int rename(int,'),
    ],
    "tests/unit/plan/filter_test.cc": [
        ("expected = {__NR_connect, __NR_bind, __NR_listen};", "expected = {__NR_connect, __NR_bind, __NR_listen, __NR_fchmod};"),
    ],
    "tests/integration/filter/filter_test.cc": [
        ('      {"connect", 0,', '      {"fchmod", 0, __NR_fchmod, 94, {stop}},\n      {"connect", 0,'),
        ("if (c.nr == __NR_connect ||", "if (c.nr == __NR_fchmod || c.nr == __NR_connect ||"),
    ],
}
