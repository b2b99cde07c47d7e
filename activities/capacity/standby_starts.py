"""Starts standbys for the capacity workflow, which keeps the warm pools."""

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts.activities.fleet import PoolActivities
from contracts.environment.models import Phase
from contracts.environment_workflow import EnvironmentStart, LifecycleTimeouts
from contracts.standby import STANDBY_WORKFLOW, StartStandbyInput
from contracts.temporal import search_attributes
from contracts.temporal.workflow_memo import POOL, build_memo
from contracts.types.labels import index_of
from contracts.types.naming import workflow_id

#: One call to Temporal: milliseconds, unless there is a fault.
CALL_TIMEOUT = timedelta(seconds=10)


class Pools(PoolActivities):
    """Starts standbys through a Temporal client, with the timeouts of the settings."""

    def __init__(self, temporal: Client, timeouts: LifecycleTimeouts) -> None:
        self._temporal = temporal
        self._timeouts = timeouts

    @activity.defn(name="pools.start")
    async def start(self, input: StartStandbyInput) -> None:
        """Start it; one that was started before is not started again, also when it is over."""
        try:
            await self._temporal.start_workflow(
                STANDBY_WORKFLOW,
                input.start.model_copy(update={"timeouts": self._timeouts}),
                task_queue=input.task_queue,
                rpc_timeout=CALL_TIMEOUT,
                **_options(input.start, input.pool),
            )
        except WorkflowAlreadyStartedError:
            return


def _options(start: EnvironmentStart, pool: str) -> dict[str, Any]:
    environment = start.environment
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.PHASE, Phase.PROVISIONING.value),
        SearchAttributePair(search_attributes.TEMPLATE, environment.template.name),
        SearchAttributePair(search_attributes.HOST, environment.host),
        SearchAttributePair(search_attributes.EXPIRES_AT, datetime.now(UTC) + environment.ttl),
    ]
    if environment.spec.labels:
        # A booking finds its standbys by its label.
        attributes.append(SearchAttributePair(search_attributes.LABELS, index_of(environment.spec.labels)))
    return {
        "id": workflow_id(environment.name),
        "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        "memo": {**build_memo(start), POOL: pool},
        "search_attributes": TypedSearchAttributes(attributes),
        "static_summary": f"{environment.name}: made ahead from {environment.template.name}",
        "static_details": f"- host cluster: {environment.host}\n- owner mark: {environment.mark.text}\n\n"
        "To end it: Cancel here. Never Terminate: nothing would be taken down.",
    }
