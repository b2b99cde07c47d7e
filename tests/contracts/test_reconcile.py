"""Ensures that the reconcile sweep decides by what is there, and stops itself when too much is missing."""

import base64
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.environment.models import Phase, StepName, StepState, System
from contracts.environment_workflow import EnvironmentStart, LifecycleTimeouts
from contracts.reconcile.drift import Deviation, DriftedLife
from contracts.reconcile.models import Orphan, ReconcileResult, SettledLine, SurveyedSystem, Verdict
from contracts.reconcile.orphan_rules import (
    Findings,
    LatestRun,
    RunKind,
    brake_reason,
    count_skips,
    due_orphans,
    first_seen,
    judge,
)
from contracts.reconcile.outcomes import LifeOutcome, count_outcomes
from contracts.reconcile.recovery_mark import MAX_PLAIN, LifeMark
from contracts.recovery_starts import (
    STEP_SYSTEMS,
    adoption_start,
    done_steps,
    forced_start,
    stand_in_environment,
)
from contracts.types.naming import OwnerMark
from tests.activities.conftest import an_environment
from workflows.steps import STEPS, steps_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ENVIRONMENT = an_environment("demo")
MARK = LifeMark(request_id="request-1", environment=ENVIRONMENT, requested_at=NOW - timedelta(hours=1))
MISSING = LatestRun(RunKind.MISSING)


def there(**changes: Any) -> Findings:
    complete = {
        "things": ("project moor-demo",),
        "has_project": True,
        "host": "one",
        "has_release": True,
        "is_imported": True,
        "life_mark": MARK,
    }
    return Findings(**{**complete, **changes})


@pytest.mark.parametrize("kind", RunKind)
def test_what_several_hosts_claim_to_have_is_for_a_person(kind: RunKind) -> None:
    """Ensures that copied marks have an environment on another host neither undone nor adopted."""
    for found in (there(is_on_several_hosts=True), there(is_on_several_hosts=True, has_release=False)):
        assert judge(found, LatestRun(kind, phase=Phase.READY)).verdict is Verdict.LOOK


def orphan(number: int = 0, verdict: Verdict = Verdict.UNDO, seen: timedelta = timedelta(0)) -> Orphan:
    life = f"{number:020d}"
    return Orphan(name="demo", life=life, verdict=verdict, reason="", first_seen=NOW - seen)


@pytest.mark.parametrize(
    ("found", "run", "verdict"),
    [
        pytest.param(there(), MISSING, Verdict.ADOPT, id="complete, forgotten"),
        pytest.param(there(), LatestRun(RunKind.LOST, phase=Phase.READY), Verdict.ADOPT, id="terminated"),
        pytest.param(
            there(life_mark=None), LatestRun(RunKind.LOST, phase=Phase.READY), Verdict.ADOPT, id="run known"
        ),
        pytest.param(
            there(), LatestRun(RunKind.LOST, phase=Phase.TEARING_DOWN), Verdict.UNDO, id="was ending"
        ),
        pytest.param(
            there(), LatestRun(RunKind.LOST, phase=Phase.TEARDOWN_INCOMPLETE), Verdict.UNDO, id="was stuck"
        ),
        pytest.param(there(), LatestRun(RunKind.ENDED), Verdict.UNDO, id="life has ended"),
        pytest.param(there(), LatestRun(RunKind.OTHER_OPEN), Verdict.LOOK, id="name in use"),
        pytest.param(there(life_mark=None), MISSING, Verdict.LOOK, id="no life mark"),
        pytest.param(
            there(),
            LatestRun(RunKind.OTHER_CLOSED, started_at=NOW - timedelta(days=1)),
            Verdict.ADOPT,
            id="earlier life known",
        ),
        pytest.param(
            there(), LatestRun(RunKind.OTHER_CLOSED, started_at=NOW), Verdict.LOOK, id="later life known"
        ),
        pytest.param(
            there(),
            LatestRun(RunKind.OTHER_CLOSED, started_at=NOW, has_failed=True),
            Verdict.ADOPT,
            id="a later request has failed",
        ),
        pytest.param(there(is_imported=False), MISSING, Verdict.UNDO, id="not imported"),
        pytest.param(
            there(is_imported=False),
            LatestRun(RunKind.LOST, phase=Phase.USABLE),
            Verdict.UNDO,
            id="terminated while made",
        ),
        pytest.param(there(has_release=False, is_imported=False), MISSING, Verdict.UNDO, id="no vCluster"),
        pytest.param(there(host="", has_release=False), MISSING, Verdict.UNDO, id="no namespace"),
        pytest.param(there(is_terminating=True), MISSING, Verdict.UNDO, id="namespace ends"),
        pytest.param(
            there(has_project=False, is_imported=False), MISSING, Verdict.LOOK, id="project is missing"
        ),
    ],
)
def test_judge(found: Findings, run: LatestRun, verdict: Verdict) -> None:
    assert judge(found, run).verdict is verdict


