"""Ensures that the figures say what the lives say, in bounded memory, whatever the lives are."""

import statistics
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.environment.models import Outcome, Problem, StepStatus
from contracts.environment_workflow import LifecycleTimeouts
from contracts.notifications import LifeRecord, StepTime
from contracts.phases import StepName, StepState
from starter.statistics.daily_figures import (
    KEPT,
    MAX_CAUSES_PER_DAY,
    MAX_TEMPLATES_PER_DAY,
    MAX_TIMES_PER_DAY,
    OTHERS,
    DailyFigures,
)
from starter.statistics.life_times import MAX_CLOCK_DIFFERENCE, Failure, LifeTimes, times_of_status
from starter.statistics.quantiles import quantile
from starter.statistics.stored_lives import parse_lines
from starter.statistics.usual_times import ANY_HOST, LAST_LIVES, MAX_KEYS, UsualTimes, UsualTimesTable
from tests.starter.test_planning import asked
from tests.support.seeding import ready_status
from workflows.notifications import Notifier

NOW = datetime(2026, 6, 15, 12, 30, tzinfo=UTC)
SECONDS = st.floats(min_value=0, max_value=1e6)


def life(
    number: int = 0,
    *,
    template: str = "small",
    host: str = "one",
    requested: timedelta = timedelta(hours=2),
    length: timedelta = timedelta(hours=1),
    ready: float | None = 30.0,
    failure: Failure | None = None,
    **steps: float,
) -> LifeTimes:
    """A life that was requested some time before now."""
    return LifeTimes(
        life=f"{number:020x}", template=template, host=host,
        outcome=Outcome.FAILED if failure else Outcome.DELETED,
        requested_at=NOW - requested, ended_at=NOW - requested + length,
        usable_seconds=ready, ready_seconds=ready, steps=steps, failure=failure,
    )  # fmt: skip


def record(**changes: object) -> LifeRecord:
    """The record of a life that was ready, and was deleted after an hour."""
    start = NOW - timedelta(hours=2)
    fields = {
        "name": "demo", "life": "0" * 20, "owner": "bob@example.com", "team": "blue", "template": "small",
        "host": "one", "collaborators": (), "outcome": Outcome.DELETED, "requested_at": start,
        "usable_at": start + timedelta(seconds=20), "ready_at": start + timedelta(seconds=30),
        "ended_at": start + timedelta(hours=1), "audit_log": (),
        "steps": (StepTime(step=StepName.VCLUSTER, took=timedelta(seconds=12.5)),), **changes,
    }  # fmt: skip
    return LifeRecord.model_validate(fields)


@given(st.lists(SECONDS, min_size=1), st.floats(min_value=0, max_value=1))
def test_quantile_lies_between_the_values(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert min(values) <= found <= max(values) or found == pytest.approx(min(values))
    assert quantile(values, 0.5) == pytest.approx(statistics.median(values))
    assert (quantile(values, 0), quantile(values, 1)) == (min(values), max(values))


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.1)])
def test_quantile_of_nothing_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="needs a value"):
        quantile(values, share)


@given(st.lists(SECONDS, min_size=3, max_size=150))
def test_usual_time_is_the_median_of_the_last_hundred(times: list[float]) -> None:
    table = UsualTimesTable()
    for number, seconds in enumerate(times):
        table.add(life(number, ready=seconds, vcluster=seconds))
    usual = table.of("small", "one")
    assert usual.host == "one"
    assert usual.ready
    assert usual.steps["vcluster"] == usual.ready == usual.usable
    assert usual.ready.median == pytest.approx(statistics.median(times[-LAST_LIVES:]))
    assert usual.ready.count == min(len(times), LAST_LIVES)
    assert usual.ready.median <= usual.ready.p90


def test_usual_time_falls_back_to_all_hosts_and_then_to_nothing() -> None:
    table = UsualTimesTable()
    assert table.of("small", "one") == UsualTimes()
    for number in range(5):
        table.add(life(number, host="one", vcluster=10))
    table.add(life(9, host="two", vcluster=70, identity=1))
    assert table.of("small", "one").host == "one"
    assert table.of("small", "one").steps["vcluster"].median == 10
    assert table.of("small", "one").steps["identity"].count == 1, "a step that the host has not done yet"
    for host in ("two", "three", ""):
        usual = table.of("small", host)
        assert (usual.host, usual.steps["vcluster"].count) == (ANY_HOST, 6)
    assert table.of("large", "one") == UsualTimes()


def test_life_that_failed_counts_for_the_steps_that_it_has_done() -> None:
    table = UsualTimesTable()
    table.add(life(ready=None, failure=Failure("vcluster", "host cluster", "NotYet"), namespace=2))
    usual = table.of("small", "one")
    assert (usual.usable, usual.ready) == (None, None)
    assert usual.steps["namespace"].median == 2


