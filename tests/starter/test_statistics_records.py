"""Ensures that records are read once, across rotations, and that damaged ones are only counted."""

import asyncio
import bz2
import gzip
import resource
import shutil
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from clients.jsonl_file import JsonLinesFile, open_for_reading
from contracts.environment.models import AuditLogEntry, Outcome
from contracts.notifications import LifeRecord, StepTime
from contracts.phases import StepName
from starter.statistics import life_sources, record_file
from starter.statistics.life_sources import BATCH_SIZE, ClosedRunSource, LifeBatch, RecordSource
from starter.statistics.record_file import RecordFile
from starter.statistics.service import Statistics
from starter.statistics.stored_lives import parse_lines
from starter.temporal.errors import TemporalUnavailable
from tests.starter.test_statistics import record

pytestmark = pytest.mark.slow

RECORDS = 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the records."""
    return tmp_path / "audit-log.jsonl"


def write(path: Path, *texts: str) -> None:
    """Append lines."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in texts)


def read(file: RecordFile) -> list[str]:
    """All new lines."""
    batch = file.read(1000)
    assert batch.is_last
    return [line.decode().strip() for line in batch.lines]


def recent(number: int, **changes: object) -> LifeRecord:
    """A record of a life that ended an hour ago."""
    start = datetime.now(UTC) - timedelta(hours=2)
    times = {
        "requested_at": start,
        "usable_at": start + timedelta(seconds=20),
        "ready_at": start + timedelta(seconds=30),
        "ended_at": start + timedelta(hours=1),
    }
    return record(**{"life": f"{number:020x}", **times, **changes})


def test_only_new_lines_are_read(path: Path) -> None:
    file = RecordFile(path)
    assert read(file) == [], "there is no file yet"
    write(path, "a", "b")
    assert read(file) == ["a", "b"]
    assert read(file) == []
    write(path, "c")
    assert read(file) == ["c"]


def test_lines_come_in_batches(path: Path) -> None:
    write(path, *"abcde")
    file = RecordFile(path)
    batches = [file.read(2) for _ in range(4)]
    assert [len(batch.lines) for batch in batches] == [2, 2, 1, 0]
    assert [batch.is_last for batch in batches] == [False, False, True, True]


def test_line_that_is_not_complete_is_read_when_it_is(path: Path) -> None:
    write(path, "first")
    file = RecordFile(path)
    path.write_text("first\nsec")
    assert read(file) == ["first"]
    path.write_text("first\nsecond\n\n")
    assert read(file) == ["second"]


@pytest.mark.parametrize("long", [True, False])
def test_first_line_that_is_not_complete_is_waited_for(path: Path, long: bool) -> None:
    line = "x" * (2000 if long else 20)
    file = RecordFile(path)
    path.write_text(line)
    assert read(file) == []
    path.write_text(f"{line}\n")
    assert read(file) == [line]


def test_line_that_is_too_long_is_skipped_and_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_file, "MAX_LINE_BYTES", 10)
    write(path, "a", "b" * 35, "c", "d" * 9, "e" * 10)
    batch = RecordFile(path).read(100)
    assert [line.strip() for line in batch.lines] == [b"a", b"c", b"d" * 9]
    assert batch.skipped == 2


