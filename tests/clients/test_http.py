"""The delay that an answer asks for, in all the forms that HTTP allows."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from clients.http import retry_after


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
        ("1.5", None),
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
