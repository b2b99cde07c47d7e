"""Rollouts: the upgrade of all environments of one template, in waves, for the platform team.

The catalogue is here and not in the worker. So the environments are chosen here, and the workflow gets them.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowQueryFailedError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from contracts.environment.models import EnvironmentStatus, Phase
from contracts.environment.payload_limits import MAX_NAME_BYTES, truncate
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW, TASK_QUEUE
from contracts.errors import Refusal, RefusalReason
from contracts.rollout import (
    DEFAULT_STOP_AFTER,
    DEFAULT_WAVE,
    ROLLOUT_WORKFLOW,
    RolloutInput,
    RolloutItem,
    RolloutLine,
    RolloutOutcome,
    RolloutStatus,
    StopInput,
    fit,
    rollout_id,
    template_from_rollout_id,
    waiting_lines,
)
from contracts.templates.template import Template
from contracts.temporal import search_attributes
from contracts.types.models import Frozen
from contracts.types.naming import name_from_workflow_id
from starter.auth.policy import Principal
from starter.catalogue.loader import Catalogue, offered_templates, unknown_template
from starter.config_files.reloading import Reloaded
from starter.environments.reader import EnvironmentReader
from starter.environments.template_change import TemplateChanges
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.errors import CALL_TIMEOUT, NO_WORKER, QUERY_TIMEOUT, map_rpc_errors
from starter.temporal.updates import Refused
from workflows.rollout import RolloutWorkflow

#: Environments that are read at once: enough to be fast, too few to slow other callers.
MAX_CONCURRENT_READS = 10
_PAGE_SIZE = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RequestedRollout:
    """The rollout that a caller asks for. With `version`, of that version of the template or not at all."""

    template: str
    wave: int = DEFAULT_WAVE
    stop_after: int = DEFAULT_STOP_AFTER
    version: int | None = None


class RolloutView(Frozen):
    """A rollout. `result` is None if there was none, and while no worker answers.

    `joined`: it ran before this request, and has its own options.
    """

    over: bool
    joined: bool = False
    result: RolloutStatus | None = None
    message: str


class Rollouts:
    """Starts and stops rollouts, and reads how they stand."""

    def __init__(
        self,
        client: Client,
        catalogue: Reloaded[Catalogue],
        reader: EnvironmentReader,
        changes: TemplateChanges,
        heartbeat_timeout: timedelta,
    ) -> None:
        self._client = client
        self._catalogue = catalogue
        self._reader = reader
        self._changes = changes
        self._heartbeat_timeout = heartbeat_timeout

    async def start(
        self, requested: RequestedRollout, principal: Principal, *, dry_run: bool = False
    ) -> RolloutView:
        """Start a rollout, join the running one of the template, or say what would be upgraded.

        Raises:
            InvalidRequest: There is no such template, or it has another version.
        """
        offered = offered_templates(self._catalogue.current(), principal)
        template = next((one for one in offered if one.name == requested.template), None)
        if template is None:
            message = unknown_template(requested.template, offered)
            raise InvalidRequest([FieldProblem(field="template", message=message)])
        if requested.version not in (None, template.version):
            message = (
                f"{template.name} has version {template.version} now, and not {requested.version}: "
                "look at a dry run again"
            )
            raise InvalidRequest([FieldProblem(field="version", message=message)])
        if not dry_run:
            running = await self.read(template.name)
            if not running.over:
                return _joined(running)
        rollout = await self._plan(template, requested, principal)
        if dry_run or not rollout.items:
            status = _planned(rollout, dry_run=dry_run)
            return RolloutView(over=True, result=status, message=status.sentence)
        try:
            with map_rpc_errors():
                handle = await self._client.start_workflow(
                    RolloutWorkflow.run,
                    rollout,
                    id=rollout_id(template.name),
                    task_queue=TASK_QUEUE,
                    static_summary=f"asked for by {principal.email}"[:200],
                    rpc_timeout=CALL_TIMEOUT,
                )
        except WorkflowAlreadyStartedError:
            return _joined(await self.read(template.name))
        _log.info(
            "rollout",
            actor=principal.email,
            template=template.name,
            version=template.version,
            environments=len(rollout.items),
            run_id=handle.result_run_id,
        )
        return await self.read(template.name)

    async def read(self, template: str) -> RolloutView:
        """Return the running rollout of a template, or the last one."""
        handle: WorkflowHandle[RolloutWorkflow, Any] = self._client.get_workflow_handle_for(
            RolloutWorkflow.run, rollout_id(template)
        )
        try:
            with map_rpc_errors():
                run = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError:
            return RolloutView(over=True, message=f"There was no upgrade of all environments of {template}.")
        over = run.status is not WorkflowExecutionStatus.RUNNING
        try:
            result = await handle.query(RolloutWorkflow.status, rpc_timeout=QUERY_TIMEOUT)
        except (RPCError, WorkflowQueryFailedError):
            return RolloutView(over=over, message=f"{NO_WORKER}; the upgrade goes on when one is back.")
        message = result.sentence
        if over and not result.over:
            message = f"{message} It was closed in Temporal before it was through."
        return RolloutView(over=over, result=result, message=message)

    async def running(self) -> list[str]:
        """Return the templates of which a rollout is running. A new one may be missing for a moment."""
        query = f"WorkflowType = '{ROLLOUT_WORKFLOW}' AND ExecutionStatus = 'Running'"
        with map_rpc_errors():
            runs = self._client.list_workflows(query, page_size=_PAGE_SIZE, rpc_timeout=CALL_TIMEOUT)
            return sorted([template_from_rollout_id(run.id) async for run in runs])

    async def stop(self, template: str, principal: Principal) -> RolloutView:
        """Let the running rollout of a template begin no further wave.

        Raises:
            Refused: None is running.
        """
        handle: WorkflowHandle[RolloutWorkflow, Any] = self._client.get_workflow_handle_for(
            RolloutWorkflow.run, rollout_id(template)
        )
        try:
            with map_rpc_errors():
                await handle.signal(
                    RolloutWorkflow.stop, StopInput(actor=principal.email), rpc_timeout=CALL_TIMEOUT
                )
        except RPCError:
            message = f"No upgrade of all environments of {template} is running: nothing to stop"
            raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=message)) from None
        return await self.read(template)

    async def _plan(
        self, template: Template, requested: RequestedRollout, principal: Principal
    ) -> RolloutInput:
        query = (
            f"WorkflowType = '{ENVIRONMENT_WORKFLOW}' AND ExecutionStatus = 'Running' "
            f"AND {search_attributes.TEMPLATE.name} = {search_attributes.quoted(template.name)}"
        )
        with map_rpc_errors():
            runs = self._client.list_workflows(query, page_size=_PAGE_SIZE, rpc_timeout=CALL_TIMEOUT)
            names = sorted([name_from_workflow_id(run.id) async for run in runs])
        gate = asyncio.Semaphore(MAX_CONCURRENT_READS)

        async def plan(name: str) -> RolloutItem | RolloutLine | None:
            async with gate:
                return await self._plan_one(name, template, principal)

        planned = await asyncio.gather(*map(plan, names))
        return fit(
            RolloutInput(
                template=template,
                actor=principal.email,
                wave=requested.wave,
                stop_after=requested.stop_after,
                items=tuple(one for one in planned if isinstance(one, RolloutItem)),
                skipped=tuple(one for one in planned if isinstance(one, RolloutLine)),
                heartbeat_timeout=self._heartbeat_timeout,
            )
        )

    async def _plan_one(
        self, name: str, template: Template, principal: Principal
    ) -> RolloutItem | RolloutLine | None:
        """Return what to upgrade, or why it is not; None if it does not have an older version."""
        snapshot = await self._reader.read(name)
        if snapshot is None or snapshot.ended:
            return None
        status, life = snapshot.status, snapshot.life
        reason = _not_now(status) if status else snapshot.view.remark
        if status:
            before = status.environment
            if before.template.name != template.name or before.template.version >= template.version:
                return None
            if not reason:
                try:
                    after, request = await self._changes.plan_upgrade(before, principal)
                    return RolloutItem(
                        name=name, life=life, parameters=after.spec.parameters, request=request
                    )
                except (InvalidRequest, Refused) as error:
                    reason = str(error)
        return RolloutLine(
            name=name, life=life, outcome=RolloutOutcome.SKIPPED, reason=truncate(reason, MAX_NAME_BYTES)
        )


def _not_now(status: EnvironmentStatus) -> str:
    """Return why an environment cannot be upgraded now, or ""."""
    if status.outcome:
        return "it is being torn down"
    if status.phase is not Phase.READY:
        return f"it is {status.phase.words}: it can be upgraded once it is ready"
    return "its template is being changed already" if status.change else ""


def _planned(rollout: RolloutInput, *, dry_run: bool) -> RolloutStatus:
    return RolloutStatus(
        template=rollout.template.name,
        version=rollout.template.version,
        actor=rollout.actor,
        dry_run=dry_run,
        over=True,
        lines=(*waiting_lines(rollout), *rollout.skipped),
        more=rollout.more,
    )


def _joined(running: RolloutView) -> RolloutView:
    by = f" by {running.result.actor}" if running.result else ""
    message = f"An upgrade{by} is running already, with its own options. {running.message}"
    return running.model_copy(update={"joined": True, "message": message})
