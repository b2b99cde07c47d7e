"""The workflow of one environment, from the request until nothing is left.

Its open run is the record of the environment.

`run` handles how a life ends, `Saga` does and undoes the steps, `EnvironmentState` keeps and shows the state.
"""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import MADE_PHASES, MOORAGE_ACTOR, EnvironmentStatus, Outcome, Phase
    from contracts.environment_workflow import (
        ActorInput,
        Answer,
        AnswerKind,
        CollaboratorInput,
        EnvironmentStart,
        ExtendInput,
        LifeInput,
        RequestInput,
        SleepChangeInput,
        TransferInput,
    )
    from contracts.expiry import format_utc
    from contracts.notifications import NotificationKind
    from contracts.telemetry.trace_context import current_trace

from workflows.activity_failures import provisioning_error
from workflows.capacity.place_reports import release_capacity
from workflows.changes.access import AccessUpdater
from workflows.changes.drift_repair import DriftRepair
from workflows.changes.restore import SnapshotRestorer
from workflows.changes.sleep import SleepController
from workflows.changes.snapshots import SnapshotTaker
from workflows.changes.template_change import TemplateChanger
from workflows.changes.vcluster_updates import ChangeMessages
from workflows.environment.life_traces import begin_making, begin_undoing, end_operation
from workflows.environment.next_run import start_next_run
from workflows.notifications import Notifier
from workflows.record.life_metrics import count_request
from workflows.record.state import TEMPORAL_ACTOR, Ending, EnvironmentState
from workflows.record.update_rules import UpdateRules
from workflows.saga import Saga
from workflows.shielded_waits import ShieldedWaits
from workflows.sweeps.environment_updates import SweepMessages
from workflows.update_decorator import described_update
from workflows.version_upgrade import is_to_move


