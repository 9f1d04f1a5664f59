# SPDX-License-Identifier: Apache-2.0
"""Who may call what: every method of the table, by every kind of caller, with every kind of polkit."""

import pytest

from lib import dbus
from lib.bus import Machine, OTHER, OWNER, QUESTION, SESSION, session_path, table

CALLERS = {"owner": (OWNER, False), "other": (OTHER, False), "root": (0, False), "confined-owner": (OWNER, True),
           "confined-root": (0, True)}
REFUSALS = {"no": "NotAuthorized", "challenge": "AuthorizationRequired", "dismissed": "AuthorizationDismissed",
            "absent": "AuthorizationUnavailable", "hang": "AuthorizationTimeout"}
OPTIONS = {"command": dbus.Variant("s", "true"), "cwd": dbus.Variant("s", "/")}
# What makes each method succeed when it may, and what the service is then told to do.
ARGUMENTS = {
    "OpenSession": ("a{sv}", [OPTIONS], "open "),
    "ListSessions": ("", [], None),
    "GetSession": ("s", [SESSION], None),
    "TerminateSession": ("s", [SESSION], f"terminate {SESSION} by uid "),
    "TerminateUser": ("u", [OWNER], f"terminate {SESSION} by uid "),
    "ListPolicies": ("", [], None),
    "DescribePolicy": ("s", ["default"], None),
    "CheckPolicy": ("s", ["x"], None),
    "TestPolicy": ("sss", ["", "connect", "/x"], None),
    "Reload": ("", [], "reload"),
    "ListApprovals": ("", [], None),
    "Approve": ("s", [QUESTION], f"allow {QUESTION} by uid "),
    "Deny": ("s", [QUESTION], f"deny {QUESTION} by uid "),
    "Terminate": ("", [], f"terminate {SESSION} by uid "),
}


def expected(method, caller, polkit):
    """(refusal or None, the action that polkit is asked for or None). Written from docs/dbus.md, not from the code."""
    uid, confined = CALLERS[caller]
    if method["access"] == "read":
        return None, None
    if confined:
        return "Confined", None
    own = uid == OWNER and method["name"] != "Reload"
    if uid == 0 or method["access"] == "change" or (method["access"] == "own_free" and own):
        return None, None
    action = method["own" if own else "others"]
    return REFUSALS.get(polkit), None if polkit == "absent" else action


@pytest.fixture(scope="module")
def impatient():
    machine = Machine(polkit_ms=50)
    yield machine
    assert machine.stop() == ""


@pytest.mark.parametrize("polkit", ["yes", *REFUSALS])
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("method", table(), ids=lambda m: m["name"])
def test_who_may_call_what(shared, impatient, method, caller, polkit):
    machine = impatient if polkit == "hang" else shared
    machine.service.order("reset")
    machine.service.order(f"add {SESSION} {OWNER} sleep 1")
    machine.service.order(f"ask {QUESTION} {SESSION}")
    machine.polkit.forget()
    machine.polkit.mode = polkit
    if polkit == "absent":
        machine.polkit.leave()
    uid, confined = CALLERS[caller]
    client = machine.client(uid, confined)
    signature, args, effect = ARGUMENTS[method["name"]]
    path = session_path(SESSION) if method["interface"] == "org.wrapd1.Session" else "/org/wrapd1"
    refusal, action = expected(method, caller, polkit)
    try:
        client.call("org.wrapd1", path, method["interface"], method["name"], signature, args, flags=dbus.INTERACTIVE)
        outcome = None
    except dbus.Failure as failure:
        outcome = failure.name
    finally:
        if polkit == "absent":
            machine.polkit.come_back()
        machine.dismiss(client)
    assert outcome == refusal
    told = machine.service.order("reset")
    if effect and not refusal:
        assert len(told) == 1 and told[0].startswith(effect)
        assert not effect.endswith("uid ") or told[0] == f"{effect}{uid}"
    else:
        assert told == []
    if action:
        question = machine.polkit.question()
        assert question["action"] == action
        assert question["subject"] == ("system-bus-name", {"name": client.name})
        assert question["flags"] == 1
    assert machine.polkit.asked.empty()


