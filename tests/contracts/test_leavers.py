"""The brake of the leaver sweep: a directory that lost its people ends no person's access."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.sweeps.leavers import (
    APPLYING,
    MAX_DELAY,
    LeaverSweepInput,
    LeaverSweepResult,
    LookResult,
    brake_reason,
    judged,
)


def people(count: int) -> tuple[str, ...]:
    return tuple(f"p{number}@example.com" for number in range(count))


@pytest.mark.parametrize(
    ("asked", "missing", "unclear", "handled", "reason"),
    [
        (0, 0, 0, 0, ""),
        (10, 0, 10, 0, ""),  # no person is missing, so there is nothing to stop
        (1, 1, 0, 0, "knows none of 1 people"),
        (2, 1, 0, 0, ""),
        (3, 2, 0, 0, "2 of 3 people have left at once"),
        (100, 5, 0, 0, ""),
        (100, 6, 0, 0, "6 of 100 people have left at once, which is more than 5 %"),
        (2000, 100, 0, 0, ""),
        (2000, 101, 0, 0, "101 of 2000"),
        (2000, 2000, 0, 0, "knows none of 2000 people"),
        (100, 1, 5, 0, ""),
        (100, 1, 6, 0, "did not answer about 6 of 100 people"),
        (10, 1, 9, 0, "knows none of 10 people"),
        (10, 1, 0, 9, "knows none of 10 people"),
        (100, 1, 0, 50, ""),
    ],
)
def test_the_brake(asked: int, missing: int, unclear: int, handled: int, reason: str) -> None:
    gone = people(missing)
    look = LookResult(asked=asked, missing=gone, unclear=people(unclear), handled=handled)
    found = brake_reason(look, gone, (), 5)
    assert reason in found
    assert bool(reason) is bool(found)


def test_who_was_confirmed_does_not_count_and_the_others_do() -> None:
    gone = people(10)
    look = LookResult(asked=20, missing=gone)
    assert brake_reason(look, gone, gone, 5) == ""
    assert brake_reason(look, gone, gone[1:], 5) == ""
    assert "2 of 20" in brake_reason(look, gone, gone[2:], 5)


def test_who_is_back_at_the_second_look_does_not_count() -> None:
    gone = people(10)
    assert brake_reason(LookResult(asked=20, missing=gone), gone[:1], (), 5) == ""


@pytest.mark.parametrize("per_minute", [1, 60, 300, 6000])
@pytest.mark.parametrize("second_look", [timedelta(0), timedelta(seconds=90), timedelta(minutes=3)])
def test_a_batch_is_looked_up_twice_in_time(per_minute: int, second_look: timedelta) -> None:
    sweep = LeaverSweepInput(lookups_per_minute=per_minute, second_look_after=second_look)
    looking = timedelta(minutes=sweep.batch / per_minute)
    assert looking + second_look + APPLYING <= MAX_DELAY
    assert sweep.batch >= per_minute


def test_a_long_wait_for_the_second_look_leaves_a_minute_for_the_first() -> None:
    sweep = LeaverSweepInput(lookups_per_minute=300, second_look_after=timedelta(hours=1))
    assert sweep.batch == 300


SWEEP = LeaverSweepInput()
NOTHING = LeaverSweepResult(now=datetime(2026, 11, 27, tzinfo=UTC))


def test_the_brake_judges_all_batches_together() -> None:
    """Ensures that a small last batch stops nothing, and that many in one batch wait until they are few."""
    few, many = people(1), tuple(f"q{number}@example.com" for number in range(10))
    looked = LookResult(asked=900, missing=few, last="m@example.com")
    result = judged(NOTHING, looked, few, SWEEP)
    assert (result.left, result.waiting, result.brake) == (few, (), "")
    alone = LookResult(asked=1, missing=("z@example.com",))
    result = judged(result, looked.plus(alone), alone.missing, SWEEP)
    assert (result.asked, result.left, result.waiting) == (901, (*few, "z@example.com"), ())

    looked = LookResult(asked=100, missing=many, last="m@example.com")
    result = judged(NOTHING, looked, many, SWEEP)
    assert (result.waiting, bool(result.brake)) == (many, True)
    result = judged(result, looked.plus(LookResult(asked=100)), (), SWEEP)
    assert (result.left, result.waiting, result.brake) == (many, (), "")


def test_who_left_in_an_earlier_batch_waits_no_more_when_the_brake_stops_a_later_one() -> None:
    looked = LookResult(asked=100, missing=people(5), last="m@example.com")
    result = judged(NOTHING, looked, people(5), SWEEP)
    assert result.waiting == ()
    broken = tuple(f"q{number}@example.com" for number in range(50))
    looked = looked.plus(LookResult(asked=50, missing=broken))
    result = judged(result, looked, broken, SWEEP)
    assert (result.waiting, len(result.left)) == (broken, 55)
    assert "55 of 150 people" in result.brake


def test_who_was_confirmed_does_not_wait() -> None:
    looked = LookResult(asked=20, missing=people(10))
    result = judged(NOTHING, looked, people(10), LeaverSweepInput(confirmed=people(3)))
    assert result.waiting == people(10)[3:]


def test_a_sweep_that_stops_in_the_middle_says_how_far_it_came() -> None:
    assert NOTHING.model_copy(update={"problem": "503"}).sentence == "no access was ended: 503"
    line = {"name": "demo", "person": "p0@example.com", "result": "offered to team blue"}
    stopped = LeaverSweepResult.model_validate(
        NOTHING.model_dump() | {"problem": "503", "asked": 900, "lines": [line]}
    )
    assert stopped.sentence == "the sweep stopped after 900 people: 503"
