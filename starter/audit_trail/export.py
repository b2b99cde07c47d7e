"""The trail as CSV, for spreadsheets, and as JSON lines, for programs."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime

from starter.audit_trail.entries import TrailEntry

COLUMNS = ("at", "environment", "life", "owner", "team", "actor", "verb", "action", "result")
#: With one of these at its start, a cell is a formula for a spreadsheet, which would compute it.
#: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")


def to_csv(entries: Iterable[TrailEntry]) -> str:
    """Return the lines as CSV (RFC 4180), in which no cell is a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows([guard_cell(cell) for cell in _cells(entry).values()] for entry in entries)
    return text.getvalue()


def to_json_lines(entries: Iterable[TrailEntry]) -> str:
    """Return the lines as JSON documents, one on each line."""
    return "".join(f"{json.dumps(_cells(entry))}\n" for entry in entries)


def guard_cell(text: str) -> str:
    """Return the text with an apostrophe before what a spreadsheet would take for a formula."""
    is_formula = text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS)
    return f"'{text}" if is_formula else text


def iso_exact(moment: datetime) -> str:
    """Return the time in UTC with its microseconds, in which lines of the trail differ."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _cells(entry: TrailEntry) -> dict[str, str]:
    cells = asdict(entry) | {
        "at": iso_exact(entry.at),
        "environment": entry.name,
        "verb": entry.verb.value,
    }
    return {column: str(cells[column]) for column in COLUMNS}
