"""What becomes of an error that nobody thought of: one sentence, and a private file with the traceback."""

import os
import platform
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from starter.cli.failing import CliError, Code

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
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    # Neither through a link that somebody has put there, nor into a file that is open to others.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as out:
        out.write(f"{' '.join(sys.argv[:2])}\nPython {platform.python_version()}, {platform.platform()}\n\n")
        out.writelines(traceback.format_exception(error))
    for old in sorted(folder.glob("crash-*.log"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return file
