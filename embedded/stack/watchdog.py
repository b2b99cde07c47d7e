"""Ends the processes of a stack when the process that started them is gone, however it went.

`python -m embedded.stack.watchdog`: reads from standard input `+PID` and `-PID` for the process groups that
begin and end. When the input ends, so does whatever is left. Works where the system has no signal for the
death of a parent, and in children that know nothing of it. Standard library only: it shall start at once.
"""

import os
import signal
import sys
import time

#: How long they may take to end by themselves: a worker needs a moment to hand its steps back.
GRACE_SECONDS = 5.0


def main() -> None:
    """Wait for the end of the parent, then end its children."""
    # The parent decides when it is over: a Ctrl-C or a SIGTERM to everybody must not untie them first.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.append(group)
        elif group in groups:
            groups.remove(group)
    groups = [group for group in groups if _signal(group, signal.SIGTERM)]
    deadline = time.monotonic() + GRACE_SECONDS
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = [group for group in groups if _lives(group)]
    for group in groups:
        _signal(group, signal.SIGKILL)


def _lives(group: int) -> bool:
    try:
        with open(f"/proc/{group}/stat", encoding="utf-8", errors="replace") as file:
            # A dead process that nobody has asked after yet: in a container that may last.
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return _signal(group, 0)


def _signal(group: int, number: int) -> bool:
    """Signal the group; whether there is one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
