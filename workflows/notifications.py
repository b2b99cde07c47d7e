"""Notifies people about an environment, and sends its record to the sinks at the end.

Nothing here blocks the environment.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.notices import AuditLogActivities, NotificationActivities
    from contracts.environment.models import MOORAGE_ACTOR, Outcome, Phase
    from contracts.environment_workflow import LifecycleTimeouts, undo_queue
    from contracts.notifications import FOR_PROGRAMS, LifeRecord, Notification, NotificationKind, StepTime

from workflows.activity_failures import problem_of, require_genuine
from workflows.record.state import EnvironmentState
from workflows.step_executor import LOWEST_PRIORITY

#: One attempt of all channels, or of all sinks. Each call has its own timeout, which is well below this
#: limit.
ATTEMPT_TIMEOUT = timedelta(minutes=2)
#: How long a notification is retried: a mail server may be down for that long, and after it the notification
#: is out of date.
NOTIFICATION_TIMEOUT = timedelta(hours=1)
#: How long an environment that is gone stays open for a last notification in progress, and how long for its
#: record: the caller of the delete waits for that.
CLOSING_TIMEOUT = timedelta(minutes=1)
MAX_RETRY_INTERVAL = timedelta(minutes=1)
#: The notification at the start of a teardown. The other outcomes are what a person has asked for.
_OF_OUTCOME: Mapping[Outcome, NotificationKind] = {
    Outcome.EXPIRED: NotificationKind.ENDED,
    Outcome.FAILED: NotificationKind.FAILED,
}


class Notifier:
    """The notifications of one environment that are in progress."""

    def __init__(self, state: EnvironmentState, timeouts: LifecycleTimeouts) -> None:
        self._state = state
        self._timeouts = timeouts
        self._in_progress: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a notification is in progress."""
        return bool(self._in_progress)

    def notify(self, kind: NotificationKind, moved: timedelta = timedelta(0)) -> None:
        """Start to notify the people of the environment, or their programs.

        The audit trail gets the result, except that a program was notified.
        """
        self._start(self._notification(kind, moved))

    def notify_of_sleep(self, kind: NotificationKind) -> None:
        """Start to notify the people of the environment that it sleeps or is awake, and by whom."""
        notification = self._notification(kind)
        actor = self._state.status.sleep.actor if self._state.status.sleep else ""
        moment = int(notification.at.timestamp() * 1000)
        id = f"{notification.life}-{kind}-{moment}"
        self._start(notification.model_copy(update={"id": id, "actor": actor}))

    def notify_of_outcome(self, outcome: Outcome) -> None:
        """Start to notify the people of the environment of its end, if it ends by itself."""
        if kind := _OF_OUTCOME.get(outcome):
            self.notify(kind)

    def notify_of_access(self, kind: NotificationKind, person: str, actor: str) -> None:
        """Start to notify the people of the environment, and `person`, whose access `actor` has changed."""
        notification = self._notification(kind)
        people = tuple(dict.fromkeys(filter(None, (*notification.people, person))))
        moment = int(notification.at.timestamp() * 1000)
        self._start(
            notification.model_copy(
                update={
                    "id": f"{notification.life}-{kind}-{person}-{moment}",
                    "people": people,
                    "person": person,
                    "actor": actor,
                }
            )
        )

    def _start(self, notification: Notification) -> None:
        task = asyncio.create_task(self._send(notification))
        self._in_progress.add(task)
        task.add_done_callback(self._in_progress.discard)

    async def drain(self) -> None:
        """Wait for the notifications in progress, for `CLOSING_TIMEOUT` at most."""
        if self._in_progress:
            await workflow.wait(self._in_progress.copy(), timeout=CLOSING_TIMEOUT.total_seconds())

    async def archive_record(self) -> None:
        """Send the record of this life to the sinks.

        If they do not take it, only the history has it.
        """
        try:
            require_genuine(
                await workflow.execute_activity_method(
                    AuditLogActivities.write,
                    self._life_record(),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=CLOSING_TIMEOUT,
                    schedule_to_close_timeout=CLOSING_TIMEOUT,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=self._retries(),
                    priority=Priority(priority_key=1),
                    summary="record to the audit log",
                )
            )
        except ActivityError as error:
            self._state.add_log_entry(
                MOORAGE_ACTOR, "could not hand over its account", problem_of(error, "", "sink").cause
            )

    async def _send(self, notification: Notification) -> None:
        is_for_programs = notification.kind in FOR_PROGRAMS
        try:
            result = require_genuine(
                await workflow.execute_activity_method(
                    NotificationActivities.send,
                    notification,
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=ATTEMPT_TIMEOUT,
                    schedule_to_close_timeout=NOTIFICATION_TIMEOUT,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=self._retries(),
                    # Each life sends these, also in a storm of requests: undos in the same queue go first.
                    priority=Priority(priority_key=LOWEST_PRIORITY) if is_for_programs else Priority.default,
                    summary=f"notification: {notification.kind}",
                )
            )
        except ActivityError as error:
            whom = "the webhook" if is_for_programs else "its people"
            cause = problem_of(error, "", "notices").cause
            self._state.add_log_entry(MOORAGE_ACTOR, f"could not tell {whom}", cause)
        else:
            if result.delivered_by and not is_for_programs:
                how = f"by {', '.join(result.delivered_by)}"
                if result.refused:
                    how += f"; the mail server refuses {', '.join(result.refused)}"
                self._state.add_log_entry(MOORAGE_ACTOR, "notified its people", how)

    def _retries(self) -> RetryPolicy:
        return RetryPolicy(initial_interval=self._timeouts.first_retry, maximum_interval=MAX_RETRY_INTERVAL)

    def _notification(self, kind: NotificationKind, moved: timedelta = timedelta(0)) -> Notification:
        status = self._state.status
        environment, term = status.environment, status.term
        return Notification(
            # A life sends a second notification of one kind only with another end, so the id differs. The
            # receiver recognises a repeat by its id.
            id=f"{environment.mark.life}-{kind}-{len(status.warnings)}-{int(term.ends_at.timestamp())}",
            kind=kind,
            at=workflow.now(),
            name=environment.name,
            life=environment.mark.life,
            owner=environment.owner,
            team=environment.spec.team,
            people=environment.collaborators if status.owner_left else environment.people,
            owner_left=status.owner_left is not None,
            asleep=status.phase is Phase.ASLEEP,
            sleep_reason=status.sleep.reason if status.sleep else None,
            template=environment.template.name,
            host=environment.host,
            ends_at=term.ends_at,
            kept_until=term.over_at,
            latest_end=term.latest_end,
            moved=moved,
            problem=status.problem if kind is NotificationKind.FAILED else None,
        )

    def _life_record(self) -> LifeRecord:
        status = self._state.status
        environment = status.environment
        return LifeRecord(
            name=environment.name,
            life=environment.mark.life,
            owner=environment.owner,
            team=environment.spec.team,
            collaborators=environment.collaborators,
            labels=environment.spec.labels,
            template=environment.template.name,
            host=environment.host,
            outcome=status.outcome or Outcome.DELETED,
            requested_at=status.requested_at,
            usable_at=status.usable_at,
            ready_at=status.ready_at,
            ended_at=status.ended_at or workflow.now(),
            steps=tuple(
                StepTime(step=step.step, took=step.took, undo_took=step.undo_took)
                for step in status.steps
                if step.took is not None
            ),
            problem=status.problem,
            audit_log=status.audit_log,
            certificate=status.certificate,
        )
