"""When an environment falls asleep and wakes by itself: hours of the week, idle time, and their limits."""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from contracts.templates.sleep import (
    SleepPolicy,
    SleepReason,
    parse_schedule,
    policy_problems,
    problems_within,
    sleep_due,
    wake_due,
)
from starter.environments.requests.planning import status_at_start
from tests.workflows.conftest import a_start

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")
WORKING = SleepPolicy(schedule="Mon-Fri 08:00-20:00 Europe/Berlin")
BOTH = SleepPolicy(after="2h", schedule="Mon-Fri 08:00-20:00 Europe/Berlin")


def berlin(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    """A moment in November 2026, whose second day is a Monday."""
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("policy", "used_at", "now", "due"),
    [
        (SleepPolicy(after="2h"), berlin(2, 9), berlin(2, 9, 30), (berlin(2, 11), "idle")),
        (WORKING, berlin(2, 9), berlin(2, 9), (berlin(2, 20), "schedule")),
        # In use at the end of its hours; woken by hand at night; at the weekend; in use into its hours.
        (WORKING, berlin(2, 19, 30), berlin(2, 20), (berlin(2, 20, 30), "schedule")),
        (WORKING, berlin(2, 9), berlin(3, 2), (berlin(3, 2), "schedule")),
        (WORKING, berlin(6, 9), berlin(7, 9), (berlin(7, 9), "schedule")),
        (WORKING, berlin(3, 7, 30), berlin(3, 7, 30), (berlin(3, 20), "schedule")),
        (BOTH, berlin(2, 9), berlin(2, 9), (berlin(2, 11), "idle")),
        (BOTH, berlin(2, 18, 59), berlin(2, 19), (berlin(2, 20), "schedule")),
        (SleepPolicy(), berlin(2, 9), berlin(2, 9), None),
    ],
)  # fmt: skip
def test_when_it_falls_asleep(
    policy: SleepPolicy, used_at: datetime, now: datetime, due: tuple[datetime, str] | None
) -> None:
    assert sleep_due(policy, used_at, HOUR, now) == due


@pytest.mark.parametrize(
    ("policy", "reason", "now", "due"),
    [
        pytest.param(WORKING, SleepReason.SCHEDULE, berlin(2, 21), berlin(3, 8), id="the next morning"),
        pytest.param(WORKING, SleepReason.SCHEDULE, berlin(6, 21), berlin(9, 8), id="after the weekend"),
        pytest.param(WORKING, SleepReason.SCHEDULE, berlin(3, 9), berlin(3, 9), id="it should be awake"),
        pytest.param(WORKING, SleepReason.REQUESTED, berlin(2, 21), None, id="put to sleep by hand"),
        pytest.param(BOTH, SleepReason.SCHEDULE, berlin(2, 21), None, id="a credential wakes it"),
        pytest.param(SleepPolicy(after="2h"), SleepReason.IDLE, berlin(2, 21), None, id="no schedule"),
    ],
)
def test_when_it_is_woken(
    policy: SleepPolicy, reason: SleepReason, now: datetime, due: datetime | None
) -> None:
    assert wake_due(policy, reason, now) == due


