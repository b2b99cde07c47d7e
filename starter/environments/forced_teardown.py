"""Forced teardown of a life whose workflow was closed from outside, by names and owner marks only.

A new run does it. It uses nothing that the closed run recorded except who the environment was for: it treats
every step as one that may have left resources, and the inspection decides. For a life that Temporal has
forgotten, `starter.environments.forgotten_life` makes up for the record.
"""

from datetime import datetime
from typing import Any

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts import search_attributes
from contracts.environment import EnvironmentStatus, Outcome, Phase, StepState, StepStatus
from contracts.environment_workflow import (
    TASK_QUEUE,
    Answer,
    AnswerKind,
    Carried,
    EnvironmentStart,
    LifecycleTimeouts,
)
from contracts.naming import workflow_id
from contracts.workflow_memo import memo_of
from starter.temporal.errors import CALL_PATIENCE, map_rpc_errors
from worker.codec import DecodeError
from worker.data_converter import converter_at
from workflows.environment import EnvironmentWorkflow
from workflows.steps import steps_of


def forced_start(
    before: EnvironmentStart,
    status: EnvironmentStatus | None,
    who: str,
    *,
    pace: LifecycleTimeouts,
    requested_at: datetime,
) -> EnvironmentStart:
    """Build the start of a run that tears down the remains of the life that `before` started.

    Args:
        before: The start of the run that was closed from outside, or one made up for it.
        status: The last known status of that life, if there is one.
        who: The person who forces the teardown.
        pace: The timeouts of the new run.
        requested_at: The latest time at which that life can have started; older resources are not its own.
    """
    environment = before.environment
    known = status or (before.carried.status if before.carried else None)
    if known is None:
        known = EnvironmentStatus(
            environment=environment,
            phase=Phase.ORPHANED,
            requested_at=requested_at,
            expires_at=requested_at + environment.ttl,
            steps=(),
        )
    steps = tuple(
        StepStatus(step=step.name, system=step.system, state=StepState.DONE, note="may be there")
        for step in steps_of(environment)
    )
    carried = known.model_copy(
        update={
            "phase": Phase.TEARING_DOWN,
            "outcome": Outcome.DELETED,
            "ended_at": None,
            "steps": steps,
            "receipts": {},
            "problem": None,
            "unfinished": (),
            "next_pass_at": None,
            "certificate": None,
        }
    )
    return before.model_copy(
        update={
            "pace": pace,
            "carried": Carried(status=carried),
            "forced_by": who,
            "people_are_checked": True,
        }
    )


async def start_of(client: Client, run_id: str, name: str) -> EnvironmentStart:
    """Return the input of a run from the first event of its history; needs no worker.

    Raises:
        CannotDecode: The input cannot be decrypted, or Moorage did not write it.
    """
    handle = client.get_workflow_handle(workflow_id(name), run_id=run_id)
    with map_rpc_errors():
        events = handle.fetch_history_events(page_size=1, rpc_timeout=CALL_PATIENCE)
        first = await anext(events)
    payloads = first.workflow_execution_started_event_attributes.input.payloads
    converter = converter_at(client, workflow_id(name))
    [start] = await converter.decode(payloads, [EnvironmentStart])
    if not isinstance(start, EnvironmentStart):
        raise DecodeError(f"what environment {name} was started with is not ours")
    return start


async def force_teardown(client: Client, start: EnvironmentStart) -> Answer:
    """Start the run; answer NOTHING_TO_DO if the name has a run, as it can have only one."""
    environment, name = start.environment, start.environment.name
    life = environment.mark.life
    assert start.carried  # noqa: S101  (made by `forced_start`)
    status = start.carried.status
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.OWNER, environment.owner),
        SearchAttributePair(search_attributes.COLLABORATORS, environment.spec.collaborators),
        SearchAttributePair(search_attributes.TEAM, environment.spec.team),
        SearchAttributePair(search_attributes.PHASE, Phase.TEARING_DOWN.value),
        SearchAttributePair(search_attributes.TEMPLATE, environment.template.name),
        SearchAttributePair(search_attributes.HOST, environment.host),
        SearchAttributePair(search_attributes.EXPIRES_AT, status.expires_at),
        SearchAttributePair(search_attributes.DUE_AT, status.term.due_at),
    ]
    try:
        with map_rpc_errors():
            await client.start_workflow(
                EnvironmentWorkflow.run,
                start,
                id=workflow_id(name),
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo=memo_of(start),
                search_attributes=TypedSearchAttributes(attributes),
                static_summary=f"{name}: what is left of it is torn down, for {start.forced_by}"[:200],
                static_details=(
                    f"- owner: {environment.owner} ({environment.spec.team})\n"
                    f"- host cluster: {environment.host}\n"
                    f"- everything of it is named: {environment.derived_name}\n"
                    f"- owner mark: {environment.mark.text}\n\n"
                    "Its own workflow was closed from outside. Never Terminate this one: "
                    "nothing would be taken down."
                ),
                rpc_timeout=CALL_PATIENCE,
            )
    except WorkflowAlreadyStartedError:
        message = f"{name} has a run again, and nothing was started: look at it."
        return Answer(kind=AnswerKind.NOTHING_TO_DO, message=message, life=life)
    return Answer(
        kind=AnswerKind.ACCEPTED,
        message=f"What is left of {name} is being torn down, by its names and the marks of life {life}.",
        life=life,
    )
