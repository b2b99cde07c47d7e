"""How large what a run carries along may be, so that it always fits into what Temporal takes.

Temporal refuses a payload of 2 MB (`limit.blobSize.error`) and ends a run whose history has 50 MB
(`limit.historySize.error`): the last one without another line of code. With the bounds here an environment's
whole record, which goes into the next run and is the result of the last one, stays below 1.2 MB.
"""

import json
from collections.abc import Sequence

from contracts.template import Template

#: Of a template as JSON. A run's argument and its record hold it once each.
MOST_TEMPLATE_BYTES = 256 * 1024
#: Of one text of the record, such as a cause in another system's words.
MOST_TEXT_BYTES = 1000
#: Of a shorter one, such as who did something, or the name of a thing.
MOST_NAME_BYTES = 300
#: Lines of what an inspection has found in one system.
MOST_LINES = 50
#: Extensions of one environment, by whomever: each is remembered.
MOST_EXTENSIONS = 500

_CUT = "…"


def template_bytes(template: Template) -> int:
    """How much of a payload the template takes."""
    content = template.model_dump(mode="json")
    return len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


def ensure_fits(template: Template) -> None:
    """Return if the template is small enough; ValueError says how large it is and may be."""
    size = template_bytes(template)
    if size > MOST_TEMPLATE_BYTES:
        raise ValueError(
            f"the template takes {-(-size // 1024)} KiB, most of it values: at most "
            f"{MOST_TEMPLATE_BYTES // 1024} KiB, since every history of an environment carries it"
        )


def cut(text: str, most: int = MOST_TEXT_BYTES) -> str:
    """The text, or as much of its beginning as fits into so many bytes."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= most:
        return text
    return encoded[: most - len(_CUT.encode())].decode(errors="ignore") + _CUT


def first_of(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines, each cut; of more than `MOST_LINES` the first ones, and how many more there are."""
    kept = tuple(cut(line, MOST_NAME_BYTES) for line in lines[:MOST_LINES])
    more = len(lines) - len(kept)
    return (*kept, f"and {more} more") if more > 0 else kept