@pytest.mark.parametrize(
    ("schedule", "now", "sleeps"),
    [
        ("Mon-Sun 22:00-06:00", datetime(2026, 11, 2, 23, tzinfo=UTC), datetime(2026, 11, 3, 6, tzinfo=UTC)),
        ("Fri 22:00-06:00", datetime(2026, 11, 7, 5, tzinfo=UTC), datetime(2026, 11, 7, 6, tzinfo=UTC)),
        ("Sat-Mon 00:00-24:00", datetime(2026, 11, 1, 5, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC)),
        ("Mon,Wed 08:00-12:00; Mon 12:00-13:00", datetime(2026, 11, 2, 9, tzinfo=UTC),
         datetime(2026, 11, 2, 13, tzinfo=UTC)),
        # The clocks of Berlin go back in the night to the 25th of October: that night has an hour more.
        ("Sat 20:00-08:00 Europe/Berlin", datetime(2026, 10, 24, 20, tzinfo=BERLIN),
         datetime(2026, 10, 25, 7, tzinfo=UTC)),
        ("Sun 08:00-20:00 Europe/Berlin", datetime(2026, 3, 29, 9, tzinfo=BERLIN),
         datetime(2026, 3, 29, 18, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_hours_over_midnight_and_changes_of_the_clock(schedule: str, now: datetime, sleeps: datetime) -> None:
    policy = SleepPolicy(schedule=schedule)
    assert sleep_due(policy, now - 2 * HOUR, HOUR, now) == (sleeps, SleepReason.SCHEDULE)


def test_hours_that_never_end_put_nothing_to_sleep() -> None:
    policy = SleepPolicy(schedule="Mon-Sun 00:00-24:00")
    assert sleep_due(policy, berlin(2, 9), HOUR, berlin(2, 9)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '"" is not a schedule: write "Mon-Fri 08:00-20:00 Europe/Berlin"'),
        ("always", '"always" is not a schedule'),
        ("Mon-Fri 8:00-20:00", "is not a schedule"),
        ("Mon-Fry 08:00-20:00", '"Mon-Fry" is no day of the week'),
        ("mon 08:00-20:00", '"mon" is no day of the week'),
        ("Mon 08:00-24:01", '"24:01" is not a time of the day'),
        ("Mon 08:61-20:00", '"08:61" is not a time of the day'),
        ("Mon 08:00-08:00", "has no hours"),
        ("Mon 24:00-08:00", "has no hours"),
        ("Mon 08:00-20:00 Europe/Nowhere", '"Europe/Nowhere" is not a time zone'),
        ("Mon 08:00-20:00 ../../etc/passwd", "is not a schedule"),
        ("Mon 08:00-20:00 /etc/passwd", '"/etc/passwd" is not a time zone'),
        ("Mon 08:00-20:00;", '"" is not a schedule'),
    ],
)
def test_what_is_no_schedule_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_schedule(text)
    assert "schedule" in policy_problems(SleepPolicy(schedule=text), HOUR)
    # A worker that cannot read it does not fail for ever.
    assert sleep_due(SleepPolicy(schedule=text), berlin(2, 9), HOUR, berlin(2, 9)) is None


def test_an_idle_time_is_not_shorter_than_a_credential() -> None:
    assert policy_problems(SleepPolicy(after="59m"), HOUR) == {
        "after": "59m is too short: a person may work with a credential of 1h for so long"
    }
    assert policy_problems(SleepPolicy(after="1h"), HOUR) == {}


@pytest.mark.parametrize(
    ("own", "template", "wrong"),
    [
        (SleepPolicy(after="1h"), SleepPolicy(after="2h"), {}),
        (SleepPolicy(after="3h"), SleepPolicy(after="2h"), {"after"}),
        (SleepPolicy(after="3h"), None, {}),
        (SleepPolicy(schedule="Mon-Thu 09:00-18:00 Europe/Berlin"), WORKING, {}),
        (SleepPolicy(schedule="Mon-Fri 08:00-20:00 Europe/Berlin"), WORKING, {}),
        (SleepPolicy(schedule="Mon-Sat 09:00-18:00 Europe/Berlin"), WORKING, {"schedule"}),
        (SleepPolicy(schedule="Mon-Fri 08:00-20:01 Europe/Berlin"), WORKING, {"schedule"}),
        (SleepPolicy(schedule="Mon-Fri 08:00-18:00 UTC"), WORKING, {}),
        # In winter it is an hour longer than the template.
        (SleepPolicy(schedule="Mon-Fri 08:00-20:00 UTC"), WORKING, {"schedule"}),
        (SleepPolicy(schedule="Mon-Fri 06:00-18:00 UTC"), WORKING, {"schedule"}),
        (SleepPolicy(schedule="Mon-Fri 08:00-20:00 Europe/Berlin"), SleepPolicy(after="2h"), {}),
        (SleepPolicy(after="3h", schedule="never"), BOTH, {"after", "schedule"}),
    ],
)  # fmt: skip
def test_an_environment_sleeps_as_much_as_its_template_says_or_more(
    own: SleepPolicy, template: SleepPolicy | None, wrong: Collection[str]
) -> None:
    assert set(problems_within(own, template, HOUR)) == set(wrong)


def test_what_is_missing_is_the_templates() -> None:
    assert SleepPolicy(after="1h").over(BOTH) == SleepPolicy(after="1h", schedule=BOTH.schedule)
    assert SleepPolicy().over(None) == SleepPolicy()
    assert BOTH.sentence == "after 2h without a credential, outside of Mon-Fri 08:00-20:00 Europe/Berlin"


def test_an_own_policy_counts_only_within_the_template_of_now() -> None:
    """Ensures that a change of its template does not keep an environment awake longer than that says."""
    start = a_start("a")
    strict = start.environment.template.model_copy(update={"sleep": SleepPolicy(after=timedelta(hours=2))})
    status = status_at_start(start)

    def effective(own: SleepPolicy) -> SleepPolicy | None:
        environment = start.environment.model_copy(update={"template": strict})
        changed = status.model_copy(update={"environment": environment, "own_sleep_policy": own})
        policy: SleepPolicy | None = changed.sleep_policy
        return policy

    assert effective(SleepPolicy(after=timedelta(hours=9))) == strict.sleep
    assert effective(SleepPolicy(after=timedelta(hours=1))) == SleepPolicy(after=timedelta(hours=1))
