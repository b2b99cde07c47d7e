"""What people ask of the vCluster of an environment in use: another template, and a snapshot."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment_workflow import ActorInput, Answer, ChangeTemplateInput, RestoreInput

from workflows.changes.drift_repair import DriftRepair
from workflows.changes.restore import SnapshotRestorer
from workflows.changes.snapshots import SnapshotTaker
from workflows.changes.template_change import TemplateChanger
from workflows.record.state import EnvironmentState
from workflows.record.update_rules import UpdateRules
from workflows.update_decorator import described_update


class ChangeMessages:
    """The messages about changes in place and snapshots: a part of the environment's workflow."""

    _state: EnvironmentState
    _rules: UpdateRules
    _drift: DriftRepair
    _changer: TemplateChanger
    _snapshots: SnapshotTaker
    _restorer: SnapshotRestorer

    @described_update("Change its template: another size, or a newer version")
    async def change_template(self, ask: ChangeTemplateInput) -> Answer:
        """Start to change the template in place, if there is room; callers follow it in the status."""
        if answer := self._state.stored_answer():
            return answer
        update = workflow.current_update_info()
        return self._state.answer(*await self._changer.change(ask, update.id if update else ""))

    @change_template.validator
    def _check_change_template(self, ask: ChangeTemplateInput) -> None:
        self._rules.check_life(ask)
        if not self._state.stored_answer():
            self._rules.check_change()
            if self._changer.is_busy or self._drift.is_busy:
                self._rules.refuse_second_change()
            self._rules.check_no_snapshot(self._snapshots.is_busy)

    @described_update("Take a snapshot of the objects in it")
    async def snapshot(self, by: ActorInput) -> Answer:
        """Start to take a snapshot; callers follow it in the status."""
        if answer := self._state.stored_answer():
            return answer
        return self._state.answer(*self._snapshots.ask(by.actor))

    @snapshot.validator
    def _check_snapshot(self, by: ActorInput) -> None:
        self._rules.check_life(by)
        if not self._state.stored_answer():
            self._rules.check_snapshot()
            self._rules.check_no_snapshot(self._snapshots.is_busy)

    @described_update("Restore a snapshot")
    async def restore(self, ask: RestoreInput) -> Answer:
        """Start to restore a snapshot; callers follow it in the status."""
        if answer := self._state.stored_answer():
            return answer
        return self._state.answer(*self._restorer.ask(ask, self._rules.snapshot_to_restore(ask)))

    @restore.validator
    def _check_restore(self, ask: RestoreInput) -> None:
        self._rules.check_life(ask)
        if not self._state.stored_answer():
            self._rules.snapshot_to_restore(ask)
            if self._changer.is_busy or self._drift.is_busy:
                self._rules.refuse_second_change()
            self._rules.check_no_snapshot(self._snapshots.is_busy)
