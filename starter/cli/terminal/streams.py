"""Adapts standard output and error: they can be closed, or have an encoding that lacks characters."""

import codecs
import io
import json
import os
import sys
import unicodedata
from typing import TextIO

_REPLACE = "moorage.simpler"
#: Replacements for our symbols in an encoding that lacks them.
_MARKS = {"·": ".", "●": "*", "✓": "+", "✗": "x", "↩": "<", "→": "->", "…": "..."}


def prepare_streams() -> None:
    """Make standard output and error accept every text; replace unsupported characters.

    A closed stream is replaced by the null device.
    """
    codecs.register_error(_REPLACE, _replace_unsupported)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for the whole process)
        elif isinstance(stream, io.TextIOWrapper) and _lacks_characters(stream):
            stream.reconfigure(errors=_REPLACE)


def for_stream(document: str, stream: TextIO | None = None) -> str:
    """Return an equivalent JSON document in characters that the stream, or standard output, has."""
    if not _lacks_characters(stream or sys.stdout):
        return document
    # Outside of strings JSON is ASCII, and in strings it has an escape for every character.
    return "".join(each if each.isascii() else json.dumps(each)[1:-1] for each in document)


def _replace_unsupported(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_MARKS.get(each) or _letter(each) for each in text), error.end


def _letter(character: str) -> str:
    """Return the letter without its accents, or a question mark."""
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _lacks_characters(stream: TextIO | None) -> bool:
    """Return whether the encoding of the stream lacks characters."""
    return not (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")
