"""What becomes of an error that nobody thought of: one sentence, and a private file with the traceback."""

import os
import platform
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from clients.private_files import private_folder, write_private
from starter.cli.errors import CliError, Code

#: As many reports are kept: the newest ones.
KEPT = 20


def crash(error: BaseException) -> CliError:
    """The error as a command tells it. Its traceback is written to a file, which only its owner can read."""
    name = type(error).__name__
    try:
        file = _write(error)
    except (OSError, RuntimeError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        steps = [f"the traceback could not be written ({reason}): set XDG_STATE_HOME to a folder of yours"]
    else:
        steps = [f"report it with {file}, which has the traceback; look through it first, it is not censored"]
    # Not its text: that may quote whatever was at hand, and it is in the file.
    return CliError(Code.CRASHED, f"this is a fault of Moorage ({name})", next_steps=steps)


def state_folder() -> Path:
    """The folder for what a program keeps for itself, by the XDG conventions. RuntimeError without a home."""
    named = os.environ.get("XDG_STATE_HOME", "")
    # The conventions: a relative path is to be ignored.
    base = Path(named) if named.startswith("/") else Path.home() / ".local" / "state"
    return base / "moorage"


def _write(error: BaseException) -> Path:
    folder = state_folder()
    private_folder(folder)
    file = folder / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    head = f"{' '.join(sys.argv[:2])}\nPython {platform.python_version()}, {platform.platform()}\n\n"
    text = "".join([head, *traceback.format_exception(error)])
    write_private(file, text.encode(errors="backslashreplace"))
    for old in sorted(folder.glob("crash-*.log"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return file
