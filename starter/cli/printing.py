"""The one way in which commands print text: whatever is in it, it stays on its line and moves no cursor.

What they show comes from control planes, Helm, events of Kubernetes, and from what people wrote. Moments that
the API says in UTC are shown in the zone of the person who reads them.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any, TextIO

from contracts.printable_text import escape, escape_json
from starter.cli.streams import for_stream

_IN_UTC = re.compile(r"\b(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC\b")


def print_line(text: str = "", *, file: TextIO | None = None, flush: bool = False) -> None:
    """Print one line for people on standard output, or to `file`."""
    print(escape(in_local_time(text)), file=file, flush=flush)


def print_json(content: Any, *, file: TextIO | None = None) -> None:
    """Print one JSON document on standard output, or to `file`."""
    print(for_stream(escape_json(json.dumps(content, indent=2, ensure_ascii=False)), file), file=file)


def print_json_line(document: str) -> None:
    """Print a JSON document that is one line on standard output, at once."""
    print(for_stream(escape_json(document)), flush=True)


def print_yaml(content: Any) -> None:
    """Print one YAML document on standard output."""
    import yaml

    # Dumped so, it holds no line break and no control character but its own.
    print(yaml.safe_dump(content, sort_keys=False), end="")


def in_local_time(text: str) -> str:
    """The text with its moments as `clock` has them: "Thu 2030-01-31 18:00 CET"."""
    return _IN_UTC.sub(lambda found: _local(found[1]) or found[0], text)


def _local(moment: str) -> str:
    try:
        return clock(datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return ""


def clock(when: datetime | None) -> str:
    """A moment in the zone of whoever reads it: "Thu 2030-01-31 18:00 CET"."""
    return when.astimezone().strftime("%a %Y-%m-%d %H:%M %Z") if when else ""
