"""The work of a rollout: it asks one environment for its upgrade, and waits for the outcome.

The environment upgrades itself, and goes back by itself. A repeat asks with the same id, so that the
environment answers as before and is not upgraded twice.
"""

import time
from datetime import timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus

from activities import activity_context
from activities.environment_runs import CALL_TIMEOUT
from activities.sweeps.environment_updates import FAILURES, UPDATE_TIMEOUT, FailureKind, describe_failure
from contracts.activities.fleet import RolloutActivities
from contracts.environment.models import EnvironmentStatus
from contracts.environment.template_change import describe_template
from contracts.environment_workflow import QUERY_STATUS, UPDATE_CHANGE_TEMPLATE, Answer, ChangeTemplateInput
from contracts.rollout import RolloutOutcome, UpgradeInput, UpgradeResult
from contracts.templates.template import Template
from contracts.types.naming import workflow_id

#: How long an environment may give no answer: a worker that was lost is replaced by then.
ANSWER_TIMEOUT = timedelta(minutes=5)

_GONE = UpgradeResult(outcome=RolloutOutcome.GONE, reason="it has ended meanwhile")


class Rollout(RolloutActivities):
    """Upgrades environments through a Temporal client."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    @activity.defn(name="rollout.upgrade")
    async def upgrade(self, input: UpgradeInput) -> UpgradeResult:
        """Ask for the upgrade, wait until it is over, and return its outcome."""
        upgrade = _Upgrade(self._temporal, input, f"{input.item.life}/rollout/{_run_id()}")
        waiting_for = await activity_context.wait_until(upgrade.advance)
        if upgrade.result is None:
            return UpgradeResult(outcome=RolloutOutcome.FAILED, reason=f"it is not over: {waiting_for}")
        return upgrade.result


def _run_id() -> str:
    return activity.info().workflow_run_id or ""


class _Upgrade:
    """One upgrade, advanced by polls; `result` is set when it is over."""

    def __init__(self, temporal: Client, input: UpgradeInput, id: str) -> None:
        # Without a run id, because a changed environment goes on in a new run.
        self._handle = temporal.get_workflow_handle(workflow_id(input.item.name))
        self._input = input
        self._id = id
        self._is_accepted = False
        self._answered_at = time.monotonic()
        self.result: UpgradeResult | None = None

    async def advance(self) -> str:
        """Ask, or look how it stands; return what it waits for, or "" when there is a result."""
        try:
            # Ask this first: a run that was closed from outside may answer no query.
            run = await self._handle.describe(rpc_timeout=CALL_TIMEOUT)
            if run.status is not WorkflowExecutionStatus.RUNNING:
                self.result = _GONE
                return ""
            status: EnvironmentStatus = await self._handle.query(
                QUERY_STATUS, result_type=EnvironmentStatus, rpc_timeout=CALL_TIMEOUT
            )
            if result := await self._result_of(status):
                self.result = result
                return ""
        except FAILURES as error:
            failure = describe_failure(error)
            if failure.kind is not FailureKind.FAILED:
                is_gone = failure.kind is FailureKind.ENDED
                outcome = RolloutOutcome.GONE if is_gone else RolloutOutcome.REFUSED
                self.result = UpgradeResult(outcome=outcome, reason=failure.reason)
                return ""
            if time.monotonic() - self._answered_at > ANSWER_TIMEOUT.total_seconds():
                self.result = UpgradeResult(outcome=RolloutOutcome.FAILED, reason=failure.reason)
                return ""
            return failure.reason
        self._answered_at = time.monotonic()
        return f"the upgrade to {describe_template(self._input.template)}"

    async def _result_of(self, status: EnvironmentStatus) -> UpgradeResult | None:
        item, wanted = self._input.item, self._input.template
        if status.environment.mark.life != item.life or status.outcome:
            return _GONE
        change, template = status.change, status.environment.template
        if change and change.id == self._id:
            return None
        if template.name != wanted.name or template.version > wanted.version:
            reason = f"it has {describe_template(template)} meanwhile"
            return UpgradeResult(outcome=RolloutOutcome.SKIPPED, reason=reason)
        if template.version == wanted.version:
            return UpgradeResult(outcome=RolloutOutcome.UPGRADED)
        if not self._is_accepted:
            # An earlier attempt may have asked, and then the answer is the same.
            await self._ask(status)
            self._is_accepted = True
            return None
        problem = status.change_problem
        reason = f"{problem.step}: {problem.cause}" if problem else "it has its former version"
        return UpgradeResult(outcome=RolloutOutcome.ROLLED_BACK, reason=reason)

    async def _ask(self, status: EnvironmentStatus) -> None:
        item, before = self._input.item, status.environment
        template: Template = self._input.template.with_parameters(item.parameters)
        change = ChangeTemplateInput(
            life=item.life,
            actor=self._input.actor,
            template=template,
            spec=before.spec.model_copy(update={"parameters": item.parameters}),
            # It may have been given to another person since the start of the rollout.
            request=item.request.model_copy(update={"owner": before.owner}),
            with_snapshot=True,
        )
        await self._handle.execute_update(
            UPDATE_CHANGE_TEMPLATE, change, id=self._id, result_type=Answer, rpc_timeout=UPDATE_TIMEOUT
        )
