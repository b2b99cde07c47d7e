"""The survey of a host's capacity: what its cluster reports, below what the settings say."""

from collections.abc import Sequence

from activities import activity_context
from activities.parts.quantities import capacity_of
from clients.errors import ClientError
from clients.host.models import NodeCapacity
from clients.host.protocol import Host
from contracts.capacity.models import HostCapacity, Limits

#: Pauses before each retry of a failed host, in seconds. There are few, because the next audit asks it
#: anyway.
RETRY_DELAYS = (0.2, 1.0)


async def survey_host(host: Host, configured: Limits) -> HostCapacity:
    """Return the capacity of a host, by the settings and else by what its cluster reports."""
    is_complete = configured.cpu is not None and configured.memory is not None
    try:
        nodes = await _with_retries(host)
        reported, remark = Limits(), ""
        if nodes is not None:
            reported, remark = capacity_of(nodes)
    except ClientError as error:
        remark = f"it does not say what it has: {error.detail}"
        return HostCapacity(
            name=host.name,
            total=configured,
            known=is_complete,
            remark=remark[: activity_context.MAX_TEXT],
        )
    return HostCapacity(
        name=host.name,
        total=configured.over(reported),
        remark=remark[: activity_context.MAX_TEXT],
    )


async def _with_retries(host: Host) -> Sequence[NodeCapacity] | None:
    """Return what the host's nodes have; retry a few times after a failure that may pass."""
    for pause in RETRY_DELAYS:
        try:
            return await host.allocatable()
        except ClientError as error:
            if not error.retryable:
                raise
            await activity_context.sleep(pause)
    return await host.allocatable()
