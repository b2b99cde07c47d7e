"""Size limits for what a run carries, so that it always fits into Temporal's limits.

Temporal refuses a payload of 2 MB (`limit.blobSize.error`) and ends a run whose history has 50 MB
(`limit.historySize.error`); such a run executes no more code. With the limits here, an environment's whole
record stays below 1.2 MB. The record is carried to the next run and is the result of the last run.
"""

import json
from collections.abc import Sequence

from contracts.templates.template import Template

#: For a template as JSON. A run's argument and its record each contain it once.
MAX_TEMPLATE_BYTES = 256 * 1024
#: For one text of the record, such as a cause in another system's words.
MAX_TEXT_BYTES = 1000
#: For a shorter text, such as an actor or the name of a resource.
MAX_NAME_BYTES = 300
#: For the lines of what an inspection has found in one system.
MAX_LINES = 50
#: For the extensions of one environment, by all users: the record keeps each of them.
MAX_EXTENSIONS = 500
#: People of one environment besides its owner. A whole team has access through the environment's team.
MAX_COLLABORATORS = 20
#: Changes of access that wait for a system that does not answer. A removal always gets its place.
MAX_PENDING_ACCESS = 60

_CUT = "…"


def template_size(template: Template) -> int:
    """Return the number of bytes that the template takes in a payload."""
    content = template.model_dump(mode="json")
    return len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


def ensure_fits(template: Template) -> None:
    """Return if the template is small enough; raise ValueError with its size and the limit."""
    size = template_size(template)
    if size > MAX_TEMPLATE_BYTES:
        raise ValueError(
            f"the template takes {-(-size // 1024)} KiB, most of it values: at most "
            f"{MAX_TEMPLATE_BYTES // 1024} KiB, since every history of an environment carries it"
        )


def truncate(text: str, most: int = MAX_TEXT_BYTES) -> str:
    """Return the text, or as much of its beginning as fits into `most` bytes."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= most:
        return text
    return encoded[: most - len(_CUT.encode())].decode(errors="ignore") + _CUT


def truncate_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the first `MAX_LINES` lines, each cut, and a line with the number of the others."""
    kept = tuple(truncate(line, MAX_NAME_BYTES) for line in lines[:MAX_LINES])
    more = len(lines) - len(kept)
    return (*kept, f"and {more} more") if more > 0 else kept
