"""Where a running stack is, for the commands of the same user, from whatever folder they are run."""

import json
import os
from contextlib import suppress
from pathlib import Path

from clients.private_files import ensure_private_folder, read_private, write_private


def pointer_file() -> Path | None:
    """The file that names the folder of the stack that runs; None for a user without a home."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return Path(state) / "moorage" / "running-stack.json"


def point_at(folder: Path) -> None:
    """Name the folder, readable by this user only. Of several stacks the last one to start is found."""
    file = pointer_file()
    if file is None:
        return
    # Without it the commands find the stack from its own folder only, which is no reason to stop it.
    with suppress(OSError):
        ensure_private_folder(file.parent)
        write_private(file, json.dumps({"folder": str(folder.absolute())}))


def forget(folder: Path) -> None:
    """Remove the file if it names this folder."""
    file = pointer_file()
    if file is None:
        return
    with suppress(OSError, ValueError, AttributeError):
        if json.loads(read_private(file)).get("folder") == str(folder.absolute()):
            file.unlink()