def test_what_an_undo_usually_takes_is_apart_from_what_the_step_takes() -> None:
    table = UsualTimesTable()
    for seconds in (1, 2, 9):
        table.add(replace(life(seconds, vcluster=20.0), undos={"vcluster": float(seconds)}))
    usual = table.of("small", "one")
    assert (usual.steps["vcluster"].median, usual.undos["vcluster"].median) == (20, 2)


def test_usual_times_are_kept_for_a_limited_number_of_templates() -> None:
    table = UsualTimesTable()
    for number in range(2 * MAX_KEYS):
        table.add(life(number, template=f"t{number}"))
    assert len(table._durations) == MAX_KEYS
    assert table.of(f"t{2 * MAX_KEYS - 1}", "one").ready
    assert table.of("t0", "one") == UsualTimes()


LIVES = st.lists(
    st.tuples(
        st.integers(0, 60 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)),
        st.integers(0, 60 * 24 * 9).map(lambda minutes: timedelta(minutes=minutes)),
    )
)


@given(LIVES, st.lists(st.integers(0, 60 * 24 * 60)), st.booleans())
def test_periods_agree_with_a_count_of_every_life(
    spans: list[tuple[timedelta, timedelta]], open_minutes: list[int], hourly: bool
) -> None:
    figures = DailyFigures()
    lives = [
        life(number, requested=requested, length=min(length, requested))
        for number, (requested, length) in enumerate(spans)
    ]
    for one in lives:
        figures.add(one, NOW)
    open_since = [NOW - timedelta(minutes=minutes) for minutes in open_minutes]
    periods = figures.periods(NOW, 30, hourly=hourly, open_since=open_since)
    assert len(periods) == 30
    length = timedelta(hours=1) if hourly else timedelta(days=1)
    for period in periods:
        end = period.start + length
        asked = [one.requested_at for one in lives] + open_since
        assert period.requested == sum(period.start <= moment < end for moment in asked)
        assert period.ended == sum(period.start <= one.ended_at < end for one in lives)
        open_then = sum(one.requested_at < end <= one.ended_at for one in lives)
        assert period.open == open_then + sum(moment < end for moment in open_since)
    assert periods[-1].start <= NOW < periods[-1].start + length


def test_times_by_day_are_those_of_the_day_of_the_request() -> None:
    figures = DailyFigures()
    for number, seconds in enumerate((10.0, 20.0, 60.0)):
        figures.add(life(number, requested=timedelta(days=1), ready=seconds), NOW)
    figures.add(life(7, template="large", requested=timedelta(days=1), ready=5), NOW)
    figures.add(life(8, ready=None, failure=Failure("group", "control plane", "Conflict")), NOW)
    large, small = figures.times_by_day(NOW, 7)
    assert (large.template, small.template) == ("large", "small")
    assert small.day == datetime(2026, 6, 14, tzinfo=UTC)
    assert (small.count, small.ready_p50, small.ready_p95) == (3, 20, pytest.approx(56))
    assert figures.times_by_day(NOW, 1) == []


def test_times_of_a_day_are_its_latest() -> None:
    figures = DailyFigures()
    for number in range(2 * MAX_TIMES_PER_DAY):
        figures.add(life(number, ready=10.0 if number < MAX_TIMES_PER_DAY else 60.0), NOW)
    [times] = figures.times_by_day(NOW, 1)
    assert (times.count, times.ready_p50, times.usable_p95) == (2 * MAX_TIMES_PER_DAY, 60, 60)


def test_failures_are_ranked_and_the_rest_is_counted_together() -> None:
    figures = DailyFigures()
    for number in range(12):
        for one in range(number + 1):
            cause = Failure(f"s{number:02}", "host cluster", "NotYet")
            figures.add(life(one, ready=None, failure=cause), NOW)
    found = figures.failures(NOW, 7, 3)
    assert [(one.failure.step, one.count) for one in found] == [
        ("s11", 12), ("s10", 11), ("s09", 10), (OTHERS, 45),
    ]  # fmt: skip
    assert [one.is_others for one in found] == [False, False, False, True]
    assert figures.failures(NOW + timedelta(days=7), 7, 3) == []


def test_figures_stay_bounded_whatever_the_lives_are() -> None:
    figures = DailyFigures()
    for number in range(1000):
        failure = Failure(f"s{number}", "x", "y")
        figures.add(life(number, template=f"t{number}", failure=failure), NOW)
    [day] = figures._days.values()
    assert len(day.usable) == MAX_TEMPLATES_PER_DAY + 1
    assert day.usable[OTHERS].count == 1000 - MAX_TEMPLATES_PER_DAY
    assert len(day.failures) == MAX_CAUSES_PER_DAY + 1
    assert sum(one.count for one in figures.failures(NOW, 1, 10)) == 1000


