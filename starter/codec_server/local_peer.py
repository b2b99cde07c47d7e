"""Whose process is at the other end of a connection on this machine, as Linux has it in /proc/net/tcp."""

import os
import socket
import sys
from pathlib import Path

_CONNECTIONS = Path("/proc/net/tcp")

Address = tuple[str, int]


def is_same_user(peer: Address, own: Address) -> bool:
    """Whether the process that has connected from `peer` to `own`, both IPv4, runs as the user of this one.

    False when that cannot be told: elsewhere than on Linux, and for who is not on this machine.
    """
    try:
        # The other end has its own entry, in which it is the local one.
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
    host = host.removeprefix("::ffff:")  # IPv4, on a socket of both families
    # The kernel prints the four bytes as one number of the machine's own byte order.
    number = int.from_bytes(socket.inet_aton(host), sys.byteorder)
    return f"{number:08X}:{port:04X}"