def test_the_expectations_know_every_method():
    assert sorted(ARGUMENTS) == sorted(m["name"] for m in table())
    assert all(m["access"] != "nobody" for m in table())
    assert all(m["others"].startswith("org.wrapd1.") for m in table() if m["access"] in ("own_free", "polkit"))
    assert all(m["own"].startswith("org.wrapd1.") for m in table() if m["access"] == "polkit")


def test_authorisation_of_each_method_is_the_documented_one():
    change = {"OpenSession", "CheckPolicy"}
    own_free = {"TerminateSession", "TerminateUser", "Terminate"}
    polkit = {"Reload", "Approve", "Deny"}
    for method in table():
        wanted = ("change" if method["name"] in change else "own_free" if method["name"] in own_free else
                  "polkit" if method["name"] in polkit else "read")
        assert method["access"] == wanted, method["name"]


def test_a_person_is_asked_only_if_the_message_allows_it(machine):
    client = machine.client(OTHER)
    machine.polkit.mode = "challenge"
    for flags, wanted in ((0, 0), (dbus.INTERACTIVE, 1)):
        with pytest.raises(dbus.Failure) as failed:
            client.manager("Reload", flags=flags)
        assert failed.value.name == "AuthorizationRequired"
        assert machine.polkit.question()["flags"] == wanted


def test_the_dialog_gets_bounded_and_escaped_text(machine):
    machine.service.order(f"add {SESSION} {OWNER} " + "\x1b[2J" + "x" * 3000)
    machine.service.order(f"ask {QUESTION} {SESSION}")
    client = machine.client(OTHER)
    machine.polkit.mode = "yes"
    client.manager("Approve", "s", [QUESTION])
    client.manager("TerminateSession", "s", [SESSION])
    approve, terminate = machine.polkit.question()["details"], machine.polkit.question()["details"]
    assert approve == {"approval": QUESTION, "session": SESSION, "user": str(OWNER), "operation": "connect",
                       "target": "/run/x\\x1b[2J", "program": "cat"}
    assert terminate["session"] == SESSION and terminate["user"] == str(OWNER)
    assert terminate["command"].startswith("\\x1b[2Jxxx") and len(terminate["command"]) == 128


@pytest.mark.parametrize("padding", ["x", "日", "\u200b"], ids=["plain", "wide", "escaped"])
def test_the_dialog_shows_what_a_long_path_ends_in(machine, padding):
    machine.service.order(f"add {SESSION} {OWNER} x")
    machine.service.order(f"ask {QUESTION} {SESSION} /tmp/{padding * 300}/docker.sock")
    client = machine.client(OTHER)
    machine.polkit.mode = "yes"
    client.manager("Approve", "s", [QUESTION])
    target = machine.polkit.question()["details"]["target"]
    assert target.startswith("/tmp/") and target.endswith("/docker.sock") and "[...]" in target
    assert 116 < len(target) <= 128


def held(machine, client, member, argument):
    """A call that waits for polkit: its serial and polkit's question."""
    machine.polkit.mode = "hang"
    serial = client.send("org.wrapd1", "/org/wrapd1", "org.wrapd1.Manager", member, "s", [argument])
    return serial, machine.polkit.question()


def test_what_has_gone_while_polkit_was_asked_is_not_touched(machine):
    client = machine.client(OTHER)
    machine.service.order(f"add {SESSION} {OWNER} x")
    machine.service.order(f"ask {QUESTION} {SESSION}")
    for member, argument, order, error in (("Approve", QUESTION, f"answered {QUESTION}", "NoSuchApproval"),
                                           ("TerminateSession", SESSION, f"remove {SESSION}", "NoSuchSession")):
        serial, question = held(machine, client, member, argument)
        machine.service.order(order)
        machine.polkit.answer(question["message"], "yes")
        assert client.answer_to(serial).error == f"org.wrapd1.Error.{error}"
    assert machine.service.order("reset") == []


