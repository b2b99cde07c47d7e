"""Finds which encryption keys are still used in Temporal, and for what, without decrypting anything."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    WorkflowExecution,
    WorkflowHistoryEventFilterType,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts.booking_workflow import BOOKING_WORKFLOW
from contracts.capacity.models import CAPACITY_ID
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW
from contracts.standby import STANDBY_WORKFLOW
from contracts.sweeps.expiry import SWEEP_SCHEDULE
from contracts.temporal.encryption_metadata import key_id_of
from contracts.types.naming import name_from_workflow_id
from starter.temporal.errors import CALL_TIMEOUT
from worker.codec import EncryptionCodec, KeyMissing

_ENVIRONMENTS = f"WorkflowType IN ('{ENVIRONMENT_WORKFLOW}', '{STANDBY_WORKFLOW}', '{BOOKING_WORKFLOW}')"
PAGE_SIZE = 500
#: Maximum number of runs that are read: more than a large installation has open. Of the closed runs, the
#: newest are read.
MAX_RUNS = 10_000
MAX_ENDED = 2_000
#: Maximum number of environments that are named for one key.
MAX_NAMED = 5


@dataclass(frozen=True)
class Use:
    """What is encrypted with one key, as text, and whether any of it is still running."""

    words: str
    is_open: bool


async def keys_in_use(client: Client) -> Mapping[str, Use]:
    """Return what is encrypted with each key, by key id; raise RPCError if Temporal fails."""
    named: dict[str, list[str]] = defaultdict(list)
    ended: dict[str, int] = defaultdict(int)
    other: dict[str, list[str]] = defaultdict(list)
    async for run in _runs(client, "ExecutionStatus = 'Running'", MAX_RUNS):
        for key in _keys_of_memo(run):
            named[key].append(name_from_workflow_id(run.id))
    async for run in _runs(client, "ExecutionStatus != 'Running'", MAX_ENDED):
        for key in _keys_of_memo(run):
            ended[key] += 1
    for payload in await input_of(client, CAPACITY_ID):
        other[key_id_of(payload)].append("the capacity")
    for payload in await _input_of_schedule(client):
        other[key_id_of(payload)].append("the schedule of the sweep")
    keys = {key for key in {*named, *ended, *other} if key}
    return {
        key: Use("; ".join(_words(named[key], other[key], ended[key])), bool(named[key] or other[key]))
        for key in sorted(keys)
    }


async def input_of(client: Client, workflow_id: str) -> Sequence[Payload]:
    """Return the encrypted input of the latest run of a workflow; empty if there is no run."""
    events = client.get_workflow_handle(workflow_id).fetch_history_events(
        page_size=1, event_filter_type=WorkflowHistoryEventFilterType.ALL_EVENT, rpc_timeout=CALL_TIMEOUT
    )
    try:
        first = await anext(events)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return ()
        raise
    return first.workflow_execution_started_event_attributes.input.payloads


async def ensure_key_for(client: Client, workflow_id: str) -> None:
    """Raise KeyMissing if the input of a workflow needs a key that is not configured any more."""
    codec = client.data_converter.payload_codec
    for payload in await input_of(client, workflow_id):
        key = key_id_of(payload)
        if key and isinstance(codec, EncryptionCodec) and key not in codec.keys.ids:
            raise KeyMissing(
                f'the workflow "{workflow_id}" is encrypted with the key "{key}", which is not there any '
                "more: add that key to MOORAGE_ENCRYPTION__KEYS, after the first one"
            )


async def _runs(client: Client, status: str, most: int) -> AsyncIterator[WorkflowExecution]:
    query = f"{_ENVIRONMENTS} AND {status}"
    async for run in client.list_workflows(query, page_size=PAGE_SIZE, limit=most, rpc_timeout=CALL_TIMEOUT):
        yield run


def _keys_of_memo(run: WorkflowExecution) -> set[str]:
    return {key for payload in run.raw_info.memo.fields.values() if (key := key_id_of(payload))}


async def _input_of_schedule(client: Client) -> Sequence[Payload]:
    try:
        found = await client.get_schedule_handle(SWEEP_SCHEDULE).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return ()
        raise
    action = found.schedule.action
    arguments = action.args if isinstance(action, ScheduleActionStartWorkflow) else ()
    return [argument for argument in arguments if isinstance(argument, Payload)]


def _words(named: Sequence[str], other: Sequence[str], ended: int) -> list[str]:
    words = list(other)
    if named:
        some = ", ".join(sorted(named)[:MAX_NAMED]) + (", …" if len(named) > MAX_NAMED else "")
        words.append(f"{len(named)} open environment{'s' if len(named) > 1 else ''} ({some})")
    if ended:
        words.append(
            f"{ended} ended run{'s, until Temporal drops them' if ended > 1 else ', until Temporal drops it'}"
        )
    return words
