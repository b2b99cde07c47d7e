"""The rules of time, as tables: each row is a moment in a life and what the rules say of it."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from contracts import expiry
from contracts.expiry import DueKind, ExtensionRejected, GrantedExtension, Term
from contracts.templates.template import Extension, TimeToLive
from contracts.types.durations import parse_duration

BEGAN = datetime(2030, 1, 1, 8, tzinfo=UTC)
POLICY = TimeToLive(
    default="8h",
    maximum="3d",
    extension=Extension(times=2, total="1d"),
    warnings=("1h", "15m"),
    grace="10m",
)


def at(text: str) -> datetime:
    """So long after it was asked for: "7h 45m"."""
    return BEGAN + parse_duration(text)


def a_term(ttl: str = "8h", *given: str, policy: TimeToLive = POLICY) -> Term:
    """A life of that length; each of `given` is when a warning was recorded and which: "7h 1h"."""
    term = Term(policy=policy, ttl=parse_duration(ttl), ends_at=at(ttl))
    for one in given:
        moment, lead = one.split(":")
        term = expiry.record_warning(term, at(moment), parse_duration(lead))
    return term


@pytest.mark.parametrize(
    ("now", "given", "kind", "lead"),
    [
        ("1s", (), DueKind.KEEP, None),
        ("6h 59m 59s", (), DueKind.KEEP, None),
        ("7h", (), DueKind.WARN, "1h"),
        ("7h 30m", (), DueKind.WARN, "1h"),
        ("7h", ("7h:1h",), DueKind.KEEP, None),
        ("7h 44m 59s", ("7h:1h",), DueKind.KEEP, None),
        ("7h 45m", ("7h:1h",), DueKind.WARN, "15m"),
        # After an outage several are due: one is given, the nearest to the end.
        ("7h 50m", (), DueKind.WARN, "15m"),
        # Never without its last warning, however late it is.
        ("9d", (), DueKind.WARN, "15m"),
        ("9d", ("7h:1h",), DueKind.WARN, "15m"),
        ("7h 59m 59s", ("7h:1h", "7h 45m:15m"), DueKind.KEEP, None),
        # At the end itself its grace begins, and at the end of that it is over, to the second.
        ("8h", ("7h:1h", "7h 45m:15m"), DueKind.KEEP, None),
        ("8h 9m 59s", ("7h:1h", "7h 45m:15m"), DueKind.KEEP, None),
        ("8h 10m", ("7h:1h", "7h 45m:15m"), DueKind.END, None),
        ("9d", ("7h:1h", "7h 45m:15m"), DueKind.END, None),
    ],
)
def test_what_is_due(now: str, given: tuple[str, ...], kind: DueKind, lead: str | None) -> None:
    """Ensures that each warning and the end come at their moment, and none is left out."""
    due = expiry.due(a_term("8h", *given), at(now), in_use=True)
    assert (due.kind, due.lead) == (kind, parse_duration(lead) if lead else None), due.reason
    assert due.reason


@pytest.mark.parametrize(
    ("recorded", "ends"),
    [
        ("7h 40m", "8h"),  # early, as sweeps do
        ("7h 45m", "8h"),
        ("7h 45m 1s", "8h 1s"),
        ("8h", "8h 15m"),
        ("1d 2h", "1d 2h 15m"),
    ],
)
def test_the_last_warning_counts_from_when_it_was_recorded(recorded: str, ends: str) -> None:
    """Ensures that an outage of ours moves the end instead of shortening the notice."""
    term = a_term("8h", f"{recorded}:15m")
    assert term.ends_at == at(ends)
    just_before = term.over_at - timedelta(seconds=1)
    assert expiry.due(term, just_before, in_use=True).kind is DueKind.KEEP
    assert expiry.due(term, term.over_at, in_use=True).kind is DueKind.END


def test_an_earlier_warning_never_moves_the_end() -> None:
    """Ensures that only the last word counts: after a late first warning there is still the last one."""
    term = a_term("8h", "7h 30m:1h")
    assert term.ends_at == at("8h")
    assert expiry.due(term, at("7h 45m"), in_use=True).lead == timedelta(minutes=15)


def test_warnings_are_given_ahead_of_their_time() -> None:
    """Ensures that a sweep that comes once a minute records a warning in time, and so never moves the end."""
    lookahead = timedelta(minutes=1)
    assert expiry.due(a_term(), at("6h 58m 59s"), in_use=True, lookahead=lookahead).kind is DueKind.KEEP
    assert expiry.due(a_term(), at("6h 59m"), in_use=True, lookahead=lookahead).kind is DueKind.WARN
    ended = a_term("8h", "7h 45m:15m")
    assert expiry.due(ended, at("8h 9m 59s"), in_use=True, lookahead=lookahead).kind is DueKind.KEEP, (
        "the end came ahead of its time"
    )


@pytest.mark.parametrize(("now", "kind"), [("7h 59m", DueKind.KEEP), ("8h", DueKind.END)])
def test_what_was_never_ready_ends_without_a_warning(now: str, kind: DueKind) -> None:
    """Ensures that one that is still being made past its end is ended, and not warned about."""
    assert expiry.due(a_term(), at(now), in_use=False).kind is kind


@pytest.mark.parametrize(
    ("ttl", "warnings", "leads"),
    [
        ("8h", ("15m", "1h"), ["1h", "15m"]),
        ("1h", ("1h", "15m"), ["15m"]),
        ("8m", ("1h", "15m"), ["2m"]),
        ("8m", (), []),
    ],
)
def test_which_warnings_a_life_has(ttl: str, warnings: tuple[str, ...], leads: list[str]) -> None:
    """Ensures that a life that is shorter than its warnings still has one, unless none are configured."""
    policy = TimeToLive(default="1m", maximum="3d", warnings=warnings)
    assert list(a_term(ttl, policy=policy).leads) == [parse_duration(lead) for lead in leads]


def test_warnings_stay_the_same_when_the_end_moves() -> None:
    """Ensures that a short life whose end has moved is not warned over and over."""
    policy = TimeToLive(default="1m", maximum="3d")
    term = a_term("8m", "20m:2m", policy=policy)
    assert term.ends_at == at("22m")
    assert expiry.due(term, at("21m"), in_use=True).kind is DueKind.KEEP


def test_when_the_sweep_has_to_look_next() -> None:
    """Ensures that environments are found by the moment of their next warning, and then of their end."""
    assert a_term().due_at == at("7h")
    assert a_term("8h", "7h:1h").due_at == at("7h 45m")
    assert a_term("8h", "7h:1h", "7h 45m:15m").due_at == at("8h 10m")


@pytest.mark.parametrize(
    ("now", "by", "ends"),
    [
        ("1h", "1s", "8h 1s"),
        ("1h", "1d", "1d 8h"),
        ("8h 5m", "1h", "9h"),  # in its grace
    ],
)
def test_extensions_within_the_policy(now: str, by: str, ends: str) -> None:
    """Ensures that an extension counts from the end."""
    moved = expiry.extend_term(a_term(), at(now), by=parse_duration(by))
    assert moved.ends_at == at(ends)
    assert expiry.extend_term(a_term(), at(now), until=at(ends)) == moved, "by and until are not the same"


@pytest.mark.parametrize(
    ("before", "now", "by", "why", "latest"),
    [
        ((), "1h", "1d 1s", "2 times and 1d in all", "1d 8h"),
        (("20h",), "1h", "5h", "2 times and 1d in all", "1d 8h"),
        (("1h", "1h"), "1h", "1s", "extended 2 times, which is all", "10h"),
        ((), "1h", "0s", "never shortens", "1d 8h"),
        ((), "1d", "1h", "is past", "1d 8h"),
    ],
)
def test_extensions_beyond_the_policy(
    before: tuple[str, ...], now: str, by: str, why: str, latest: str
) -> None:
    """Ensures that what the policy does not allow is refused, with why and the latest end there could be."""
    term = a_term()
    for one in before:
        term = expiry.extend_term(term, at("30m"), by=parse_duration(one))
    with pytest.raises(ExtensionRejected, match=why) as refused:
        expiry.extend_term(term, at(now), by=parse_duration(by))
    assert refused.value.latest == at(latest)


def test_a_template_that_allows_no_extension() -> None:
    """Ensures that without a policy of extensions there are none."""
    term = a_term(policy=TimeToLive(default="8h", maximum="3d"))
    with pytest.raises(ExtensionRejected, match="allows no extension"):
        expiry.extend_term(term, at("1h"), by=timedelta(seconds=1))


def test_an_override_is_beyond_the_policy_and_not_counted() -> None:
    """Ensures that the platform team may go further, and takes nothing of what the policy allows."""
    moved = expiry.extend_term(a_term(), at("1h"), by=timedelta(days=30), override=True)
    assert moved.ends_at == at("30d 8h")
    assert moved.extensions == (GrantedExtension(at=at("1h"), by=timedelta(days=30), override=True),)
    assert moved.latest_end == moved.ends_at + timedelta(days=1)
    for too_far in (timedelta(days=400), timedelta.max):
        with pytest.raises(ExtensionRejected, match="is the longest"):
            expiry.extend_term(a_term(), at("1h"), by=too_far, override=True)


def test_warnings_of_an_end_that_was_moved() -> None:
    """Ensures that the new end has its warnings again, except those that were due at the extension."""
    term = expiry.extend_term(a_term("8h", "7h:1h", "7h 45m:15m"), at("7h 50m"), by=timedelta(hours=5))
    assert expiry.due(term, at("7h 51m"), in_use=True).kind is DueKind.KEEP
    assert expiry.due(term, at("12h"), in_use=True).lead == timedelta(hours=1)
    short = expiry.extend_term(a_term("8h", "7h:1h", "7h 45m:15m"), at("7h 50m"), by=timedelta(minutes=10))
    assert expiry.due(short, at("7h 51m"), in_use=True).kind is DueKind.KEEP, "it is warned at once"
    assert expiry.due(short, at("7h 55m"), in_use=True).lead == timedelta(minutes=15)


def test_policies_that_cannot_be() -> None:
    """Ensures that a warning after the end is rejected."""
    with pytest.raises(ValidationError, match="some time before the end"):
        TimeToLive(default="8h", maximum="3d", warnings=("0s",))