def test_an_incomplete_orphan_is_due_after_its_grace_and_not_while_nothing_is_undone() -> None:
    grace = timedelta(minutes=30)
    fresh, old = orphan(1), orphan(2, seen=grace)
    complete, unclear = orphan(3, Verdict.ADOPT), orphan(4, Verdict.LOOK, seen=grace)
    every = (fresh, old, complete, unclear)
    assert due_orphans(every, NOW, grace, undoes=True) == (old, complete)
    assert due_orphans(every, NOW, grace, undoes=False) == (complete,)


def test_the_grace_begins_when_an_orphan_is_first_to_be_undone() -> None:
    """Ensures that who confirms an adoption has not confirmed that it is undone at once instead."""
    last = (
        orphan(1, Verdict.ADOPT, seen=timedelta(hours=2)),
        orphan(2, Verdict.UNDO, seen=timedelta(hours=1)),
    )
    one, two, three = (f"{number:020d}" for number in (1, 2, 3))
    assert first_seen(last, one, Verdict.ADOPT, NOW) == NOW - timedelta(hours=2)
    assert first_seen(last, one, Verdict.UNDO, NOW) == NOW
    assert first_seen(last, two, Verdict.UNDO, NOW) == NOW - timedelta(hours=1)
    assert first_seen(last, three, Verdict.UNDO, NOW) == NOW


@pytest.mark.parametrize(
    ("number", "known", "brakes"),
    [
        (0, 0, False),
        (1, 1, False),
        (2, 3, True),
        (2, 20, False),
        (5, 50, False),
        (6, 1000, True),
        (5, 40, True),
    ],
)
def test_the_brake(number: int, known: int, brakes: bool) -> None:
    due = [f"{one:020d}" for one in range(number)]
    reason = brake_reason(due, known, (), limit=5, limit_percent=10)
    assert bool(reason) is brakes
    assert not reason or f"{number} of {known}" in reason
    assert brake_reason(due, known, due, limit=5, limit_percent=10) == ""


def test_a_life_mark_is_read_back_and_belongs_to_one_life() -> None:
    assert LifeMark.parse(MARK.text, ENVIRONMENT.mark) == MARK
    assert MARK.text.startswith("{")
    other = OwnerMark.for_request("ours000000", "demo", "request-2")
    for text, mark in ((MARK.text, other), ("", ENVIRONMENT.mark), ("{}", ENVIRONMENT.mark)):
        assert LifeMark.parse(text, mark) is None
    assert LifeMark.parse(None, ENVIRONMENT.mark) is None
    # The life follows from the request; a run with another request id would be of another life.
    forged = MARK.model_copy(update={"request_id": "request-2"})
    assert LifeMark.parse(forged.text, ENVIRONMENT.mark) is None


@pytest.mark.parametrize("text", ["zlib:", "zlib:!", "zlib:aGVsbG8=", "zlib:eJwDAAAAAAE="])
def test_a_damaged_life_mark_is_none(text: str) -> None:
    assert LifeMark.parse(text, ENVIRONMENT.mark) is None


def test_a_large_life_mark_is_compressed_and_one_that_expands_too_far_is_none() -> None:
    large = an_environment("demo", values={f"key{number}": f"value {number}" for number in range(3000)})
    mark = MARK.model_copy(update={"environment": large})
    assert mark.text.startswith("zlib:")
    assert len(mark.text) < len(mark.model_dump_json())
    assert len(mark.model_dump_json()) > MAX_PLAIN
    assert LifeMark.parse(mark.text, large.mark) == mark
    bomb = base64.b64encode(zlib.compress(b" " * 50_000_000 + MARK.text.encode())).decode()
    assert LifeMark.parse(f"zlib:{bomb}", ENVIRONMENT.mark) is None


