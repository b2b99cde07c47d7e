"""Searches the records of lives for lines of the trail, the latest first. Blocks: run it in a thread."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from clients.jsonl_file import MAX_LINE_BYTES, UNREADABLE, JsonLinesFile, is_compressed, open_for_reading
from starter.audit_trail.entries import TrailEntry, TrailFilters

#: A record may be written this long after the end of its life: a sink that fails is tried again.
MAX_DELAY = timedelta(minutes=10)
#: Content that one search reads at most: some hundred thousand records.
MAX_BYTES = 512 * 1024 * 1024
_BLOCK = 1024 * 1024
#: In place of the start of a line that is longer than a record: it is no JSON.
_TOO_LONG = b"too long"

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Line(msgspec.Struct):
    at: _Moment
    actor: str
    action: str
    result: str = ""


class _Record(msgspec.Struct):
    name: str
    life: str
    owner: str
    team: str
    ended_at: _Moment
    audit_log: tuple[_Line, ...]


_decoder = msgspec.json.Decoder(_Record)


@dataclass
class Found:
    """The latest lines that were found, up to `limit`. `is_complete`: every record could be read."""

    limit: int
    is_complete: bool = True
    _heap: list[tuple[datetime, int, TrailEntry]] = field(default_factory=list)
    _count: int = 0

    @property
    def entries(self) -> list[TrailEntry]:
        """The lines, in no order."""
        return [entry for _, _, entry in self._heap]

    @property
    def earliest(self) -> datetime | None:
        """The time of the earliest line, if there is room for later ones only."""
        return self._heap[0][0] if len(self._heap) >= self.limit else None

    def add(self, entry: TrailEntry) -> None:
        """Add a line, in place of the earliest if there is no room."""
        self._count += 1
        item = (entry.at, self._count, entry)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)


def search_records(path: Path, filters: TrailFilters, limit: int) -> Found:
    """Return the latest lines of all records that pass the filters."""
    found, left = Found(limit), MAX_BYTES
    for file in reversed(JsonLinesFile(path).files()):
        try:
            if _is_too_old(datetime.fromtimestamp(file.stat().st_mtime, UTC), filters, found):
                # Earlier files are older still.
                break
            for line in _lines(file):
                left -= len(line)
                if left < 0:
                    found.is_complete = False
                    return found
                ended_at = _search_line(line, filters, found)
                if ended_at and not is_compressed(file) and _is_too_old(ended_at, filters, found):
                    return found
        except FileNotFoundError:
            continue
        except UNREADABLE:
            found.is_complete = False
    return found


def _search_line(line: bytes, filters: TrailFilters, found: Found) -> datetime | None:
    """Add the wanted lines of a record; return when its life ended, or None if it is no record."""
    try:
        record = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        if line.strip():
            found.is_complete = False
        return None
    if not filters.name or record.name == filters.name:
        for one in record.audit_log:
            entry = TrailEntry(
                at=one.at,
                actor=one.actor,
                action=one.action,
                result=one.result,
                name=record.name,
                life=record.life,
                owner=record.owner,
                team=record.team,
            )
            if filters.matches(entry):
                found.add(entry)
    return record.ended_at


def _is_too_old(written_at: datetime, filters: TrailFilters, found: Found) -> bool:
    """Return whether records of that time and before have no line that is wanted and late enough."""
    oldest = max(filter(None, (filters.since, found.earliest)), default=None)
    return oldest is not None and written_at + MAX_DELAY < oldest


def _lines(file: Path) -> Iterator[bytes]:
    """Return the lines of a file: the last first, except in a compressed file, which is read forward."""
    with open_for_reading(file) as content:
        yield from content if is_compressed(file) else _reversed_lines(content.fileno())


def _reversed_lines(descriptor: int) -> Iterator[bytes]:
    position, rest = os.fstat(descriptor).st_size, b""
    while position > 0:
        start = max(0, position - _BLOCK)
        lines = (os.pread(descriptor, position - start, start) + rest).split(b"\n")
        position = start
        # The first line of a block may start in the block before it.
        rest = lines.pop(0)
        if len(rest) > MAX_LINE_BYTES:
            rest = _TOO_LONG
        yield from reversed(lines)
    yield rest
