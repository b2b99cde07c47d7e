"""Ensures that what a run carries along fits into what Temporal takes, whatever is in it."""

import pytest

from contracts.environment.payload_limits import (
    MAX_LINES,
    MAX_TEMPLATE_BYTES,
    ensure_fits,
    template_size,
    truncate,
    truncate_lines,
)
from tests.workflows.conftest import a_start


@pytest.mark.parametrize("character", ["a", "ä", "€", "🙂"])
@pytest.mark.parametrize("length", [0, 24, 25, 26, 500])
def test_a_text_is_cut_by_its_bytes(character: str, length: int) -> None:
    text = character * length
    short = truncate(text, 100)
    assert len(short.encode()) <= 100
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))
    assert (short == text) == (len(text.encode()) <= 100)


def test_a_lone_surrogate_does_not_stop_a_run() -> None:
    assert truncate("\ud800", 100) == "\ud800"
    assert truncate("\ud800" * 200, 100).endswith("…")


@pytest.mark.parametrize("count", [0, 1, MAX_LINES, MAX_LINES + 1, 10_000])
def test_of_many_lines_the_first_and_how_many_more(count: int) -> None:
    lines = truncate_lines([f"volume-{number}" for number in range(count)])
    assert len(lines) <= MAX_LINES + 1
    if count > MAX_LINES:
        assert lines[-1] == f"and {count - MAX_LINES} more"
    else:
        assert len(lines) == count


def test_a_template_that_is_exactly_as_large_as_it_may_be() -> None:
    template = a_start("a").environment.template
    room = MAX_TEMPLATE_BYTES - template_size(template.model_copy(update={"values": {"a": ""}}))
    fits = template.model_copy(update={"values": {"a": "x" * room}})
    ensure_fits(fits)
    with pytest.raises(ValueError, match="takes 257 KiB, most of it values: at most 256 KiB"):
        ensure_fits(template.model_copy(update={"values": {"a": "x" * (room + 1)}}))
    ensure_fits(template.model_copy(update={"values": {"a": "€" * (room // 3)}}))
    with pytest.raises(ValueError, match="at most 256 KiB"):
        ensure_fits(template.model_copy(update={"values": {"a": "€" * (room // 3 + 1)}}))
