"""Ensures that pages and exports of the trail have each line once, and that no export runs a formula."""

import base64
import csv
import gzip
import io
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.environment.models import AuditLogEntry
from starter.audit_trail import record_search
from starter.audit_trail.entries import AuditVerb, TrailEntry, TrailFilters, cut_page, verb_of
from starter.audit_trail.export import COLUMNS, guard_cell, to_csv, to_json_lines
from starter.audit_trail.record_search import search_records
from tests.starter.test_statistics import record

HISTORIES = Path(__file__).parents[1] / "replay" / "histories"
START = datetime(2026, 6, 1, tzinfo=UTC)


def line(minutes: float = 0, **changes: object) -> TrailEntry:
    """A line of the trail."""
    fields = {
        "at": START + timedelta(minutes=minutes), "actor": "bob@example.com", "action": "asked for it",
        "result": "", "name": "demo", "life": "0" * 20, "owner": "bob@example.com", "team": "blue",
    }  # fmt: skip
    return TrailEntry(**{**fields, **changes})  # type: ignore[arg-type]


def write(path: Path, number: int, at: datetime, *actions: str, name: str = "demo") -> None:
    """Append the record of a life with a line for each action, a minute apart, the last one at its end."""
    ended = at + timedelta(minutes=len(actions) - 1)
    log = tuple(
        AuditLogEntry(at=at + timedelta(minutes=minutes), actor="bob@example.com", action=action)
        for minutes, action in enumerate(actions)
    )
    one = record(
        life=f"{number:020x}", name=name, requested_at=at, usable_at=at, ready_at=at, ended_at=ended,
        audit_log=log, steps=(),
    )  # fmt: skip
    with path.open("a") as file:
        file.write(one.model_dump_json() + "\n")


@pytest.mark.parametrize(
    ("action", "verb"),
    [
        ("asked for it", AuditVerb.REQUEST), ("asked to delete it", AuditVerb.DELETE),
        ("extended it by 1d, beyond what its template allows", AuditVerb.EXTEND),
        ("removed carol@example.com", AuditVerb.COLLABORATORS),
        ("ended it: its time was up", AuditVerb.EXPIRE),
        ("went back to the state before the restore of snapshot 1", AuditVerb.RESTORE),
        ("went back to small version 1", AuditVerb.CHANGE),
        ("found that bob@example.com is back", AuditVerb.LEAVER), ("something new", AuditVerb.OTHER),
    ],
)  # fmt: skip
def test_verb_is_known_by_the_start_of_the_sentence(action: str, verb: AuditVerb) -> None:
    assert verb_of(action) is verb


def actions_in(value: Any) -> set[str]:
    """The actions of all lines of trails in a recorded history, payloads included."""
    if isinstance(value, list):
        return set().union(*map(actions_in, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*map(actions_in, value.values()))
    if {"metadata", "data"} <= value.keys():
        found |= actions_in(json.loads(base64.b64decode(value["data"])))
    return found | {line["action"] for line in value.get("audit_log", ())}


def test_every_line_of_the_recorded_lives_has_a_verb() -> None:
    found = set().union(*(actions_in(json.loads(file.read_text())) for file in HISTORIES.glob("*.json")))
    assert len(found) > 15
    # The recordings are older than the present wording of this line.
    found.remove("told its people")  # words: allow
    assert {action for action in found if verb_of(action) is AuditVerb.OTHER} == set()


@pytest.mark.parametrize("result", ["carol@example.com", "dave@example.com, Carol@example.com"])
def test_person_in_the_result_of_a_line_is_found(result: str) -> None:
    entry = line(actor="moorage", action="took access away", result=result)
    assert TrailFilters(person="carol@example.com").matches(entry)
    assert not TrailFilters(person="carol").matches(entry)
    assert not TrailFilters(person="erin@example.com").matches(entry)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        (TrailFilters(), True),
        (TrailFilters(person="BOB@example.com"), True),
        (TrailFilters(person="carol@example.com"), True),
        (TrailFilters(person="carol"), False),
        (TrailFilters(person="dave@example.com"), False),
        (TrailFilters(verb=AuditVerb.COLLABORATORS), True),
        (TrailFilters(verb=AuditVerb.REQUEST), False),
        (TrailFilters(name="demo"), True),
        (TrailFilters(name="dem"), False),
        (TrailFilters(since=START), True),
        (TrailFilters(since=START + timedelta(seconds=1)), False),
        (TrailFilters(before=START), False),
        (TrailFilters(before=START + timedelta(seconds=1)), True),
    ],
)
def test_filters_select_lines(filters: TrailFilters, matches: bool) -> None:
    assert filters.matches(line(action="added carol@example.com")) is matches


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 10))
def test_pages_have_every_line_once_in_order(moments: list[int], limit: int) -> None:
    entries = [line(moment, life=f"{number:020x}") for number, moment in enumerate(moments)]
    seen: list[TrailEntry] = []
    before = None
    for _ in range(len(entries) + 1):
        wanted = [one for one in entries if before is None or one.at < before]
        page, before = cut_page(wanted, limit)
        seen += page
        if before is None:
            break
    times = [one.at for one in seen]
    assert times == sorted(times, reverse=True)
    assert len(seen) == len(set(seen))
    most_at_once = max((moments.count(moment) for moment in moments), default=0)
    if most_at_once <= limit:
        assert set(seen) == set(entries)


