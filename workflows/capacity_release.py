"""Gives the place of a life on its host back."""

from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from contracts.capacity.models import CAPACITY_ID, SIGNAL_RELEASE, ReleaseInput
    from contracts.types.naming import OwnerMark


async def release_capacity(mark: OwnerMark) -> None:
    """Signal the capacity workflow; if the signal fails, the capacity audit finds the life over."""
    gone = ReleaseInput(name=mark.name, life=mark.life)
    with suppress(FailureError):
        await workflow.get_external_workflow_handle(CAPACITY_ID).signal(SIGNAL_RELEASE, gone)
