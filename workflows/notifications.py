"""Notifies people about an environment, and sends its record to the sinks at the end.

Nothing here blocks the environment.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities import NoticeActivities, TrailActivities
    from contracts.environment import Outcome
    from contracts.environment_workflow import LifecycleTimeouts, undo_queue
    from contracts.notifications import LifeRecord, Notification, NotificationKind

from workflows.activity_failures import genuine, problem_of
from workflows.environment_state import ITSELF, EnvironmentState

#: One attempt of all channels, or of all sinks. Each call has its own timeout, which is well below this
#: limit.
ATTEMPT = timedelta(minutes=2)
#: How long a notification is retried: a mail server may be down for that long, and after it the notification
#: is out of date.
NOTICE_LIMIT = timedelta(hours=1)
#: How long an environment that is gone stays open for a last notification in progress, and how long for its
#: record: the caller of the delete waits for that.
LAST_WORDS = timedelta(minutes=1)
LONGEST_RETRY = timedelta(minutes=1)


class Notifier:
    """The notifications of one environment that are in progress."""

    def __init__(self, record: EnvironmentState, pace: LifecycleTimeouts) -> None:
        self._record = record
        self._pace = pace
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a notification is in progress."""
        return bool(self._under_way)

    def tell(self, kind: NotificationKind, moved: timedelta = timedelta(0)) -> None:
        """Start to notify the people of the environment; the audit trail gets the result."""
        task = asyncio.create_task(self._send(self._notice(kind, moved)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def drain(self) -> None:
        """Wait for the notifications in progress, for `LAST_WORDS` at most."""
        if self._under_way:
            await workflow.wait(self._under_way.copy(), timeout=LAST_WORDS.total_seconds())

    async def archive_record(self) -> None:
        """Send the record of this life to the sinks.

        If they do not take it, only the history has it.
        """
        try:
            genuine(
                await workflow.execute_activity_method(
                    TrailActivities.keep,
                    self._account(),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=LAST_WORDS,
                    schedule_to_close_timeout=LAST_WORDS,
                    heartbeat_timeout=self._pace.heartbeat_timeout,
                    retry_policy=self._retries(),
                    priority=Priority(priority_key=1),
                    summary="account to the sinks",
                )
            )
        except ActivityError as error:
            self._record.note(ITSELF, "could not hand over its account", problem_of(error, "", "sink").cause)

    async def _send(self, notice: Notification) -> None:
        try:
            result = genuine(
                await workflow.execute_activity_method(
                    NoticeActivities.send,
                    notice,
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=ATTEMPT,
                    schedule_to_close_timeout=NOTICE_LIMIT,
                    heartbeat_timeout=self._pace.heartbeat_timeout,
                    retry_policy=self._retries(),
                    summary=f"notice: {notice.kind}",
                )
            )
        except ActivityError as error:
            self._record.note(ITSELF, "could not tell its people", problem_of(error, "", "notices").cause)
        else:
            if result.told_by:
                how = f"by {', '.join(result.told_by)}"
                if result.refused:
                    how += f"; the mail server refuses {', '.join(result.refused)}"
                self._record.note(ITSELF, "told its people", how)

    def _retries(self) -> RetryPolicy:
        return RetryPolicy(initial_interval=self._pace.first_retry, maximum_interval=LONGEST_RETRY)

    def _notice(self, kind: NotificationKind, moved: timedelta) -> Notification:
        status = self._record.status
        environment, term = status.environment, status.term
        return Notification(
            # A life sends a second notification of one kind only with another end, so the id differs. The
            # receiver recognises a repeat by its id.
            id=f"{environment.mark.life}-{kind}-{len(status.warned)}-{int(term.ends_at.timestamp())}",
            kind=kind,
            at=workflow.now(),
            name=environment.name,
            life=environment.mark.life,
            owner=environment.owner,
            team=environment.spec.team,
            people=environment.people,
            template=environment.template.name,
            host=environment.host,
            ends_at=term.ends_at,
            kept_until=term.over_at,
            latest_end=term.latest_end,
            moved=moved,
        )

    def _account(self) -> LifeRecord:
        status = self._record.status
        environment = status.environment
        return LifeRecord(
            name=environment.name,
            life=environment.mark.life,
            owner=environment.owner,
            team=environment.spec.team,
            collaborators=environment.spec.collaborators,
            template=environment.template.name,
            host=environment.host,
            outcome=status.outcome or Outcome.DELETED,
            requested_at=status.requested_at,
            ended_at=status.ended_at or workflow.now(),
            trail=status.trail,
            certificate=status.certificate,
        )
