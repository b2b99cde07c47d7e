"""Labels: their form, and how they are selected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.temporal.search_attributes import MAX_VALUE_BYTES, value_size
from contracts.types.labels import (
    MAX_LABELS,
    are_selected,
    ensure_selector,
    index_of,
    labels_of,
    parse_label,
)

KEYS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?", fullmatch=True)
VALUES = st.from_regex(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", fullmatch=True)


@pytest.mark.slow
@given(st.dictionaries(KEYS, VALUES, max_size=MAX_LABELS))
def test_labels_return_from_their_index(labels: dict[str, str]) -> None:
    """Ensures that the search attribute has all of them, and has room for the longest ones."""
    index = index_of(labels)
    assert labels_of(index) == labels
    assert value_size(index) <= MAX_VALUE_BYTES
    assert are_selected(labels, index)


def test_the_longest_labels_fit() -> None:
    labels = {f"{number}{'k' * 62}": "v" * 63 for number in range(MAX_LABELS)}
    assert value_size(index_of(labels)) <= MAX_VALUE_BYTES


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ((), True),
        (("a",), True),
        (("a=1",), True),
        (("a=1", "b"), True),
        (("b=",), True),
        (("a=2",), False),
        (("a=",), False),
        (("a", "c"), False),
    ],
)
def test_selectors(selectors: tuple[str, ...], expected: bool) -> None:
    assert are_selected({"a": "1", "b": ""}, selectors) is expected


@pytest.mark.parametrize(
    "text", ["a", "=b", "-a=b", "a=b c", "a=b'", "a=" + "x" * 64, "x" * 64 + "=b", "ä=b", "a\n=b"]
)
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(ValueError, match="label"):
        parse_label(text)


def test_a_key_selects_every_value() -> None:
    ensure_selector("course")
    with pytest.raises(ValueError, match="label"):
        ensure_selector("course'")
