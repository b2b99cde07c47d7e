"""What the sweeps ask an environment and tell it.

The reconcile sweep tells `workflows.changes.drift_repair`.
"""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import Outcome
    from contracts.environment_workflow import DueInput, SweepUpdateAnswer, SweepUpdateInput
    from contracts.expiry import Due, DueKind, format_utc
    from contracts.notifications import NotificationKind
    from contracts.sweeps.leavers import LeaverInput
    from contracts.telemetry.trace_context import current_trace
    from contracts.types.durations import format_duration

from workflows.changes.access import AccessUpdater
from workflows.notifications import Notifier
from workflows.record.state import Ending, EnvironmentState
from workflows.record.update_rules import UpdateRules
from workflows.update_decorator import described_update


class SweepMessages:
    """The messages of the expiry sweep and of the leaver sweep: a part of the environment's workflow."""

    _state: EnvironmentState
    _rules: UpdateRules
    _notifier: Notifier
    _access: AccessUpdater
    _ending: Ending | None

    @workflow.query(description="What the expiry sweep would have it do")
    def due(self, ask: DueInput) -> Due:
        """Return what is due at `ask.now`. The caller passes the time because a query has no time."""
        return self._rules.due(ask.now, ask.lookahead)

    @described_update("Record that a warning is given, and tell its people")
    async def warn(self, ask: SweepUpdateInput) -> SweepUpdateAnswer:
        """Record the warning that is due and start to notify the people of the environment."""
        due = self._rules.require_due(ask, DueKind.WARN)
        moved = self._state.warn(ask.actor, due.lead or timedelta(0))
        self._notifier.notify(NotificationKind.WARNING, moved)
        ends_at = self._state.status.expires_at
        result = f"warned: it ends {format_utc(ends_at)}"
        if moved:
            result += f", {format_duration(moved)} later than it was to, because the warning is late"
        return SweepUpdateAnswer(result=result, ends_at=ends_at)

    @warn.validator
    def _check_warn(self, ask: SweepUpdateInput) -> None:
        self._rules.check_life(ask)
        self._rules.require_due(ask, DueKind.WARN)

    @described_update("Take note that one of its people has left")
    async def person_left(self, ask: LeaverInput) -> str:
        """End the access of a person whom the directory does not know; return what was done."""
        return self._access.leave(ask)

    @person_left.validator
    def _check_person_left(self, ask: LeaverInput) -> None:
        self._rules.check_life(ask)
        self._rules.check_leaver()

    @described_update("End it because its time is up")
    async def expire(self, ask: SweepUpdateInput) -> SweepUpdateAnswer:
        """Start the teardown if the end has come by Temporal's time at this moment."""
        due = self._rules.require_due(ask, DueKind.END)
        self._ending = Ending(Outcome.EXPIRED, ask.actor, pause=ask.teardown_delay, trace=current_trace.get())
        return SweepUpdateAnswer(result=f"ended: {due.reason}", ends_at=self._state.status.expires_at)

    @expire.validator
    def _check_expire(self, ask: SweepUpdateInput) -> None:
        self._rules.check_life(ask)
        self._rules.require_due(ask, DueKind.END)
