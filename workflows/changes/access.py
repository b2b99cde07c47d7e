"""Applies changes of people to the outside systems while an environment is ready.

The record of the environment has a change at once, and so does the API's door. This part makes every system
that lets people in agree with it, and tries until they do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, CancelledError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.people import (
        AccessInput,
        AccessResult,
        GroupAccessActivities,
        VirtualAccessActivities,
    )
    from contracts.environment.models import MOORAGE_ACTOR, Environment, Phase, Problem, System
    from contracts.environment.pending_access import AccessChanges
    from contracts.environment_workflow import (
        AnswerKind,
        CollaboratorAction,
        CollaboratorInput,
        LifecycleTimeouts,
        TransferInput,
    )
    from contracts.notifications import NotificationKind
    from contracts.sweeps.leavers import LeaverAction, LeaverInput

from workflows.activity_failures import is_in_doubt, problem_of, require_genuine
from workflows.notifications import Notifier
from workflows.record.state import EnvironmentState
from workflows.steps import FEW_CALLS_ATTEMPT_TIMEOUT, FEW_CALLS_TIMEOUT
from workflows.task_queues import Placement, TaskQueues

#: The longest pause after a failed attempt: who was removed must lose their access soon after a system, or
#: our credential for it, is in order again.
MAX_PAUSE = timedelta(minutes=2)

_Change = Callable[[Any, AccessInput], Awaitable[AccessResult]]
_SystemOf = Callable[[Environment], System]
#: The systems that let people in, with what is changed there.
_SYSTEMS: tuple[tuple[_SystemOf, _Change, str], ...] = (
    (
        lambda environment: environment.people_system,
        GroupAccessActivities.change_group,
        "members of its group",
    ),
    (
        lambda _: System.HOST_CLUSTER,
        VirtualAccessActivities.change_virtual_cluster,
        "rights in the virtual cluster",
    ),
)

#: The systems that can be changed while the vCluster sleeps.
_SYSTEMS_OF_SLEEP = _SYSTEMS[:1]


@dataclass(frozen=True)
class _Attempt:
    """Whether all systems have made the changes; a `problem` unless the attempt was cut short."""

    is_complete: bool
    problem: Problem | None


class AccessUpdater:
    """The changes of access of one environment that are in progress."""

    def __init__(self, state: EnvironmentState, notifier: Notifier, timeouts: LifecycleTimeouts) -> None:
        self._state = state
        self._notifier = notifier
        self._timeouts = timeouts
        self._queues = TaskQueues(state, timeouts)
        self._task: asyncio.Task[None] | None = None
        self._revision = 0
        self._stopped = False

    @property
    def is_busy(self) -> bool:
        """Whether an attempt is in progress or waits for its time."""
        return self._task is not None and not self._task.done()

    def change_collaborators(self, ask: CollaboratorInput) -> tuple[AnswerKind, str]:
        """Add the person, or remove them; return the answer. The outside systems follow."""
        name, person = self._state.status.environment.name, ask.person
        is_member = person in self._state.status.environment.collaborators
        if ask.action is CollaboratorAction.ADD:
            if person == self._state.status.environment.owner:
                return AnswerKind.NOTHING_TO_DO, f"{person} owns {name} and has access already."
            if is_member:
                return AnswerKind.NOTHING_TO_DO, f"{person} is a collaborator of {name} already."
            self._state.people.add_collaborator(ask.actor, person)
            self._notifier.notify_of_access(NotificationKind.COLLABORATOR_ADDED, person, ask.actor)
            message = f"{person} is a collaborator of {name} now."
        else:
            if not is_member:
                return AnswerKind.NOTHING_TO_DO, f"{person} is no collaborator of {name}."
            self._state.people.remove_collaborator(ask.actor, person)
            self._notifier.notify_of_access(NotificationKind.COLLABORATOR_REMOVED, person, ask.actor)
            message = f"{person} is no collaborator of {name} any more."
        self.apply()
        return AnswerKind.ACCEPTED, message

    def transfer(self, ask: TransferInput) -> tuple[AnswerKind, str]:
        """Give the environment to the person; return the answer. The outside systems follow."""
        environment = self._state.status.environment
        name, person, before = environment.name, ask.person, environment.owner
        if person == before:
            return AnswerKind.NOTHING_TO_DO, f"{name} belongs to {person} already."
        self._state.people.transfer(ask.actor, person)
        self._notifier.notify_of_access(NotificationKind.TRANSFERRED, before, ask.actor)
        self.apply()
        return AnswerKind.ACCEPTED, f"{name} belongs to {person} now."

    def leave(self, ask: LeaverInput) -> str:
        """End the access of a person who has left, or give it back to an owner; return what was done."""
        status = self._state.status
        environment, person = status.environment, ask.person
        if ask.action is LeaverAction.RETURNED:
            if person != environment.owner or not status.owner_left:
                return "it knows nothing of that"
            self._state.people.owner_returns(ask.actor)
            result = f"{person} is its owner again"
        elif person == environment.owner:
            if status.owner_left:
                return "its owner has left before"
            self._state.people.owner_leaves(ask.actor)
            self._notifier.notify_of_access(NotificationKind.OWNER_LEFT, "", ask.actor)
            result = f"offered to team {environment.spec.team}"
        elif person in environment.collaborators:
            self._state.people.remove_collaborator(
                ask.actor, person, "the directory does not know them any more"
            )
            self._notifier.notify_of_access(NotificationKind.COLLABORATOR_REMOVED, person, ask.actor)
            result = f"{person} is no collaborator any more"
        else:
            return f"{person} is not one of its people"
        self.apply()
        return result

    def start(self) -> None:
        """Apply what is pending, also after `stop`."""
        self._stopped = False
        self.apply()

    def apply(self) -> None:
        """Apply what is pending, unless it is stopped; call this after each change."""
        self._revision += 1
        if self._state.status.access.is_pending and not self.is_busy and not self._stopped:
            self._task = asyncio.create_task(self._apply())

    async def stop(self) -> None:
        """Stop, and wait until nothing is in progress. What is pending stays in the state."""
        self._stopped = True
        self._revision += 1
        await workflow.wait_condition(lambda: not self.is_busy)

    async def _apply(self) -> None:
        pause = self._timeouts.first_pause
        while not self._stopped and (changes := self._state.status.access).is_pending:
            revision, started_at = self._revision, workflow.now()
            is_awake = self._state.phase is Phase.READY
            attempt = await self._attempt(changes, _SYSTEMS if is_awake else _SYSTEMS_OF_SLEEP)
            if attempt.problem:
                self._state.people.set_access(self._state.status.access, attempt.problem)
                await self._wait(pause, revision)
                pause = min(2 * pause, self._timeouts.longest_pause, MAX_PAUSE)
            elif attempt.is_complete and not is_awake:
                # The rest follows when it is awake.
                await self._next_change(revision)
            elif attempt.is_complete:
                pause = self._timeouts.first_pause
                self._record(changes, started_at)
                if until := self._state.status.access.waits_until(workflow.now()):
                    await self._wait(until - workflow.now(), revision)

    async def _attempt(
        self, changes: AccessChanges, systems: Sequence[tuple[_SystemOf, _Change, str]]
    ) -> _Attempt:
        """Ask all systems at once. A change that comes meanwhile ends an attempt that lasts long."""
        revision = self._revision
        input = AccessInput(
            environment=self._state.status.environment.without_values,
            granting=changes.granting,
            revoking=changes.revoking,
        )
        tasks = [
            asyncio.create_task(self._execute(system_of(input.environment), method, input, what))
            for system_of, method, what in systems
        ]

        def all_done() -> bool:
            return all(task.done() for task in tasks)

        await workflow.wait_condition(lambda: all_done() or self._revision != revision)
        if not all_done() and not self._stopped:
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: all_done() or self._stopped,
                    # Longer than a few calls usually take, and shorter than the outage of a system.
                    timeout=self._timeouts.first_pause,
                    timeout_summary="another change of access waits",
                )
        for task in tasks:
            task.cancel()
        await workflow.wait_condition(all_done)
        problem, is_complete = None, True
        for task in tasks:
            try:
                result = task.result()
            except ActivityError as error:
                is_complete = False
                if is_in_doubt(error):
                    self._doubt(changes)
                if not isinstance(error.cause, CancelledError):
                    problem = problem or problem_of(error, "access", System.IDENTITY_PROVIDER)
            except asyncio.CancelledError:
                is_complete = False  # it was cancelled before its activity was scheduled
            else:
                if result.in_doubt:
                    self._doubt(changes)
                for person in result.unknown:
                    self._state.people.drop_unknown_collaborator(person)
        return _Attempt(is_complete, problem)

    async def _execute(self, system: System, method: _Change, input: AccessInput, what: str) -> AccessResult:
        async def schedule(placement: Placement) -> AccessResult:
            return require_genuine(
                await workflow.execute_activity_method(
                    method,
                    input,
                    task_queue=placement.task_queue,
                    start_to_close_timeout=FEW_CALLS_ATTEMPT_TIMEOUT,
                    schedule_to_close_timeout=placement.limit,
                    schedule_to_start_timeout=placement.wait,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=RetryPolicy(
                        initial_interval=self._timeouts.first_retry,
                        maximum_interval=self._timeouts.longest_retry,
                    ),
                    # A later change must not overtake a call that is still in progress.
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary=f"access: {what}",
                )
            )

        changes = self._state.status.access
        return await self._queues.execute(
            system,
            schedule,
            limit=FEW_CALLS_TIMEOUT,
            is_undo=True,
            on_doubt=lambda: self._doubt(changes),
        )

    def _doubt(self, changes: AccessChanges) -> None:
        until = workflow.now() + self._timeouts.late_response_window
        access = self._state.status.access.doubt(changes.people, until)
        self._state.people.set_access(access, self._state.status.access_problem)

    def _record(self, changes: AccessChanges, started_at: datetime) -> None:
        before = self._state.status.access
        after = before.after(changes, started_at)
        self._state.people.set_access(after)
        for action, was, now in (
            ("gave access", before.granting, after.granting),
            ("took access away", before.revoking, after.revoking),
        ):
            if people := [person for person in was if person not in now]:
                self._state.add_log_entry(MOORAGE_ACTOR, action, ", ".join(people))

    async def _next_change(self, revision: int) -> None:
        await workflow.wait_condition(lambda: self._revision != revision)

    async def _wait(self, length: timedelta, revision: int) -> None:
        """Wait, or less if there is another change."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._revision != revision, timeout=length, timeout_summary="pause before access"
            )
