"""Whether all ends are frozen: that is so while the schedule of the expiry sweep is paused."""

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.environment_runs import CALL_TIMEOUT
from contracts.sweeps.expiry import SWEEP_SCHEDULE


async def freeze_reason(temporal: Client) -> str:
    """Return who has frozen all ends and why, or ""."""
    try:
        schedule = await temporal.get_schedule_handle(SWEEP_SCHEDULE).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return ""
        raise
    state = schedule.schedule.state
    return (state.note or "the schedule is paused") if state.paused else ""