def _rename(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.1"))


def _copy(path: Path) -> None:
    shutil.copy(path, path.with_name(f"{path.name}.1"))
    path.write_text("")


def _compress(path: Path) -> None:
    path.with_name(f"{path.name}-20300101.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def _compress_otherwise(path: Path) -> None:
    path.with_name(f"{path.stem}-20300101{path.suffix}.bz2").write_bytes(bz2.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize("rotate", [_rename, _copy, _compress, _compress_otherwise])
def test_rotation_loses_no_line_and_repeats_none(path: Path, rotate: Callable[[Path], None]) -> None:
    file = RecordFile(path)
    write(path, "a", "b")
    assert read(file) == ["a", "b"]
    write(path, "c")
    rotate(path)
    write(path, "d")
    assert read(file) == ["c", "d"]
    write(path, "e")
    assert read(file) == ["e"]
    assert read(RecordFile(path)) == ["a", "b", "c", "d", "e"]


def test_damaged_archive_hides_nothing_else_and_is_not_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def open_and_note(file: Path) -> IO[bytes]:
        opened.append(file)
        return open_for_reading(file)

    monkeypatch.setattr(record_file, "open_for_reading", open_and_note)
    path.with_name(f"{path.name}.1.gz").write_bytes(gzip.compress(b"a\n" * 9)[:9])
    write(path, "b")
    file = RecordFile(path)
    assert read(file) == ["b"]
    assert read(file) == []
    assert len(opened) == len(set(opened)) == 2


def test_lines_that_are_no_record_are_counted_and_not_believed() -> None:
    good = record()
    lines = [
        good.model_dump_json(), "", "{}", "[1]", "null", '{"life": 1', "\udcff", good.model_dump_json()[:-9],
        good.model_copy(update={"ended_at": good.requested_at - timedelta(days=1)}).model_dump_json(),
        good.model_dump_json().replace('"PT12.5S"', '"NaN"'),
        good.model_dump_json().replace("small", "s" * 999),
    ]  # fmt: skip
    raw = [line.encode(errors="surrogateescape") for line in lines]
    lives, skipped = parse_lines(raw, datetime.now(UTC))
    assert [life.life for life in lives] == [good.life]
    assert skipped == len(lines) - 1


async def test_statistics_read_what_the_worker_has_written(path: Path) -> None:
    file, statistics = JsonLinesFile(path), Statistics(RecordSource(path))
    for number in range(3):
        await file.add(recent(number).model_dump_json())
    await file.add(recent(2).model_dump_json())
    await file.add("no record")
    figures = await statistics.figures(7)
    assert (figures.lives, figures.skipped, figures.hourly) == (3, 1, False)
    assert figures.remark == "1 records are damaged and not counted."
    assert sum(period.ended for period in figures.periods) == 3
    usual = statistics.usual_times("small", "one")
    assert usual.steps["vcluster"].median == 12.5
    assert usual.ready
    assert (usual.ready.median, usual.ready.count) == (30, 3)


async def test_usual_times_never_wait_for_the_source() -> None:
    source = _Slow()
    statistics = Statistics(source)
    assert statistics.usual_times("small", "one").steps == {}
    await asyncio.wait_for(source.asked.wait(), 60)
    source.go_on.set()
    await statistics.refresh(60)
    figures = await statistics.figures(1)
    assert (figures.lives, figures.remark, figures.hourly) == (0, "From a test.", True)
    await statistics.stop()


async def test_source_that_fails_is_reported_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starter.statistics.service.FRESH_SECONDS", float("inf"))
    source = _Slow(OSError("the disk is gone"))
    source.go_on.set()
    statistics = Statistics(source)
    figures = await statistics.figures(7)
    assert figures.remark == "The last lives could not be read: the disk is gone From a test."
    await statistics.figures(7)
    assert source.reads == 1, "the figures are fresh"
    source.error = None
    monkeypatch.setattr("starter.statistics.service.FRESH_SECONDS", 0.0)
    assert (await statistics.figures(7)).remark == "From a test."


async def test_closed_run_is_read_once_and_is_not_lost_while_temporal_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(life_sources, "RUN_PAUSE_SECONDS", 0)
    temporal = _ClosedRuns("a", "b")
    source = ClosedRunSource(temporal, temporal)  # type: ignore[arg-type]
    temporal.is_down = True
    with pytest.raises(TemporalUnavailable):
        await source.read()
    temporal.is_down = False
    while not (await source.read()).is_last:
        pass
    assert temporal.read == ["a", "b"], "the first that has closed comes first"
    temporal.runs.append("c")
    while not (await source.read()).is_last:
        pass
    await source.read()
    assert temporal.read == ["a", "b", "c"]


class _ClosedRuns:
    """A Temporal with runs that have just closed, and the reader of their ends."""

    def __init__(self, *runs: str) -> None:
        self.runs = list(runs)
        self.read: list[str] = []
        self.is_down = False

    async def list_workflows(self, *_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        for number, run in reversed(list(enumerate(self.runs))):
            closed = datetime.now(UTC) + timedelta(milliseconds=number)
            yield SimpleNamespace(run_id=run, close_time=closed)

    async def end_of(self, run: SimpleNamespace) -> None:
        if self.is_down:
            raise TemporalUnavailable("Temporal does not answer.")
        self.read.append(run.run_id)


class _Slow:
    """A source that answers when `go_on` is set."""

    remark = "From a test."

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.reads = 0
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self) -> LifeBatch:
        self.reads += 1
        self.asked.set()
        await self.go_on.wait()
        if self.error:
            raise self.error
        return LifeBatch()


async def test_hundred_thousand_records_are_read_once_and_block_nothing(path: Path) -> None:
    """Ensures that the first read takes seconds, a later one next to nothing, both in bounded memory."""
    now = datetime.now(UTC)
    example = recent(
        0,
        audit_log=tuple(
            AuditLogEntry(at=now, actor="bob@example.com", action="asked for it", result="x" * 60)
            for _ in range(5)
        ),
        steps=tuple(StepTime(step=step, took=timedelta(seconds=3.25)) for step in StepName),
    ).model_dump_json()
    with path.open("w") as file:
        for number in range(RECORDS):
            file.write(example.replace("0" * 20, f"{number:020x}", 1) + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statistics, longest = Statistics(RecordSource(path)), 0.0
    started, cpu = time.monotonic(), time.process_time()
    statistics.usual_times("small", "one")
    reading = statistics._reading
    assert reading
    while not reading.done():
        last = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - last)
    first = time.monotonic() - started, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    statistics._read_at = float("-inf")
    await JsonLinesFile(path).add(recent(RECORDS, outcome=Outcome.EXPIRED).model_dump_json())
    cpu = time.process_time()
    await statistics.refresh(60)
    print(
        f"\n{RECORDS} records, {RECORDS * len(example) / 2**20:.0f} MiB: {first[0]:.1f} s, "
        f"{first[1]:.1f} s of processor, {grown:.0f} MiB, longest wait of the event loop "
        f"{longest * 1000:.0f} ms; "
        f"one more: {(time.process_time() - cpu) * 1000:.1f} ms"
    )
    assert statistics._lives == RECORDS + 1
    assert grown < 60
    assert BATCH_SIZE < RECORDS
