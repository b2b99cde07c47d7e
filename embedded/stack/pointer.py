"""The file by which commands of the same user find the running stack, from any folder."""

import json
import os
from contextlib import suppress
from pathlib import Path

from clients.private_files import ensure_private_folder, read_private, write_private


def pointer_file() -> Path | None:
    """Return the file that names the folder of the running stack; None for a user without a home."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return Path(state) / "moorage" / "running-stack.json"


def write_pointer(folder: Path) -> None:
    """Name the folder, readable by this user only. Of several stacks the last one to start wins."""
    file = pointer_file()
    if file is None:
        return
    # Without it the commands find the stack from its own folder only, which is no reason to stop it.
    with suppress(OSError):
        ensure_private_folder(file.parent)
        write_private(file, json.dumps({"folder": str(folder.absolute())}))


def remove_pointer(folder: Path) -> None:
    """Remove the file if it names this folder."""
    file = pointer_file()
    if file is None:
        return
    with suppress(OSError, ValueError, AttributeError):
        if json.loads(read_private(file)).get("folder") == str(folder.absolute()):
            file.unlink()
