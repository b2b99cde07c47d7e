"""A line that was reported kept is found afterwards: disks that fill, files that are rotated, two writers."""

import asyncio
import errno
import fcntl
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.errors import ServerFailed
from clients.jsonl_file import JsonLinesFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trail" / "audit-log.jsonl"


def record(number: int) -> str:
    return json.dumps({"name": "demo", "number": number})


async def numbers(path: Path) -> list[int]:
    """The records that a reader finds: lines that are no JSON are left out, as `accounts_of` does."""
    found = []
    for line in await JsonLinesFile(path).find('"name": "demo"'):
        try:
            found.append(json.loads(line)["number"])
        except ValueError:
            continue
    return found


def tear(path: Path, text: str) -> None:
    """Leave a line without its line feed, as a full disk or a dying process does."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as torn:
        torn.write(text)


def content(path: Path) -> bytes:
    return path.read_bytes()


async def test_torn_end_does_not_swallow_the_next_record(path: Path) -> None:
    file = JsonLinesFile(path)
    await file.add(record(1))
    tear(path, '{"name": "demo", "num')
    await file.add(record(2))
    assert await numbers(path) == [1, 2]


async def test_record_that_lacks_its_line_feed_alone_is_kept(path: Path) -> None:
    tear(path, record(1))
    await JsonLinesFile(path).add(record(2))
    assert await numbers(path) == [1, 2]


@pytest.mark.parametrize("written", [0, 1, 20])
async def test_full_disk_leaves_no_torn_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    file = JsonLinesFile(path)
    await file.add(record(1))
    before = content(path)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:written])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ServerFailed, match="audit log"):
        await file.add(record(2))
    monkeypatch.undo()
    assert content(path) == before
    await file.add(record(3))
    assert await numbers(path) == [1, 3]


async def test_what_cannot_be_seen_on_the_disk_is_not_reported_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = JsonLinesFile(path)
    await file.add(record(1))
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(ServerFailed):
        await file.add(record(2))
    monkeypatch.undo()
    await file.add(record(2))
    assert await numbers(path) == [1, 2]


#: A limit of the file size is a full disk that needs no right to mount one.
_FILL = """
import asyncio, resource, signal, sys
from pathlib import Path
from clients.errors import ClientError
from clients.jsonl_file import JsonLinesFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = JsonLinesFile(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
kept = []
for number in range(40):
    if number == 30:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        asyncio.run(file.add('{"name": "demo", "number": %d}' % number))
    except ClientError:
        continue
    kept.append(number)
print(*kept)
"""


async def test_records_reported_kept_are_found_after_a_real_limit_of_size(path: Path) -> None:
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", _FILL, str(path)], check=True, capture_output=True, text=True
    )
    kept = [int(number) for number in done.stdout.split()]
    assert 0 < len(kept) < 40, "the limit was never reached"
    assert kept[-1] == 39
    assert await numbers(path) == kept


def _rename(path: Path) -> None:
    path.rename(path.with_name("audit-log.jsonl.1"))


def _rename_by_date(path: Path) -> None:
    path.rename(path.with_name("audit-log.jsonl-20300101"))


def _rename_before_the_extension(path: Path) -> None:
    path.rename(path.with_name("audit-log-20300101.jsonl"))


def _rename_and_create(path: Path) -> None:
    _rename(path)
    path.touch()


def _compress(path: Path) -> None:
    path.with_name("audit-log.jsonl.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def _copy_and_cut(path: Path) -> None:
    path.with_name("audit-log.jsonl.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)


@pytest.mark.parametrize(
    "rotate",
    [
        _rename,
        _rename_by_date,
        _rename_before_the_extension,
        _rename_and_create,
        _compress,
        _copy_and_cut,
    ],
)
async def test_rotation_loses_no_record(path: Path, rotate: Callable[[Path], None]) -> None:
    file = JsonLinesFile(path)
    await file.add(record(1))
    rotate(path)
    await file.add(record(2))
    assert await numbers(path) == [1, 2]


@pytest.mark.parametrize("rotate", [_rename, _compress])
async def test_file_that_is_rotated_in_the_middle_of_an_addition(
    path: Path, monkeypatch: pytest.MonkeyPatch, rotate: Callable[[Path], None]
) -> None:
    """Ensures that the record is found when the file goes between its opening and its write."""
    file = JsonLinesFile(path)
    await file.add(record(1))
    real, left = os.write, [1]

    def rotated_before(descriptor: int, data: bytes) -> int:
        if left:
            left.pop()
            rotate(path)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", rotated_before)
    await file.add(record(2))
    assert set(await numbers(path)) == {1, 2}


async def test_broken_archive_does_not_hide_the_rest(path: Path) -> None:
    await JsonLinesFile(path).add(record(1))
    path.with_name("audit-log.jsonl.1.gz").write_bytes(gzip.compress(record(0).encode())[:-9])
    path.with_name("audit-log.jsonl.2.xz").write_bytes(b"no archive")
    path.with_name("audit-log.jsonl.3.gz").write_bytes(gzip.compress(b"")[:10] + b"no deflate")
    assert (await numbers(path))[-1] == 1


_WRITE = """
import asyncio, sys
from pathlib import Path
from clients.jsonl_file import JsonLinesFile
async def main():
    file = JsonLinesFile(Path(sys.argv[1]))
    first = int(sys.argv[2])
    records = ['{"name": "demo", "number": %d}' % number for number in range(first, first + 100)]
    await asyncio.gather(*(file.add(record) for record in records))
asyncio.run(main())
"""


async def test_two_writers_tear_no_line_of_each_other(path: Path) -> None:
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITE, str(path), str(first))
        for first in (0, 100)
    ]
    assert [await writer.wait() for writer in writers] == [0, 0]
    assert sorted(await numbers(path)) == list(range(200))


async def test_file_system_without_locks_is_written_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    await JsonLinesFile(path).add(record(1))
    assert await numbers(path) == [1]
