"""A file of JSON documents, one a line, that is only ever added to."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from clients.errors import ServerFailed

_MODE = 0o640


class LinesFile:
    """One such file. Several processes may add to it: a line is one write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def add(self, document: str) -> None:
        """Add one document and see it on the disk. Raises a `ClientError`."""
        try:
            await asyncio.to_thread(self._add, document)
        except OSError as error:
            detail = f"{self._path}: {error.strerror}"
            raise ServerFailed("trail file", "add a line", detail, status=500) from None

    async def find(self, text: str) -> list[str]:
        """All lines that contain `text`, the oldest first; none if there is no such file yet."""
        return await asyncio.to_thread(lambda: list(self._find(text)))

    def _add(self, document: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = document.replace("\n", " ").encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
        try:
            if os.write(descriptor, line) != len(line):
                # The rest of the line would be another's: better this one twice than that one broken.
                os.write(descriptor, b"\n")
                raise OSError(0, "the line was written in part only")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _find(self, text: str) -> Iterator[str]:
        try:
            with self._path.open(encoding="utf-8", errors="replace") as lines:
                yield from (line for line in lines if text in line)
        except FileNotFoundError:
            return
