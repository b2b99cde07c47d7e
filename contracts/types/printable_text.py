"""Text that is shown to people: which characters it may contain, and how others are shown.

A control character moves a terminal's cursor, a line break forges a line, a bidirectional override shows text
in another order, and a lone surrogate cannot be written as UTF-8.
"""

import re

#: C0 and C1 control characters, line and paragraph separators, bidirectional embeddings, overrides and
#: isolates, and lone surrogates. Joiners and marks are allowed, because emoji and many scripts need them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def ensure_printable(text: str) -> str:
    """Return the text; raise ValueError if a character must not be shown unchanged.

    The error names the first such character.
    """
    if found := _UNPRINTABLE.search(text):
        what = "a line break" if found[0] in "\r\n\u2028\u2029" else f"the character U+{ord(found[0]):04X}"
        raise ValueError(f"holds {what}: write it on one line, without control characters")
    return text


def escape(text: str) -> str:
    r"""Return the text on one line, with escapes such as `\x1b` for unprintable characters."""
    return _UNPRINTABLE.sub(lambda found: _SHORT.get(found[0]) or _in_digits(found[0]), text)


def escape_json(document: str) -> str:
    """Return an equal JSON document in which unprintable characters are escaped.

    Its own line breaks and tabs stay.
    """
    return _UNPRINTABLE.sub(
        lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", document
    )


def _in_digits(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}"
