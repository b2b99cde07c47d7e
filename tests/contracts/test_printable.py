"""Text for people: what is refused where it comes in, and how it is shown where it came in all the same."""

import json
import unicodedata

import pytest

from contracts.types.printable_text import ensure_printable, escape, escape_json

FORGED = [
    ("\x1b[2K\rall is well", r"\x1b[2K\rall is well", "U+001B"),
    ("first\nsecond", r"first\nsecond", "a line break"),
    ("a\r\nb", r"a\r\nb", "a line break"),
    ("a\u2028b", r"a\u2028b", "a line break"),
    ("tab\there", r"tab\there", "U+0009"),
    ("\x9b31mred", r"\x9b31mred", "U+009B"),
    ("del\x7f", r"del\x7f", "U+007F"),
    ("\u202egnp.exe", r"\u202egnp.exe", "U+202E"),
    ("\u2066a\u2069", r"\u2066a\u2069", "U+2066"),
    ("half \ud800", r"half \ud800", "U+D800"),
    ("nul\0", r"nul\x00", "U+0000"),
]
HARMLESS = [
    "",
    "plain",
    "Zoë 数据 עברית العربية",
    "\U0001f468\u200d\U0001f469",
    "C:\\n",
    "1 €",
]


@pytest.mark.parametrize(("text", "shown", "named"), FORGED)
def test_what_could_forge_a_line_is_refused_and_shown_escaped(text: str, shown: str, named: str) -> None:
    with pytest.raises(ValueError, match="holds") as refused:
        ensure_printable(text)
    assert named in str(refused.value)
    assert escape(text) == shown
    assert json.loads(escape_json(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert ensure_printable(text) == escape(text) == escape_json(text) == text


def test_no_character_that_moves_a_cursor_is_left() -> None:
    """Ensures it of every character that there is, by its category and not by our list."""
    everything = "".join(map(chr, range(0x110000)))
    left = {unicodedata.category(one) for one in escape(everything)}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    assert not {one for one in escape(everything) if unicodedata.bidirectional(one) in _OVERRIDES}


_OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
