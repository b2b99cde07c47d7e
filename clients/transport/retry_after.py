"""The delay that an answer requests, whatever header and format its system uses for it."""

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

#: Maximum delay that we accept: a wrong clock or number must not stop an environment for days.
MAX_RETRY_AFTER = timedelta(hours=1)
#: Headers that request a delay: of the standard, Okta, GitHub and others.
_DELAY_HEADERS = ("Retry-After", "X-Rate-Limit-Reset", "X-RateLimit-Reset")
#: A delay as a number: short enough for a float, and never negative.
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
#: A larger number is not a number of seconds (31 years) but a Unix timestamp: September 2001.
_EARLIEST_MOMENT = 1_000_000_000
#: Timestamps and the date of an answer are whole seconds: the limit may end up to a second later.
_ROUNDING = timedelta(seconds=1)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return the delay that an answer requests, at most `MAX_RETRY_AFTER`; None without one.

    `Retry-After` is a number of seconds or a date (RFC 9110, 10.2.3). Some products put a Unix timestamp
    there, in seconds or milliseconds, or use a header of their own next to their rate limit counters. A
    point in time counts from the answer's own `Date`, so that a wrong clock on either side does not matter.
    """
    now = _date(headers.get("Date", "")) or datetime.now(UTC)
    for name in _DELAY_HEADERS:
        if (delay := _delay(headers.get(name, "").strip(), now)) is not None:
            return min(max(timedelta(0), delay), MAX_RETRY_AFTER)
    return None


def _delay(value: str, now: datetime) -> timedelta | None:
    if _NUMBER.fullmatch(value):
        seconds = float(value)
        if seconds < _EARLIEST_MOMENT:
            return timedelta(seconds=seconds)
        if seconds >= _EARLIEST_MOMENT * 1000:
            seconds /= 1000
        wait = min(seconds - now.timestamp(), MAX_RETRY_AFTER.total_seconds())
        return timedelta(seconds=wait) + _ROUNDING if wait > 0 else timedelta(0)
    moment = _date(value)
    return moment - now if moment else None


def _date(value: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # "-0000" means UTC, from a sender that does not give its time zone (RFC 5322, 3.3).
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