def test_leave_for_one_owner_is_no_leave_for_another(machine):
    """The id comes to mean another user's session while polkit is asked."""
    client = machine.client(OTHER)
    machine.service.order(f"add {SESSION} {OWNER} x")
    serial, question = held(machine, client, "TerminateSession", SESSION)
    machine.service.order(f"give {SESSION} 0")
    machine.polkit.answer(question["message"], "yes")
    assert client.answer_to(serial).error == "org.wrapd1.Error.NotAuthorized"
    assert machine.service.order("reset") == []


def test_nobody_answers_for_polkit_or_for_the_bus(machine):
    """Forged answers with every serial that the question can have, and a forged notice that the caller has gone."""
    client, forger = machine.client(OTHER), machine.client(3)
    machine.service.order(f"add {SESSION} {OWNER} x")
    serial, question = held(machine, client, "TerminateSession", SESSION)
    service = machine.watcher.driver("GetNameOwner", "s", ["org.wrapd1"])[0]
    for guess in range(1, question["message"].serial + 100):
        forger.send_raw(dbus.message(dbus.RETURN, 1000 + guess, "(bba{ss})", [(1, 0, {})], dbus.NO_REPLY_EXPECTED,
                                     reply_to=guess, destination=service))
    forger.send_raw(dbus.message(dbus.SIGNAL, 5000, "sss", [client.name, client.name, ""], destination=service,
                                 path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
                                 member="NameOwnerChanged"))
    forger.manager("GetSession", "s", [SESSION])
    assert machine.polkit.cancelled.empty()
    machine.polkit.answer(question["message"], "no")
    assert client.answer_to(serial).error == "org.wrapd1.Error.NotAuthorized"
    assert machine.service.order("reset") == []


def test_polkit_hears_of_a_caller_that_has_gone(machine):
    client = machine.client(OTHER)
    machine.service.order(f"add {SESSION} {OWNER} x")
    _, question = held(machine, client, "TerminateSession", SESSION)
    machine.dismiss(client)
    assert machine.polkit.cancelled.get(timeout=dbus.PATIENCE) == question["cancellation"]
    machine.polkit.answer(question["message"], "yes")
    assert machine.client(OTHER).manager("ListSessions")
    assert machine.service.order("reset") == []


def test_polkit_hears_of_a_timeout(impatient):
    client = impatient.client(OTHER)
    impatient.polkit.forget()
    impatient.service.order(f"add {SESSION} {OWNER} x")
    serial, question = held(impatient, client, "TerminateSession", SESSION)
    assert client.answer_to(serial).error == "org.wrapd1.Error.AuthorizationTimeout"
    assert impatient.polkit.cancelled.get(timeout=dbus.PATIENCE) == question["cancellation"]
    impatient.polkit.answer(question["message"], "yes")
    client.manager("ListSessions")
    assert impatient.service.order("reset") == []


def test_polkit_hears_when_the_service_ends(own_machine):
    machine = own_machine()
    machine.service.order(f"add {SESSION} {OWNER} x")
    _, question = held(machine, machine.client(OTHER), "TerminateSession", SESSION)
    assert machine.service.stop() == ""
    assert machine.polkit.cancelled.get(timeout=dbus.PATIENCE) == question["cancellation"]


def test_polkit_that_dies_is_not_a_yes(own_machine):
    machine = own_machine()
    machine.service.order(f"add {SESSION} {OWNER} x")
    client = machine.client(OTHER)
    serial, _ = held(machine, client, "TerminateSession", SESSION)
    machine.polkit.close()
    assert client.answer_to(serial).error == "org.wrapd1.Error.AuthorizationUnavailable"


def test_nonsense_from_polkit_is_not_a_yes(own_machine):
    machine = own_machine()
    machine.service.order(f"add {SESSION} {OWNER} x")
    client = machine.client(OTHER)
    for signature, args in (("", []), ("b", [1]), ("(bb)", [(1, 0)]), ("s", ["yes"])):
        serial, question = held(machine, client, "TerminateSession", SESSION)
        machine.polkit.connection.reply(question["message"], signature, args)
        assert client.answer_to(serial).error == "org.wrapd1.Error.AuthorizationUnavailable"
    assert machine.service.order("reset") == []
    assert machine.service.stop().count("polkit's answer") == 4