def test_line_that_comes_from_record_and_workflow_is_shown_once() -> None:
    assert cut_page([line(), line()], 5) == ([line()], None)


def test_search_finds_the_latest_lines_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(50):
        write(path, number, START + timedelta(hours=number), "asked for it", "gone")
    found = search_records(path, TrailFilters(), 4)
    assert found.is_complete
    assert sorted(one.at for one in found.entries) == [
        START + timedelta(hours=hours, minutes=minutes) for hours in (48, 49) for minutes in (0, 1)
    ]
    every = search_records(path, TrailFilters(verb=AuditVerb.GONE), 1000)
    assert len(every.entries) == 50


def test_search_stops_where_nothing_wanted_can_follow(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("damaged, but not read\n")
    for number in range(50):
        write(path, number, START + timedelta(hours=number), "asked for it")
    found = search_records(path, TrailFilters(since=START + timedelta(hours=40)), 100)
    assert (len(found.entries), found.is_complete) == (10, True)
    assert search_records(path, TrailFilters(), 10).is_complete, "the page is full of later lines"
    assert not search_records(path, TrailFilters(), 100).is_complete


def test_record_that_was_written_late_hides_no_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 1, START, "asked for it")
    write(path, 2, START - record_search.MAX_DELAY, "asked for it", name="late")
    found = search_records(path, TrailFilters(since=START), 100)
    assert [one.name for one in found.entries] == ["demo"]


def test_search_reads_no_file_that_is_too_old(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 1, START, "asked for it")
    old = path.with_name("audit.jsonl.1")
    old.write_text("damaged, but not read\n")
    for age, is_complete in ((timedelta(minutes=1), False), (timedelta(days=1), True)):
        os.utime(old, ((START - age).timestamp(),) * 2)
        found = search_records(path, TrailFilters(since=START), 100)
        assert (len(found.entries), found.is_complete) == (1, is_complete)


def test_search_reads_an_archive_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(5):
        write(path, number, START + timedelta(days=number), "asked for it")
    path.with_name("audit.jsonl.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    found = search_records(path, TrailFilters(since=START + timedelta(days=3)), 100)
    assert len(found.entries) == 2


def test_search_reads_lines_across_blocks_and_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_search, "_BLOCK", 100)
    path = tmp_path / "audit.jsonl"
    for number in range(5):
        write(path, number, START + timedelta(days=number), "asked for it", name=f"old-{number}")
    path.with_name("audit.jsonl.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    for number in range(5, 9):
        write(path, number, START + timedelta(days=number), "asked for it", name="new")
    found = search_records(path, TrailFilters(), 100)
    assert len({one.life for one in found.entries}) == 9
    assert found.is_complete
    assert [one.name for one in search_records(path, TrailFilters(name="old-3"), 9).entries] == ["old-3"]
    path.with_name("audit.jsonl.2.gz").write_bytes(b"no archive")
    assert not search_records(path, TrailFilters(), 100).is_complete


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_LINE_BYTES"])
def test_search_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(9):
        write(path, number, START, "asked for it" * 40)
    monkeypatch.setattr(record_search, limit, 900)
    monkeypatch.setattr(record_search, "_BLOCK", 500)
    found = search_records(path, TrailFilters(), 100)
    assert not found.is_complete
    assert len(found.entries) < 9


def test_search_without_a_file_finds_nothing(tmp_path: Path) -> None:
    found = search_records(tmp_path / "audit.jsonl", TrailFilters(), 9)
    assert (found.entries, found.is_complete) == ([], True)


@given(st.text())
def test_no_cell_starts_a_formula(text: str) -> None:
    cell = guard_cell(text)
    assert cell in (text, f"'{text}")
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_exports_have_every_line_unchanged_but_for_the_guard(texts: list[str]) -> None:
    entries = [line(minutes, result=text) for minutes, text in enumerate(texts)]
    head, *rows = csv.reader(io.StringIO(to_csv(entries), newline=""))
    assert tuple(head) == COLUMNS
    assert [row[-1] for row in rows] == [guard_cell(text) for text in texts]
    documents = [json.loads(one) for one in to_json_lines(entries).split("\n")[:-1]]
    assert [one["result"] for one in documents] == texts
    assert all(one["verb"] == "request" and one["at"].endswith("Z") for one in documents)
