"""Ensures that the audit trail of a long life keeps what people did."""

from datetime import UTC, datetime, timedelta

from contracts.environment.models import MOORAGE_ACTOR, AuditLogEntry
from workflows.record.state import KEPT_FIRST_ENTRIES, MAX_AUDIT_LOG_ENTRIES, trim_audit_log


def grow(*actors: str) -> tuple[AuditLogEntry, ...]:
    """The audit trail after an entry of each actor, one after the other; the action is its number."""
    entries: tuple[AuditLogEntry, ...] = ()
    for number, actor in enumerate(actors):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
        entries = trim_audit_log((*entries, AuditLogEntry(at=at, actor=actor, action=str(number))))
    return entries


def test_a_year_of_a_sleep_schedule_drops_no_entry_of_a_person() -> None:
    day = (MOORAGE_ACTOR,) * 4
    year = [actor for number in range(365) for actor in (*day, *(("alice",) if number % 7 == 0 else ()))]
    entries = grow("alice", *year)
    assert len(entries) == MAX_AUDIT_LOG_ENTRIES
    assert sum(entry.actor == "alice" for entry in entries) == 54
    assert [entry.action for entry in entries[:KEPT_FIRST_ENTRIES]] == [*map(str, range(KEPT_FIRST_ENTRIES))]
    assert list(entries) == sorted(entries, key=lambda entry: entry.at)
    assert entries[-1].action == str(len(year)), "the newest stays"


def test_without_entries_of_moorage_the_oldest_after_the_first_go() -> None:
    entries = grow(*("alice",) * (MAX_AUDIT_LOG_ENTRIES + 5))
    numbers = [int(entry.action) for entry in entries]
    assert numbers == [*range(KEPT_FIRST_ENTRIES), *range(KEPT_FIRST_ENTRIES + 5, MAX_AUDIT_LOG_ENTRIES + 5)]


def test_the_newest_entry_stays_although_it_is_of_moorage() -> None:
    entries = grow(*("alice",) * MAX_AUDIT_LOG_ENTRIES, MOORAGE_ACTOR)
    assert entries[-1].actor == MOORAGE_ACTOR
