"""Where a running stack is, for the commands of the same user, from whatever folder they are run."""

import json
import os
from contextlib import suppress
from pathlib import Path


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
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump({"folder": str(folder.absolute())}, out)
        beside.replace(file)


def forget(folder: Path) -> None:
    """Remove the file if it names this folder."""
    file = pointer_file()
    if file is None:
        return
    with suppress(OSError, ValueError, AttributeError):
        if json.loads(file.read_text(encoding="utf-8")).get("folder") == str(folder.absolute()):
            file.unlink()
