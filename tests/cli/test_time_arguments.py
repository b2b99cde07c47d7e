"""Moments as people write them: refused when clocks are put forward over them, or back to them."""

import time
from collections.abc import Callable, Iterator

import pytest

from starter.cli.arguments.times import parse_local_time
from starter.cli.errors import CliError, Code


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts this machine into a zone."""

    def put(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("Europe/Berlin", "2030-01-31 18:00", "2030-01-31T18:00:00+01:00"),
        ("Europe/Berlin", "2030-07-31", "2030-07-31T00:00:00+02:00"),
        ("Europe/Berlin", "2027-03-28 01:59:59", "2027-03-28T01:59:59+01:00"),
        ("Europe/Berlin", "2027-03-28 03:00", "2027-03-28T03:00:00+02:00"),
        ("Europe/Berlin", "2027-10-31 01:59", "2027-10-31T01:59:00+02:00"),
        ("Europe/Berlin", "2027-10-31 03:00", "2027-10-31T03:00:00+01:00"),
        ("Europe/Berlin", "2027-03-28 02:30+02:00", "2027-03-28T02:30:00+02:00"),
        ("Europe/Berlin", "2027-10-31T02:30:00Z", "2027-10-31T02:30:00+00:00"),
        ("Asia/Kolkata", "2027-03-28 02:30", "2027-03-28T02:30:00+05:30"),
        ("UTC", "2027-03-28 02:30", "2027-03-28T02:30:00+00:00"),
    ],
)
def test_a_moment(zone: Callable[[str], None], place: str, text: str, expected: str) -> None:
    """Ensures that a moment is taken in the zone of this machine, or in its own."""
    zone(place)
    assert parse_local_time(text).isoformat() == expected


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        ("Europe/Berlin", "2027-03-28 02:30", ("2027-03-28 01:30+01:00", "2027-03-28 03:30+02:00")),
        ("Europe/Berlin", "2027-03-28 02:00", ("2027-03-28 01:00+01:00", "2027-03-28 03:00+02:00")),
        ("America/New_York", "2027-03-14 02:59:59", ("2027-03-14 01:59-05:00", "2027-03-14 03:59-04:00")),
        ("Australia/Lord_Howe", "2027-10-03 02:15", ("2027-10-03 01:45+10:30", "2027-10-03 02:45+11:00")),
    ],
)
def test_a_time_that_does_not_exist(
    zone: Callable[[str], None], place: str, text: str, words: tuple[str, str]
) -> None:
    """Ensures that a time that clocks leave out is refused, with its neighbours on both sides."""
    zone(place)
    with pytest.raises(CliError, match="does not exist") as failed:
        parse_local_time(text)
    assert failed.value.code is Code.BAD_INPUT
    assert all(word in str(failed.value) for word in words)


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        ("Europe/Berlin", "2027-10-31 02:30", ("2027-10-31 02:30+02:00", "2027-10-31 02:30+01:00")),
        ("America/New_York", "2027-11-07 01:00", ("2027-11-07 01:00-04:00", "2027-11-07 01:00-05:00")),
    ],
)
def test_a_time_that_comes_twice(
    zone: Callable[[str], None], place: str, text: str, words: tuple[str, str]
) -> None:
    """Ensures that a time that exists twice is refused, with both offsets."""
    zone(place)
    with pytest.raises(CliError, match="exists twice") as failed:
        parse_local_time(text)
    assert all(word in str(failed.value) for word in words)


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-02-30 10:00", "10:00", "0001-01-01", "2027-13-01"])
def test_what_is_no_moment(zone: Callable[[str], None], text: str) -> None:
    """Ensures that what is no moment is bad input, with an example of one."""
    zone("Europe/Berlin")
    with pytest.raises(CliError, match="is not a time: write"):
        parse_local_time(text)
