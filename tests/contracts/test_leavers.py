"""The brake of the leaver sweep: a directory that lost its people ends no person's access."""

import pytest

from contracts.leaver_rules import LookResult, brake_reason


def people(count: int) -> tuple[str, ...]:
    return tuple(f"p{number}@example.com" for number in range(count))


@pytest.mark.parametrize(
    ("asked", "missing", "unclear", "handled", "reason"),
    [
        (0, 0, 0, 0, ""),
        (10, 0, 10, 0, ""),  # no person is missing, so there is nothing to stop
        (1, 1, 0, 0, "knows none of 1 people"),
        (2, 1, 0, 0, ""),
        (3, 2, 0, 0, "2 of 3 people have left at once"),
        (100, 5, 0, 0, ""),
        (100, 6, 0, 0, "6 of 100 people have left at once, which is more than 5 %"),
        (2000, 100, 0, 0, ""),
        (2000, 101, 0, 0, "101 of 2000"),
        (2000, 2000, 0, 0, "knows none of 2000 people"),
        (100, 1, 5, 0, ""),
        (100, 1, 6, 0, "did not answer about 6 of 100 people"),
        (10, 1, 9, 0, "knows none of 10 people"),
        (10, 1, 0, 9, "knows none of 10 people"),
        (100, 1, 0, 50, ""),
    ],
)
def test_the_brake(asked: int, missing: int, unclear: int, handled: int, reason: str) -> None:
    gone = people(missing)
    look = LookResult(asked=asked, missing=gone, unclear=people(unclear), handled=handled)
    found = brake_reason(look, gone, (), 5)
    assert reason in found
    assert bool(reason) is bool(found)


def test_who_was_confirmed_does_not_count_and_the_others_do() -> None:
    gone = people(10)
    look = LookResult(asked=20, missing=gone)
    assert brake_reason(look, gone, gone, 5) == ""
    assert brake_reason(look, gone, gone[1:], 5) == ""
    assert "2 of 20" in brake_reason(look, gone, gone[2:], 5)


def test_who_is_back_at_the_second_look_does_not_count() -> None:
    gone = people(10)
    assert brake_reason(LookResult(asked=20, missing=gone), gone[:1], (), 5) == ""
