"""The delay that an answer asks for, in all the forms that HTTP allows."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from clients.transport.retry_after import retry_after


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("0", timedelta(0)),
        ("7", timedelta(seconds=7)),
        (" 120 ", timedelta(minutes=2)),
        # In the past: at once, and never a negative delay.
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta(0)),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", timedelta(0)),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", timedelta(seconds=1.5)),
        ("-1700000000", None),
        ("1e9", None),
        ("0x10", None),
        # Longer than is obeyed.
        ("86400", timedelta(hours=1)),
        ("9" * 18, timedelta(hours=1)),
        # The moment instead of the delay, in seconds and in milliseconds: long ago.
        ("1700000000", timedelta(0)),
        ("1700000000000", timedelta(0)),
    ],
)
def test_delay_is_read_or_taken_for_none(value: str, delay: timedelta | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": value})) == delay


def test_answer_without_the_header_asks_for_no_delay() -> None:
    assert retry_after({}) is None


def test_header_is_found_whatever_its_case() -> None:
    assert retry_after(httpx.Headers({"retry-after": "3"})) == timedelta(seconds=3)


def test_delay_until_a_moment_is_counted_from_now() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)
    delay = retry_after({"Retry-After": format_datetime(moment, usegmt=True)})
    assert delay is not None
    assert timedelta(seconds=85) < delay <= timedelta(seconds=90)


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 21 Oct 2015 07:28:00 -0000",  # a moment without a time zone
        "Wed, 21 Oct 2015 07:28:00",
        "²",  # a digit, and no number
        "9" * 20,  # more seconds than a timedelta holds
    ],
)
def test_odd_delay_is_no_reason_to_fail(value: str) -> None:
    retry_after({"Retry-After": value})


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "X-Rate-Limit-Reset", "X-RateLimit-Reset"])
@pytest.mark.parametrize("factor", [1, 1000])
def test_moment_since_1970_is_counted_from_now(name: str, factor: int) -> None:
    value = int((time.time() + 90) * factor)
    delay = retry_after(httpx.Headers({name: str(value)}))
    assert delay is not None
    assert timedelta(seconds=30) < delay <= timedelta(seconds=91)


@pytest.mark.parametrize("skew", [timedelta(hours=-3), timedelta(hours=3)])
def test_moment_is_counted_from_the_date_of_the_answer(skew: timedelta) -> None:
    """Ensures that a wrong clock of the server, or of this machine, does not change the delay."""
    there = (datetime.now(UTC) + skew).replace(microsecond=0)
    date = {"Date": format_datetime(there, usegmt=True)}
    reset = {"X-Rate-Limit-Reset": str(int(there.timestamp()) + 42)}
    assert retry_after(httpx.Headers({**date, **reset})) == timedelta(seconds=43)
    moment = {"Retry-After": format_datetime(there + timedelta(seconds=42), usegmt=True)}
    assert retry_after(httpx.Headers({**date, **moment})) == timedelta(seconds=42)


def test_moment_in_days_is_not_waited_for() -> None:
    assert retry_after({"Retry-After": str(int(time.time()) + 7 * 86400)}) == timedelta(hours=1)


def test_header_of_the_standard_wins_unless_it_is_garbage() -> None:
    headers = {"Retry-After": "7", "X-Rate-Limit-Reset": "9"}
    assert retry_after(headers) == timedelta(seconds=7)
    assert retry_after({**headers, "Retry-After": "soon"}) == timedelta(seconds=9)