def test_the_systems_of_the_steps_are_those_of_the_table() -> None:
    assert {step.name: step.system for step in STEPS} == STEP_SYSTEMS
    for identity in (True, False):
        environment = an_environment("demo", identity=identity)
        names = [step.step for step in done_steps(environment, "")]
        assert names == [step.name for step in steps_of(environment)]
    assert list(STEP_SYSTEMS) == list(StepName)


def test_an_adoption_continues_as_ready_with_the_same_life_and_end() -> None:
    before = EnvironmentStart(environment=ENVIRONMENT, request_id="request-1", people_are_checked=False)
    start = adoption_start(
        before,
        None,
        "the reconcile sweep",
        timeouts=LifecycleTimeouts(),
        requested_at=MARK.requested_at,
        now=NOW,
    )
    assert start.carried
    status = start.carried.status
    assert (status.phase, status.expires_at) == (Phase.READY, MARK.ends_at)
    assert {step.state for step in status.steps} == {StepState.DONE}
    assert [entry.action for entry in status.audit_log] == ["asked for it", "adopted it"]
    extended = status.model_copy(update={"expires_at": NOW + timedelta(days=2), "phase": Phase.USABLE})
    again = adoption_start(
        before, extended, "x", timeouts=LifecycleTimeouts(), requested_at=status.requested_at, now=NOW
    )
    assert again.carried
    assert again.carried.status.expires_at == NOW + timedelta(days=2), "the extension is lost"
    assert again.carried.status.phase is Phase.READY


def test_a_life_of_which_only_the_mark_is_known_is_torn_down_as_if_every_step_were_done() -> None:
    environment = stand_in_environment(ENVIRONMENT.mark, "moor", "one", has_identity_provider=True)
    before = EnvironmentStart(environment=environment, request_id="", people_are_checked=True)
    start = forced_start(before, None, "x", timeouts=LifecycleTimeouts(), requested_at=NOW)
    assert start.forced_by == "x"
    assert start.carried
    assert len(start.carried.status.steps) == len(StepName)


def test_skips_are_counted_in_a_row() -> None:
    control_plane, host = System.CONTROL_PLANE, System.HOST_CLUSTER
    last = (
        SurveyedSystem(system=control_plane, skipped=2),
        SurveyedSystem(system=host, host="one", skipped=4),
        SurveyedSystem(system=host, host="gone", skipped=7),
    )
    now = (
        SurveyedSystem(system=control_plane, skipped=1),
        SurveyedSystem(system=host, host="one"),
        SurveyedSystem(system=host, host="two", skipped=1),
    )
    assert [one.skipped for one in count_skips(last, now)] == [3, 0, 1]


def test_each_life_is_counted_by_what_became_of_it() -> None:
    verdicts = {1: Verdict.ADOPT, 2: Verdict.UNDO, 3: Verdict.UNDO, 4: Verdict.LOOK, 5: Verdict.ADOPT}
    verdicts |= {6: Verdict.ADOPT, 7: Verdict.UNDO}
    found = (Deviation(step=StepName.GROUP, what="it is missing"),)
    lives = {number: f"{number:020d}" for number in range(1, 12)}

    def line(number: int, verdict: Verdict | None = None, *, failed: bool = False) -> SettledLine:
        return SettledLine(name="demo", life=lives[number], result="", verdict=verdict, failed=failed)

    result = ReconcileResult(
        now=NOW,
        orphans=tuple(orphan(number, verdict) for number, verdict in verdicts.items()),
        drifted=(
            *(DriftedLife(name="demo", life=lives[number], found=found) for number in (8, 9, 10)),
            DriftedLife(name="well-again", life=lives[11]),
        ),
        due=tuple(lives[number] for number in (1, 2, 5, 6, 7, 8, 10)),
        waiting=(lives[7], lives[10]),
        # The sixth has an open workflow again, so that nothing was done about it.
        lines=(
            *(line(1, Verdict.ADOPT), line(2, Verdict.UNDO), line(5, failed=True), line(6)),
            *(line(8, Verdict.REPAIR), line(9), line(11)),
        ),
    )
    assert count_outcomes(result) == {
        LifeOutcome.ADOPTED: 1,
        LifeOutcome.UNDONE: 1,
        LifeOutcome.REPAIRED: 1,
        LifeOutcome.REPORTED: 2,
        LifeOutcome.QUARANTINED: 1,
        LifeOutcome.WAITING: 2,
        LifeOutcome.FAILED: 1,
    }
