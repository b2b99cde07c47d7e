"""Environments that are ready without having been provisioned: started with a record of an earlier run."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from contracts.environment.models import EnvironmentStatus, Phase, StepStatus
from contracts.environment_workflow import CarriedState, EnvironmentStart
from contracts.temporal import search_attributes
from contracts.temporal.workflow_memo import build_memo
from contracts.types.naming import workflow_id
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.steps import steps_of


def ready_status(start: EnvironmentStart, ends_at: datetime, **more: Any) -> EnvironmentStatus:
    """The status of an environment that is ready; none of its steps has left anything to undo."""
    environment = start.environment
    began = ends_at - environment.ttl
    return EnvironmentStatus(
        **{
            "environment": environment,
            "phase": Phase.READY,
            "requested_at": began,
            "usable_at": began,
            "ready_at": began,
            "expires_at": ends_at,
            "steps": tuple(StepStatus(step=step.name, system=step.system) for step in steps_of(environment)),
            **more,
        }
    )


async def seed(
    client: Client,
    start: EnvironmentStart,
    status: EnvironmentStatus,
    *,
    task_queue: str,
    attributes: Mapping[Any, Any] | None = None,
) -> WorkflowHandle[EnvironmentWorkflow, EnvironmentStatus]:
    """Start its workflow in that state, findable as it would be; `attributes` are found instead."""
    environment = start.environment
    found: dict[Any, Any] = {
        search_attributes.OWNER: environment.owner,
        search_attributes.COLLABORATORS: environment.spec.collaborators,
        search_attributes.TEAM: environment.spec.team,
        search_attributes.PHASE: status.phase.value,
        search_attributes.TEMPLATE: environment.template.name,
        search_attributes.HOST: environment.host,
        search_attributes.EXPIRES_AT: status.expires_at,
        search_attributes.DUE_AT: status.term.due_at,
        **(attributes or {}),
    }
    return await client.start_workflow(
        EnvironmentWorkflow.run,
        start.model_copy(update={"carried": CarriedState(status=status)}),
        id=workflow_id(environment.name),
        task_queue=task_queue,
        memo=build_memo(start),
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(key, value) for key, value in found.items() if value is not None]
        ),
    )
