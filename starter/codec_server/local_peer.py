"""Finds the user of the process at the other end of a local connection, from Linux's /proc/net/tcp."""

import os
import socket
import sys
from pathlib import Path

_CONNECTIONS = Path("/proc/net/tcp")

Address = tuple[str, int]


def is_same_user(peer: Address, own: Address) -> bool:
    """Return whether the process that connects from `peer` to `own` runs as this process's user.

    Both addresses are IPv4. The result is False if it is unknown: on other systems than Linux, and for a
    client on another machine.
    """
    try:
        # The other end has a separate entry, in which its address is the local address.
        ends = [_written(peer), _written(own)]
        for line in _CONNECTIONS.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[1:3] == ends:
                return int(fields[7]) == os.getuid()
    except (OSError, ValueError, IndexError):
        pass
    return False


def _written(address: Address) -> str:
    host, port = address
    host = host.removeprefix("::ffff:")  # A dual-stack socket reports IPv4 addresses with this prefix.
    # The kernel prints the four bytes as one number in the byte order of the machine.
    number = int.from_bytes(socket.inet_aton(host), sys.byteorder)
    return f"{number:08X}:{port:04X}"
