"""Counts orphans: environments whose workflow was closed from outside, and that may have left something."""

from temporalio.client import Client
from temporalio.service import RPCError

from contracts.environment.models import Phase
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW
from contracts.types.naming import name_from_workflow_id
from starter.environments.reader import EnvironmentReader
from starter.temporal.errors import CALL_TIMEOUT
from worker.codec import DecodeError

#: Runs that are looked at, the newest first: one orphan is too many, and each costs a call.
MAX_LOOKED_AT = 100

_CLOSED_FROM_OUTSIDE = "ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut')"


async def count_orphans(client: Client, reader: EnvironmentReader) -> int:
    """Return the number of orphans among the last MAX_LOOKED_AT runs that were closed from outside.

    A name counts by its latest life: once that was torn down by force, or is another one, it is no orphan.

    Raises:
        RPCError, TemporalUnavailable: Temporal does not answer, or refuses the call.
    """
    query = f"WorkflowType = '{ENVIRONMENT_WORKFLOW}' AND {_CLOSED_FROM_OUTSIDE}"
    runs = client.list_workflows(
        query, limit=MAX_LOOKED_AT, page_size=MAX_LOOKED_AT, rpc_timeout=CALL_TIMEOUT
    )
    names = {name_from_workflow_id(run.id) async for run in runs}
    return sum([await _is_orphan(reader, name) for name in names])


async def _is_orphan(reader: EnvironmentReader, name: str) -> bool:
    try:
        snapshot = await reader.read(name)
    except DecodeError:
        return False  # Its key is missing, and it may be anything.
    except RPCError:
        return False  # The retention of the run has just ended.
    return snapshot is not None and snapshot.view.phase is Phase.ORPHANED