def test_questions_to_polkit_are_limited_per_user(machine):
    machine.service.order(f"add {SESSION} {OWNER} x")
    client, third = machine.client(OTHER), machine.client(3)
    questions = [held(machine, client, "TerminateSession", SESSION) for _ in range(4)]
    with pytest.raises(dbus.Failure) as failed:
        client.manager("TerminateSession", "s", [SESSION])
    assert failed.value.name == "LimitExceeded"
    serial, question = held(machine, third, "TerminateSession", SESSION)
    machine.polkit.answer(question["message"], "no")
    assert third.answer_to(serial).error == "org.wrapd1.Error.NotAuthorized"
    for serial, question in questions:
        machine.polkit.answer(question["message"], "no")
        assert client.answer_to(serial).error == "org.wrapd1.Error.NotAuthorized"
    # And are given back.
    serial, question = held(machine, client, "TerminateSession", SESSION)
    machine.polkit.answer(question["message"], "no")
    client.answer_to(serial)


def test_the_bus_lets_nobody_send_what_is_not_listed(machine):
    client = machine.client(OTHER)
    for interface, member, signature, args in (
            ("org.freedesktop.DBus.Properties", "Set", "ssv",
             ["org.wrapd1.Manager", "Version", dbus.Variant("s", "2")]),
            ("org.wrapd1.Manager", "Undocumented", "", []), (None, "Reload", "", [])):
        with pytest.raises(dbus.Failure) as failed:
            client.call("org.wrapd1", "/org/wrapd1", interface, member, signature, args)
        assert failed.value.name == "org.freedesktop.DBus.Error.AccessDenied"
    with pytest.raises(dbus.Failure) as failed:
        client.driver("RequestName", "su", ["org.wrapd1", 4])
    assert failed.value.name == "org.freedesktop.DBus.Error.AccessDenied"


def test_properties_are_not_written_by_root_either(machine):
    with pytest.raises(dbus.Failure) as failed:
        machine.watcher.call("org.wrapd1", "/org/wrapd1", "org.freedesktop.DBus.Properties", "Set", "ssv",
                             ["org.wrapd1.Manager", "Version", dbus.Variant("s", "2")])
    assert failed.value.name == "org.freedesktop.DBus.Error.PropertyReadOnly"


@pytest.mark.parametrize("caller", ["other", "confined-owner"])
@pytest.mark.parametrize("method", [m for m in table() if m["access"] != "read"], ids=lambda m: m["name"])
def test_who_tried_in_vain_is_recorded(machine, method, caller):
    machine.service.order(f"add {SESSION} {OWNER} sleep 1")
    machine.service.order(f"ask {QUESTION} {SESSION}")
    uid, confined = CALLERS[caller]
    client = machine.client(uid, confined)
    signature, args, _ = ARGUMENTS[method["name"]]
    path = session_path(SESSION) if method["interface"] == "org.wrapd1.Session" else "/org/wrapd1"
    refused = None
    try:
        client.call("org.wrapd1", path, method["interface"], method["name"], signature, args, flags=dbus.INTERACTIVE)
    except dbus.Failure as failure:
        refused = failure.name
    told = [line for line in machine.service.order("refusals") if line.startswith(f"{uid} ")]
    if not refused:
        assert told == [] and method["access"] == "change"
        return
    line, = told
    session = "-" if method["name"] in ("Reload", "TerminateUser", "OpenSession", "CheckPolicy") else SESSION
    assert line.startswith(f"{uid} {method['name']} {session} {refused}: ")


def test_who_looks_in_vain_is_not_recorded(machine):
    with pytest.raises(dbus.Failure):
        machine.client(OTHER, confined=True).manager("GetSession", "s", ["0" * 32])
    assert machine.service.order("refusals") == []