@workflow.defn(name="EnvironmentWorkflow")
class EnvironmentWorkflow(SweepMessages, ChangeMessages):
    """One environment: provisioned, ready, and torn down in every case.

    Completes with the `EnvironmentStatus` of a life that was deleted, expired or cancelled. Fails with
    `ProvisioningFailed`, with the same status in its details, when the environment could not be provisioned
    and was undone.
    """

    @workflow.init
    def __init__(self, start: EnvironmentStart) -> None:
        # Create all state here, because an update may be handled before the first line of `run`.
        self._start = start
        self._state = EnvironmentState(start)
        self._saga = Saga(start, self._state)
        self._notifier = Notifier(self._state, start.timeouts)
        self._access = AccessUpdater(self._state, self._notifier, start.timeouts)
        self._snapshots = SnapshotTaker(self._state, start.timeouts)
        self._changer = TemplateChanger(start, self._state, self._snapshots, self._has_to_end)
        self._restorer = SnapshotRestorer(self._state, self._snapshots, start.timeouts)
        self._rules = UpdateRules(start, self._state, self._is_ending)
        self._drift = DriftRepair(self._saga, self._state, self._access, self._rules)
        self._sleep = SleepController(
            self._state,
            self._notifier,
            self._access,
            start.timeouts,
            lambda: self._drift.is_busy or self._snapshots.is_busy,
        )
        status = self._state.status
        actor = start.forced_by or MOORAGE_ACTOR
        self._ending = Ending(status.outcome, actor, status.problem) if status.outcome else None
        self._is_renewal_requested = False
        waits = ShieldedWaits(self._record_cancellation)
        self._wait_shielded, self._run_shielded = waits.until, waits.run

    @workflow.run
    async def run(self, start: EnvironmentStart) -> EnvironmentStatus:
        """Run one life: provision, stay ready, tear down, close."""
        if not start.carried:
            count_request(self._state.status)
            workflow.upsert_search_attributes(self._state.expiry_attributes)
            await self._provision()
        if not self._ending:
            await self._stay_ready()
        await self._tear_down()
        return await self._close()

    async def _provision(self) -> None:
        making = begin_making(self._state)
        forward = asyncio.create_task(self._saga.forward())
        await self._wait_shielded(lambda: forward.done() or self._has_to_end())
        self._record_cancellation()
        if self._ending:
            self._saga.stop()
            forward.cancel()
            await self._wait_shielded(forward.done)
            if not forward.cancelled():
                forward.result()
        elif problem := forward.result():
            self._ending = Ending(Outcome.FAILED, MOORAGE_ACTOR, problem)
        else:
            self._state.enter_phase(Phase.READY)
            self._state.add_log_entry(MOORAGE_ACTOR, "ready")
            self._notifier.notify(NotificationKind.READY)
        end_operation(making, self._state, self._ending)

    async def _stay_ready(self) -> None:
        while not self._ending:
            for part in (
                self._snapshots,
                self._changer,
                self._restorer,
                self._access,
                self._sleep,
                self._drift,
            ):
                part.start()
            await self._wait_shielded(
                lambda: self._has_to_end() or (self._is_to_continue_as_new() and self._is_idle())
            )
            self._record_cancellation()
            # Pending changes go on in the next run. A teardown must not overtake one.
            for stopped in (self._drift, self._sleep, self._access):
                await self._run_shielded(stopped.stop())
            await self._run_shielded(self._changer.stop_rollback())
            await self._run_shielded(self._restorer.stop_rollback())
            self._record_cancellation()
            # An update may have come while they stopped, which the next run could not answer.
            if not self._ending and self._is_idle():
                start_next_run(self._start, self._state)

    def _is_to_continue_as_new(self) -> bool:
        # After a change of the template, the next run begins with what the environment has then.
        is_long = workflow.info().is_continue_as_new_suggested()
        return is_long or self._is_renewal_requested or self._changer.has_changed or is_to_move()

    async def _tear_down(self) -> None:
        assert self._ending  # noqa: S101  (`run` comes here only with an ending)
        # Also one that the former run has left: an end may come before this run goes on with it.
        await self._run_shielded(self._changer.stop())
        await self._run_shielded(self._restorer.stop())
        await self._run_shielded(self._snapshots.stop())
        parts = (self._changer, self._restorer, self._snapshots)
        self._saga.record_doubt(any(part.is_in_doubt for part in parts))
        undoing = begin_undoing(self._state, self._ending, forced=bool(self._start.forced_by))
        if self._state.phase is not Phase.TEARDOWN_INCOMPLETE:
            forced = bool(self._start.forced_by)
            self._state.set_outcome(
                self._ending.outcome, self._ending.actor, self._ending.problem, forced=forced
            )
            self._state.enter_phase(Phase.TEARING_DOWN)
            self._notifier.notify_of_outcome(self._ending.outcome)
            if self._ending.pause:
                await self._run_shielded(workflow.sleep(self._ending.pause, summary="its turn to begin"))
        compensation = asyncio.create_task(self._saga.compensate())
        await self._wait_shielded(lambda: compensation.done() or self._should_wait_in_new_run())
        if not compensation.done():
            # The spans of the next run are below this one.
            end_operation(undoing, self._state, self._ending)
            start_next_run(self._start, self._state)
        await self._wait_shielded(compensation.done)
        compensation.result()
        end_operation(undoing, self._state, self._ending)

    def _should_wait_in_new_run(self) -> bool:
        """Return whether a teardown that has given up should wait in a new run.

        Three days of passes make a long history.
        """
        return self._is_to_continue_as_new() and self._saga.is_waiting_for_resume and self._is_idle()

    async def _close(self) -> EnvironmentStatus:
        await self._wait_shielded(workflow.all_handlers_finished)
        self._state.add_log_entry(MOORAGE_ACTOR, "gone", "nothing left")
        releasing = asyncio.create_task(release_capacity(self._start.environment.mark))
        await self._run_shielded(self._notifier.archive_record())
        await self._run_shielded(self._notifier.drain())
        await self._wait_shielded(releasing.done)
        # Last, so that the name is free as soon as the status says that the environment is gone.
        self._state.enter_phase(Phase.GONE)
        status = self._state.status
        if status.outcome is Outcome.FAILED and status.problem:
            raise provisioning_error(status, status.problem)
        return status

    def _is_idle(self) -> bool:
        is_busy = any(
            part.is_busy for part in (self._notifier, self._changer, self._restorer, self._snapshots)
        )
        return workflow.all_handlers_finished() and not is_busy

    def _has_to_end(self) -> bool:
        # Check the reason as well as the exception, because Temporal may deliver a cancellation that arrives
        # together with an activity's completion as the completion only.
        return self._ending is not None or workflow.cancellation_reason() is not None

    def _record_cancellation(self) -> None:
        if self._ending is None and workflow.cancellation_reason() is not None:
            was_ready = self._state.phase in MADE_PHASES
            self._ending = Ending(Outcome.DELETED if was_ready else Outcome.CANCELLED, TEMPORAL_ACTOR)

    @workflow.query(description="How the environment stands")
    def status(self) -> EnvironmentStatus:
        """Return the environment's status."""
        return self._state.status

    @described_update("Ask for this environment: created or joined")
    async def request(self, ask: RequestInput) -> Answer:
        """Answer the request that started this life, or one for the same environment."""
        if answer := self._state.stored_answer():
            return answer
        if ask.request_id == self._start.request_id:
            return self._answer(AnswerKind.CREATED, f"{self._name} is being made.")
        return self._answer(
            AnswerKind.JOINED, f"{self._name} was asked for before and is {self._state.phase.words}."
        )

    @request.validator
    def _check_request(self, ask: RequestInput) -> None:
        if not self._state.stored_answer():
            self._rules.check_join(ask)

    @described_update("Delete it, in whatever phase it is")
    async def delete(self, by: ActorInput) -> Answer:
        """Start the teardown; callers follow it in the status."""
        if answer := self._state.stored_answer():
            return answer
        if self._is_ending():
            return self._answer(AnswerKind.NOTHING_TO_DO, f"{self._name} is being torn down already.")
        self._ending = Ending(Outcome.DELETED, by.actor, trace=current_trace.get())
        return self._answer(AnswerKind.ACCEPTED, f"{self._name} is being deleted.")

    @delete.validator
    def _check_delete(self, by: ActorInput) -> None:
        """Reject an update for another life, or one without its argument.

        In the handler, a missing argument would fail the whole workflow task, for ever.
        """
        self._rules.check_life(by)

    @described_update("Cancel the provisioning")
    async def cancel(self, by: ActorInput) -> Answer:
        """Stop provisioning and start the teardown; callers follow it in the status."""
        if answer := self._state.stored_answer():
            return answer
        if self._is_ending():
            return self._answer(AnswerKind.NOTHING_TO_DO, f"{self._name} is being torn down already.")
        self._ending = Ending(Outcome.CANCELLED, by.actor, trace=current_trace.get())
        return self._answer(
            AnswerKind.ACCEPTED, f"Making {self._name} is cancelled; what was made is removed."
        )

    @cancel.validator
    def _check_cancel(self, by: ActorInput) -> None:
        self._rules.check_life(by)
        if not self._state.stored_answer():
            self._rules.check_cancel()

    @described_update("Move its end")
    async def extend(self, ask: ExtendInput) -> Answer:
        """Move the end as far as the policy allows, or further if the extension is an override."""
        if answer := self._state.stored_answer():
            return answer
        self._state.extend(ask.actor, self._rules.extended_term(ask), ask.reason)
        ends_at = self._state.status.expires_at
        return self._answer(AnswerKind.ACCEPTED, f"{self._name} is extended: it ends {format_utc(ends_at)}.")

    @extend.validator
    def _check_extend(self, ask: ExtendInput) -> None:
        self._rules.check_life(ask)
        if not self._state.stored_answer():
            self._rules.extended_term(ask)

    @described_update("Put it to sleep")
    async def sleep(self, by: SleepChangeInput) -> Answer:
        """Scale it to nothing, or change when that happens by itself; callers follow it in the status."""
        if answer := self._state.stored_answer():
            return answer
        if by.changes_policy:
            return self._answer(*self._sleep.change_policy(by))
        return self._answer(*self._sleep.sleep(by.actor))

    @sleep.validator
    def _check_sleep(self, by: SleepChangeInput) -> None:
        self._rules.check_life(by)
        if not self._state.stored_answer():
            self._rules.check_sleep(by)

    @described_update("Wake it")
    async def wake(self, by: ActorInput) -> Answer:
        """Reserve its CPU and memory again and start it; callers follow it in the status."""
        if answer := self._state.stored_answer():
            return answer
        return self._answer(*await self._sleep.wake(by.actor))

    @wake.validator
    def _check_wake(self, by: ActorInput) -> None:
        self._rules.check_life(by)
        if not self._state.stored_answer():
            self._rules.check_sleep()

    @described_update("Add a collaborator, or remove one")
    async def change_collaborators(self, ask: CollaboratorInput) -> Answer:
        """Change who may use it. The door knows it at once; the outside systems follow, see the status."""
        if answer := self._state.stored_answer():
            return answer
        return self._answer(*self._access.change_collaborators(ask))

    @change_collaborators.validator
    def _check_collaborators(self, ask: CollaboratorInput) -> None:
        self._rules.check_life(ask)
        if not self._state.stored_answer():
            self._rules.check_collaborator(ask)

    @described_update("Give it to another person")
    async def transfer(self, ask: TransferInput) -> Answer:
        """Change its owner. The door knows it at once; the outside systems follow, see the status."""
        if answer := self._state.stored_answer():
            return answer
        return self._answer(*self._access.transfer(ask))

    @transfer.validator
    def _check_transfer(self, ask: TransferInput) -> None:
        self._rules.check_life(ask)
        if not self._state.stored_answer():
            self._rules.check_transfer(ask)

    @described_update("Try again to undo what could not be undone")
    async def resume_teardown(self, by: ActorInput) -> Answer:
        """Resume a teardown that has given up, or end the pause before its next pass."""
        if answer := self._state.stored_answer():
            return answer
        return self._answer(*self._saga.resume_by(by.actor))

    @resume_teardown.validator
    def _check_resume(self, by: ActorInput) -> None:
        self._rules.check_life(by)
        if not self._state.stored_answer():
            self._rules.check_resume()

    @described_update("Set its search attributes again")
    async def reindex(self, by: ActorInput) -> Answer:  # noqa: ARG002
        """Set all search attributes again.

        Temporal loses the values of a search attribute that was removed and created again.
        """
        if answer := self._state.stored_answer():
            return answer
        self._state.reindex()
        return self._answer(AnswerKind.ACCEPTED, f"{self._name} is found by all search attributes.")

    @reindex.validator
    def _check_reindex(self, by: ActorInput) -> None:
        self._rules.check_life(by)

    @workflow.signal(description="A person has fetched a credential")
    def used(self, by: LifeInput | None = None) -> None:
        """Record that it is in use; ignore what is meant for another life."""
        if by is not None and by.life == self._start.environment.mark.life:
            self._sleep.note_use()

    @workflow.signal(description="Go on in a new run, with the key and the worker version of now")
    def renew(self) -> None:
        """Continue in a new run, with the current key and worker version, once nothing is in progress."""
        self._is_renewal_requested = True

    @property
    def _name(self) -> str:
        return self._start.environment.name

    def _is_ending(self) -> bool:
        return self._ending is not None or self._state.status.outcome is not None

    def _answer(self, kind: AnswerKind, message: str) -> Answer:
        return self._state.answer(kind, message)
