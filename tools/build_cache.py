"""Where the tools keep what they have built: a folder of the user's cache, and the lock on it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starter.cli.state_folder import xdg_folder


def cache_folder(name: str) -> Path:
    """Return the folder that this tool keeps between runs, in that of `XDG_CACHE_HOME`."""
    return xdg_folder("XDG_CACHE_HOME", ".cache", os.environ) / name


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock of this file; give its descriptor, for processes that keep it until they end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
