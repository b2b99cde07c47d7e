"""The table of warm pools, as a person reads it."""

import pytest

from starter.cli.commands.capacity import pool_row
from starter.cli.views.capacity import PoolView


@pytest.mark.parametrize(
    ("fields", "last"),
    [
        ({}, ""),
        ({"problem": "No such image."}, "the last one failed: No such image."),
        ({"problem": "No such image.", "has_stopped": True}, "stopped: No such image."),
    ],
)
def test_a_row_says_how_full_a_pool_is_and_what_is_wrong(fields: dict[str, str], last: str) -> None:
    pool = PoolView(
        template="small",
        hosts=("one",),
        ready=2,
        making=1,
        wanted=3,
        policy="3 ready",
        **fields,  # type: ignore[arg-type]
    )
    assert pool_row(pool) == ["small", "2", "1", "3", "3 ready", last]
