"""The change of the template in the record of an environment."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import MOORAGE_ACTOR, Environment, Problem, Spec, TemplateChange
    from contracts.environment.payload_limits import truncate
    from contracts.environment.template_change import describe_template
    from contracts.templates.parameters import format_parameters
    from contracts.templates.template import Template
    from contracts.temporal import search_attributes

from workflows.record.status_changes import StatusRecord


class TemplateRecord:
    """Records changes of the template. `workflows.changes.template_change` makes them."""

    def __init__(self, state: StatusRecord) -> None:
        self._state = state

    def begin_change(self, id: str, actor: str, template: Template, spec: Spec) -> None:
        """Record that the template is being changed, if there is room."""
        change = TemplateChange(id=id, template=template, spec=spec, actor=actor, started_at=workflow.now())
        self._state.set_fields(change=change, change_problem=None)

    def roll_back_change(self, problem: Problem) -> None:
        """Record that the change has failed, and that the environment goes back.

        That may take several runs, and the values of the template are not needed any more.
        """
        change = self._state.status.change
        if change is None:
            return
        problem = problem.truncated
        template = change.template.model_copy(update={"values": {}})
        change = change.model_copy(update={"template": template, "problem": problem})
        self._state.set_fields(change=change, change_problem=problem)
        what = f"could not change it to {describe_template(change.template)}"
        self._state.add_log_entry(MOORAGE_ACTOR, what, f"{problem.step}: {problem.cause}")

    def drop_change(self) -> None:
        """Record that there is no change any more: it was refused, or the environment ends."""
        self._state.set_fields(change=None)

    def end_rollback(self) -> None:
        """Record that the environment has its former template again."""
        self.drop_change()
        action = f"went back to {describe_template(self._state.status.environment.template)}"
        self._state.add_log_entry(MOORAGE_ACTOR, action)

    def complete_change(self, after: Environment) -> None:
        """Record that the environment has the template and the spec of `after`."""
        # Not `after` itself: its people may have changed meanwhile.
        environment = self._state.status.environment.model_copy(
            update={"template": after.template, "spec": after.spec}
        )
        self._state.set_fields(change=None, environment=environment)
        parameters = truncate(format_parameters(environment.parameters))
        self._state.add_log_entry(
            MOORAGE_ACTOR, f"changed it to {describe_template(environment.template)}", parameters
        )
        workflow.upsert_search_attributes(
            [search_attributes.TEMPLATE.value_set(environment.template.name), *self._state.expiry_attributes]
        )
