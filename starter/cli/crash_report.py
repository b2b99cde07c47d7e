"""Reports an unexpected error: one sentence for the user, and a private file with the traceback."""

import os
import platform
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from clients.private_files import ensure_private_folder, write_private
from starter.cli.errors import CliError, Code
from starter.cli.state_folder import state_folder

#: Number of reports that are kept, the newest ones.
KEPT = 20


def report_crash(error: BaseException) -> CliError:
    """Write the traceback to a file that only its owner can read, and return the error to show."""
    name = type(error).__name__
    try:
        file = _write(error)
    except (OSError, RuntimeError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        steps = [f"cannot write the traceback ({reason}): set XDG_STATE_HOME to a folder that you can write"]
    else:
        steps = [f"report it with the traceback in {file}; read it first, because it can contain credentials"]
    # Do not show the text of the error: it can quote any data, and it is in the file.
    return CliError(Code.CRASHED, f"this is a bug of Moorage ({name})", next_steps=steps)


def _write(error: BaseException) -> Path:
    folder = state_folder()
    ensure_private_folder(folder)
    file = folder / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    head = f"{' '.join(sys.argv[:2])}\nPython {platform.python_version()}, {platform.platform()}\n\n"
    text = "".join([head, *traceback.format_exception(error)])
    write_private(file, text.encode(errors="backslashreplace"))
    for old in sorted(folder.glob("crash-*.log"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return file
