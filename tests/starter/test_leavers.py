"""The result of a leaver sweep that cannot be read: a missing key is no stopped sweep."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import WorkflowExecutionStatus as Status

from starter.expiry.leavers import Leavers
from worker.codec import DecodeError
from worker.settings.groups.expiry import Sweep

RUN = "7d5f2b9e-0000-4000-8000-000000000000"


def leavers(status: Status) -> Leavers:
    async def result() -> Any:
        raise DecodeError("the key is missing")

    async def describe(**_: Any) -> Any:
        return SimpleNamespace(status=status)

    handle = SimpleNamespace(result=result, describe=describe)
    client = SimpleNamespace(get_workflow_handle_for=lambda *_, **__: handle)
    return Leavers(cast("Any", client), Sweep())


async def test_a_completed_sweep_whose_key_is_missing_is_not_taken_for_a_stopped_one() -> None:
    with pytest.raises(DecodeError):
        await leavers(Status.COMPLETED).wait(RUN)


@pytest.mark.parametrize(
    ("status", "how"), [(Status.TERMINATED, "was stopped"), (Status.FAILED, "has failed")]
)
async def test_a_sweep_that_was_not_completed_says_how_it_ended(status: Status, how: str) -> None:
    view = await leavers(status).wait(RUN)
    assert view.over
    assert view.message.startswith(f"The leaver sweep {how}")
