"""Tells the capacity workflow of a place: it is free, its life sleeps, or its standby is ready."""

from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from contracts.capacity.models import (
        CAPACITY_ID,
        SIGNAL_RELEASE,
        SIGNAL_SLEEP,
        SIGNAL_STANDBY,
        CapacitySleepInput,
        ReleaseInput,
        StandbyReport,
    )
    from contracts.environment.payload_limits import truncate
    from contracts.types.models import Frozen
    from contracts.types.naming import OwnerMark


async def release_capacity(mark: OwnerMark) -> None:
    """Signal the capacity workflow; if the signal fails, the capacity audit finds the life over."""
    await _signal(SIGNAL_RELEASE, ReleaseInput(name=mark.name, life=mark.life))


async def release_while_asleep(mark: OwnerMark) -> None:
    """Give CPU and memory back; if the signal fails, the capacity audit finds the life asleep."""
    await _signal(SIGNAL_SLEEP, CapacitySleepInput(name=mark.name, life=mark.life))


async def report_standby(mark: OwnerMark, *, problem: str = "") -> None:
    """Say that a standby is ready, or why it could not be made; the capacity audit finds it as well."""
    await _signal(SIGNAL_STANDBY, StandbyReport(name=mark.name, life=mark.life, problem=truncate(problem)))


async def _signal(signal: str, input: Frozen) -> None:
    with suppress(FailureError):
        await workflow.get_external_workflow_handle(CAPACITY_ID).signal(signal, input)
