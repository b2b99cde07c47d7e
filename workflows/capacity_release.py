"""Gives the place of a life on its host back, or its CPU and memory while it sleeps."""

from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from contracts.capacity.models import (
        CAPACITY_ID,
        SIGNAL_RELEASE,
        SIGNAL_SLEEP,
        CapacitySleepInput,
        ReleaseInput,
    )
    from contracts.types.naming import OwnerMark


async def release_capacity(mark: OwnerMark) -> None:
    """Signal the capacity workflow; if the signal fails, the capacity audit finds the life over."""
    await _signal(SIGNAL_RELEASE, ReleaseInput(name=mark.name, life=mark.life))


async def release_while_asleep(mark: OwnerMark) -> None:
    """Give CPU and memory back; if the signal fails, the capacity audit finds the life asleep."""
    await _signal(SIGNAL_SLEEP, CapacitySleepInput(name=mark.name, life=mark.life))


async def _signal(signal: str, input: ReleaseInput | CapacitySleepInput) -> None:
    with suppress(FailureError):
        await workflow.get_external_workflow_handle(CAPACITY_ID).signal(signal, input)
