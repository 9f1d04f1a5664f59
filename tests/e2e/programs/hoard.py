# SPDX-License-Identifier: Apache-2.0
"""hoard.py CONNECTIONS: calls org.wrapd1 over as many connections, again and again, and never reads an answer. Prints
"hoarding" when each has called. Needs /usr/local/e2e/dbus.py."""

import itertools
import os
import socket
import sys
import time

import dbus

SYSTEM_BUS = "/run/dbus/system_bus_socket"
OPTIONS = {"command": dbus.Variant("s", "x"), "cwd": dbus.Variant("s", "/")}
CALLS = (("org.wrapd1.Manager", "ListSessions", "", []),
         ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", []),
         ("org.freedesktop.DBus.Introspectable", "Introspect", "", []),
         ("org.freedesktop.DBus.Properties", "GetAll", "s", ["org.wrapd1.Manager"]),
         ("org.wrapd1.Manager", "DescribePolicy", "s", [""]),
         ("org.wrapd1.Manager", "OpenSession", "a{sv}", [OPTIONS]))


def connect():
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(SYSTEM_BUS)
    connection = dbus.Connection(connected, os.getuid())
    connection.driver("AddMatch", "s", ["type='signal',sender='org.wrapd1'"])
    return connection


connections = [connect() for _ in range(int(sys.argv[1]))]
for count in itertools.count():
    interface, member, signature, args = CALLS[0 if count % 2 else (count // 2) % len(CALLS)]
    for connection in connections:
        connection.send("org.wrapd1", "/org/wrapd1", interface, member, signature, args)
    if count == 100:
        print("hoarding", flush=True)
    time.sleep(0.01)
