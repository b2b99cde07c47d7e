"""Prints the text of all commands: whatever it contains, it stays on its line and does not move the cursor.

The text comes from control planes, Helm, events of Kubernetes, and users. Times that the API gives in UTC are
shown in the zone of the user who reads them.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any, TextIO

from contracts.types.printable_text import escape, escape_json
from starter.cli.terminal.streams import for_stream

_IN_UTC = re.compile(r"\b(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC\b")


def print_line(text: str = "", *, file: TextIO | None = None, flush: bool = False) -> None:
    """Print one line for users on standard output, or to `file`."""
    print(escape(in_local_time(text)), file=file, flush=flush)


def print_json(content: Any, *, file: TextIO | None = None) -> None:
    """Print one JSON document on standard output, or to `file`."""
    print(for_stream(escape_json(json.dumps(content, indent=2, ensure_ascii=False)), file), file=file)


def print_json_line(content: Any) -> None:
    """Print a JSON document of one line on standard output, and flush it."""
    document = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    print(for_stream(escape_json(document)), flush=True)


def print_yaml(content: Any) -> None:
    """Print one YAML document on standard output."""
    from clients.safe_yaml import write_yaml

    # The output in ASCII has no line break and no control character except its own.
    print(write_yaml(content, ascii_only=True), end="")


def in_local_time(text: str) -> str:
    """Replace the times in the text by the format of `local_time`: "Thu 2030-01-31 18:00 CET"."""
    return _IN_UTC.sub(lambda found: _local(found[1]) or found[0], text)


def _local(relative_time: str) -> str:
    try:
        return local_time(datetime.strptime(relative_time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return ""


def local_time(when: datetime | None) -> str:
    """Format a time in the zone of the user: "Thu 2030-01-31 18:00 CET"."""
    return when.astimezone().strftime("%a %Y-%m-%d %H:%M %Z") if when else ""
