"""The one way in which commands print text: whatever is in it, it stays on its line and moves no cursor.

What they show comes from control planes, Helm, events of Kubernetes, and from what people wrote.
"""

import json
from typing import Any, TextIO

from contracts.printable import escape, escape_json


def print_line(text: str = "", *, file: TextIO | None = None, flush: bool = False) -> None:
    """Print one line on standard output, or to `file`."""
    print(escape(text), file=file, flush=flush)


def print_json(content: Any, *, file: TextIO | None = None) -> None:
    """Print one JSON document on standard output, or to `file`."""
    print(escape_json(json.dumps(content, indent=2, ensure_ascii=False)), file=file)
