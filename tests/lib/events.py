# SPDX-License-Identifier: Apache-2.0
"""The service's audit events in the journal."""

import json

MESSAGE_IDS = {
    "session_opened": "187adfd629054cdd90a318e3b40c2172",
    "session_closed": "a97d064394864fb78150a085df90f63a",
    "unix_socket_op": "0177d646117e4ad6a125e668c4fcbd5f",
    "peer_rejected": "b75cf81571e84946bdf83cb8b26d92fe",
    "policy_loaded": "e514e25c936745cd984265eef946ce5a",
    "policy_rejected": "21b97d9a2c80466194ab4cf00cb09526",
    "events_lost": "b5fc1e1c94c34823801498377b8714a3",
}


def match(kind):
    return f"MESSAGE_ID={MESSAGE_IDS[kind]}"


def of_session(machine, cursor, uid=None, timeout=20):
    """All events of the first session (of this uid) that opened after the cursor, once it has closed."""
    opened = machine.wait_journal(lambda e: uid is None or e["WRAPD_UID"] == str(uid), match("session_opened"),
                                  after=cursor, timeout=timeout)[-1]
    session = opened["WRAPD_SESSION_ID"]
    return machine.wait_journal(lambda e: e["MESSAGE_ID"] == MESSAGE_IDS["session_closed"],
                                f"WRAPD_SESSION_ID={session}", after=cursor, timeout=timeout)


def parsed(entry):
    return json.loads(entry["WRAPD_EVENT"])
