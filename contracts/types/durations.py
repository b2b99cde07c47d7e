"""Lengths of time as people write them: "90m", "8h", "1d 12h"."""

import re
from datetime import timedelta

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PART = re.compile(r"(\d{1,6})\s*([wdhms])")
_WHOLE = re.compile(r"\s*(\d{1,6}\s*[wdhms]\s*)+")

#: ISO 8601, as in JSON: weeks, or days and a time. Years and months are not supported, because their length
#: varies.
_ISO = re.compile(
    r"P(?=[\dT])(?:(?P<weeks>\d{1,6})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,6}(?:\.\d{1,6})?)S)?)?"
)

DURATION_FORM = 'a number and a unit, such as "90m", "8h", "3d" or "1d 12h"'


def parse_duration(text: str) -> timedelta:
    """Return the duration in `text`, also in ISO 8601 ("PT8H"); raise ValueError if it has none."""
    if found := _ISO.fullmatch(text.strip().upper()):
        return timedelta(**{unit: float(count) for unit, count in found.groupdict(default="0").items()})
    if not _WHOLE.fullmatch(text.lower()):
        raise ValueError(f'"{text}" is not a length of time: write {DURATION_FORM}')
    parts = _PART.findall(text.lower())
    return sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())


def format_duration(length: timedelta) -> str:
    """Return the two largest units of `length`, in the form that `parse_duration` reads.

    Examples: "1d 12h", "8h", "45s".
    """
    seconds = max(0, round(length.total_seconds()))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
