"""What a reconcile sweep has done about each life, as a count: for metrics and for the page. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum

from contracts.reconcile.models import Orphan, ReconcileResult, SettledLine, Verdict


class LifeOutcome(StrEnum):
    """What became of one life in a sweep."""

    ADOPTED = "adopted"
    UNDONE = "undone"  #: its teardown has started
    REPAIRED = "repaired"  #: its repair has started
    REPORTED = "reported"  #: a person has to look, or the settings say that it is only reported
    QUARANTINED = "quarantined"  #: it is incomplete, and is left alone for now
    WAITING = "waiting"  #: the brake stopped the sweep: it waits for a confirmation
    FAILED = "failed"  #: the sweep tried, and the next one tries again


_OF_VERDICT = {
    Verdict.ADOPT: LifeOutcome.ADOPTED,
    Verdict.UNDO: LifeOutcome.UNDONE,
    Verdict.REPAIR: LifeOutcome.REPAIRED,
}


def count_outcomes(result: ReconcileResult) -> Mapping[LifeOutcome, int]:
    """Return how many lives had each outcome, with zeros."""
    found = Counter(_outcomes(result))
    return {outcome: found[outcome] for outcome in LifeOutcome}


def _outcomes(result: ReconcileResult) -> Iterator[LifeOutcome]:
    lines = {line.life: line for line in result.lines}
    for orphan in result.orphans:
        if outcome := _of_orphan(orphan, lines.get(orphan.life), result):
            yield outcome
    for one in result.drifted:
        if not one.found:
            continue
        if one.life in result.waiting:
            yield LifeOutcome.WAITING
        else:
            yield _of_line(lines.get(one.life)) or LifeOutcome.REPORTED


def _of_orphan(orphan: Orphan, line: SettledLine | None, result: ReconcileResult) -> LifeOutcome | None:
    """Return what became of an orphan; None if it was no orphan any more when the sweep looked again."""
    if orphan.life in result.waiting:
        return LifeOutcome.WAITING
    if line:
        return _of_line(line)
    if orphan.verdict is Verdict.LOOK:
        return LifeOutcome.REPORTED
    return None if orphan.life in result.due else LifeOutcome.QUARANTINED


def _of_line(line: SettledLine | None) -> LifeOutcome | None:
    if line is None:
        return None
    if line.failed:
        return LifeOutcome.FAILED
    return _OF_VERDICT[line.verdict] if line.verdict else None