def test_what_is_older_than_the_kept_time_is_dropped() -> None:
    figures = DailyFigures()
    figures.add(life(1), NOW)
    later = NOW + KEPT + timedelta(days=1)
    figures.add(life(2, failure=Failure("a", "b", "c")), later)
    assert (figures._requested.total(), figures._ended.total(), figures._days) == (0, 0, {})
    assert figures.periods(later, 90)[-1].requested == 0


def test_request_before_the_kept_time_is_not_kept() -> None:
    figures = DailyFigures()
    figures.add(life(requested=KEPT + timedelta(days=1), length=timedelta(days=2)), NOW)
    assert (figures._requested.total(), figures._ended.total(), figures._days) == (0, 1, {})


def times_of(text: str) -> LifeTimes:
    """The times of one record."""
    [times], skipped = parse_lines([text.encode()], NOW)
    assert skipped == 0
    return times


def test_record_gives_its_times() -> None:
    times = times_of(record().model_dump_json())
    assert (times.usable_seconds, times.ready_seconds, times.steps) == (20, 30, {"vcluster": 12.5})
    assert times.failure is None
    problem = Problem(step="group", system="control plane", cause="c", remedy="r", type="Conflict" * 50)
    failed = times_of(record(outcome=Outcome.FAILED, problem=problem).model_dump_json())
    assert failed.failure
    assert failed.failure.type == ("Conflict" * 50)[:60]
    assert times_of(record(problem=problem).model_dump_json()).failure is None, "it was deleted, not failed"


def test_record_of_an_earlier_version_has_no_times_of_steps() -> None:
    old = record().model_dump_json(exclude={"steps", "usable_at", "ready_at", "problem"})
    times = times_of(old)
    assert (times.steps, times.usable_seconds, times.ready_seconds) == ({}, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"life": "x"},
        {"template": "t" * 101},
        {"host": "h" * 101},
        {"ended_at": NOW - timedelta(days=9)},
        {"ended_at": NOW + timedelta(days=9)},
        {"ended_at": NOW.replace(tzinfo=None)},
        {"requested_at": NOW.replace(tzinfo=None, hour=1)},
        {"ready_at": NOW - timedelta(days=9)},
        {"ready_at": NOW + timedelta(days=9)},
        {"usable_at": NOW + timedelta(days=9)},
        {"steps": (StepTime(step=StepName.GROUP, took=timedelta(seconds=-1)),)},
        {"steps": (StepTime(step=StepName.GROUP, took=timedelta(days=9)),)},
    ],
)
def test_record_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    assert parse_lines([record(**changes).model_dump_json().encode()], NOW) == ([], 1)


def test_clock_of_the_worker_may_be_ahead() -> None:
    assert times_of(record(ended_at=NOW + MAX_CLOCK_DIFFERENCE).model_dump_json())


# Pydantic writes 365 days as a year, which msgspec does not read. A step has minutes.
@given(st.timedeltas(timedelta(0), timedelta(days=300)))
def test_time_of_a_step_survives_the_record(took: timedelta) -> None:
    start = NOW - timedelta(days=3000)
    steps = (StepTime(step=StepName.GROUP, took=took),)
    stored = record(requested_at=start, usable_at=start, ready_at=start, steps=steps)
    if took <= stored.ended_at - start:
        assert times_of(stored.model_dump_json()).steps == {"group": took.total_seconds()}


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED])
def test_record_and_result_of_a_life_give_the_same_times(outcome: Outcome) -> None:
    """Ensures that it makes no difference which source the figures have."""
    problem = Problem(step="group", system="control plane", cause="c", remedy="r", type="Conflict" * 50)
    start = NOW - timedelta(hours=2)
    steps = (
        StepStatus(
            step=StepName.VCLUSTER,
            system="host cluster",
            took=timedelta(seconds=12.5),
            state=StepState.UNDONE,
            started_at=start + timedelta(minutes=5),
            ended_at=start + timedelta(minutes=5, seconds=7),
        ),
        # Its undo is not over.
        StepStatus(
            step=StepName.PROJECT,
            system="control plane",
            took=timedelta(seconds=1),
            state=StepState.UNDO_FAILED,
            started_at=start,
            ended_at=start + timedelta(seconds=9),
        ),
        StepStatus(step=StepName.GROUP, system="control plane"),
    )
    status = ready_status(
        asked(), NOW, requested_at=start, usable_at=start + timedelta(seconds=20), ready_at=None,
        ended_at=NOW - timedelta(hours=1), outcome=outcome, problem=problem, steps=steps,
    )  # fmt: skip
    state: Any = SimpleNamespace(status=status)
    written = Notifier(state, LifecycleTimeouts())._life_record()
    times = times_of_status(status, NOW)
    assert times == times_of(written.model_dump_json())
    assert (times.usable_seconds, times.ready_seconds, times.steps) == (
        20,
        None,
        {"vcluster": 12.5, "project": 1},
    )
    assert times.undos == {"vcluster": 7}
    assert (times.failure is not None) is (outcome is Outcome.FAILED)
