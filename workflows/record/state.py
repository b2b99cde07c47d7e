"""The record of one environment: what its workflow knows, and how it is shown."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

with workflow.unsafe.imports_passed_through():
    from contracts import expiry
    from contracts.environment.models import (
        MOORAGE_ACTOR,
        AuditLogEntry,
        Certificate,
        Drift,
        EnvironmentStatus,
        Outcome,
        Phase,
        Problem,
        Receipt,
        SleepStatus,
        StepName,
        StepState,
        StepStatus,
        System,
    )
    from contracts.environment.payload_limits import MAX_NAME_BYTES, truncate, truncate_lines
    from contracts.environment_workflow import Answer, AnswerKind, CarriedState, EnvironmentStart
    from contracts.expiry import Term, format_utc
    from contracts.telemetry.trace_context import TraceContext, current_trace_id
    from contracts.templates.parameters import format_parameters
    from contracts.templates.sleep import SleepPolicy
    from contracts.temporal import search_attributes
    from contracts.types.durations import format_duration
    from contracts.types.labels import index_of

from workflows.record.current_details import render_details
from workflows.record.life_metrics import measure_phase
from workflows.record.people import PeopleRecord
from workflows.record.template_change import TemplateRecord
from workflows.steps import steps_of
from workflows.telemetry.tracing import starting_trace

#: Entries of the audit trail that are kept. The first entries say who asked, so they stay; see
#: `trim_audit_log`.
MAX_AUDIT_LOG_ENTRIES = 200
KEPT_FIRST_ENTRIES = 20
#: Answers that are stored for repeated updates: far more than can be in progress at once.
MAX_STORED_ANSWERS = 100

#: The actor in the audit trail for a cancellation of the workflow. Temporal does not say which person
#: cancelled it.
TEMPORAL_ACTOR = "a cancellation in Temporal"


def trim_audit_log(entries: tuple[AuditLogEntry, ...]) -> tuple[AuditLogEntry, ...]:
    """Return at most MAX_AUDIT_LOG_ENTRIES entries, and drop what Moorage did before what people did.

    The first KEPT_FIRST_ENTRIES stay. Of the others the oldest go: those of Moorage first, because a sleep
    schedule alone adds four a day.
    """
    kept = list(entries)
    while len(kept) > MAX_AUDIT_LOG_ENTRIES:
        own = (
            index for index in range(KEPT_FIRST_ENTRIES, len(kept) - 1) if kept[index].actor == MOORAGE_ACTOR
        )
        del kept[next(own, KEPT_FIRST_ENTRIES)]
    return tuple(kept)


@dataclass(frozen=True)
class Ending:
    """Why a life ends. The first cause decides; later causes change nothing."""

    outcome: Outcome
    actor: str
    problem: Problem | None = None
    pause: timedelta = timedelta(0)
    #: The trace of the call that has ended it; None without one.
    trace: TraceContext | None = None


class EnvironmentState:
    """The mutable state of an environment's workflow. All of it can be carried to the next run."""

    def __init__(self, start: EnvironmentStart) -> None:
        if start.carried:
            status = start.carried.status
        else:
            now = workflow.info().start_time
            status = EnvironmentStatus(
                environment=start.environment,
                phase=Phase.PROVISIONING,
                requested_at=now,
                expires_at=now + start.environment.ttl,
                steps=tuple(
                    StepStatus(step=step.name, system=step.system) for step in steps_of(start.environment)
                ),
                audit_log=(
                    AuditLogEntry(
                        at=now,
                        actor=start.environment.owner,
                        action="asked for it",
                        result=truncate(format_parameters(start.environment.parameters)),
                        trace=starting_trace().trace_id,
                    ),
                ),
            )
        self.status = status
        self.people = PeopleRecord(self)
        self.template = TemplateRecord(self)
        self._answers: dict[str, Answer] = dict(start.carried.answers) if start.carried else {}
        workflow.set_current_details(render_details(self.status))

    @property
    def phase(self) -> Phase:
        """The phase of the environment's life."""
        return self.status.phase

    def set_fields(self, **fields: object) -> None:
        """Set fields of the status, and show it."""
        self.status = self.status.model_copy(update=fields)
        workflow.set_current_details(render_details(self.status))

    def enter_phase(self, phase: Phase) -> None:
        """Change to `phase`, and update the search attribute of the phase.

        An environment that was put to sleep and is woken is ready again, not for the first time.
        """
        now = workflow.now()
        is_again = phase is Phase.READY and self.status.ready_at is not None
        reached = {
            Phase.USABLE: {"usable_at": now},
            Phase.READY: {"ready_at": now},
            Phase.GONE: {"ended_at": now},
        }
        self.set_fields(phase=phase, **({} if is_again else reached.get(phase, {})))
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(phase.value)])
        if not is_again:
            measure_phase(self.status)

    def set_sleep_policy(self, actor: str, policy: SleepPolicy | None) -> None:
        """Record when it falls asleep by itself; None is the policy of its template."""
        self.set_fields(own_sleep_policy=policy)
        effective = self.status.sleep_policy
        self.add_log_entry(
            actor, "changed when it sleeps", effective.sentence if effective else "only on request"
        )

    def note_use(self) -> None:
        """Record that a person uses it now."""
        self.set_fields(used_at=workflow.now())

    def set_sleep(self, sleep: SleepStatus | None) -> None:
        """Record its sleep; None once it is awake."""
        if sleep and sleep.problem:
            sleep = sleep.model_copy(update={"problem": sleep.problem.truncated})
        self.set_fields(sleep=sleep)

    def set_drift(self, drift: tuple[Drift, ...]) -> None:
        """Record what is missing or altered under it."""
        cut = (
            one.model_copy(
                update={
                    "what": truncate(one.what),
                    "problem": one.problem.truncated if one.problem else None,
                }
            )
            for one in drift
        )
        self.set_fields(drift=tuple(cut))

    def set_trace(self, trace: TraceContext) -> None:
        """Record the span of the making, or of the undoing, in progress."""
        self.set_fields(traceparent=trace.traceparent)

    def set_outcome(
        self, outcome: Outcome, actor: str, problem: Problem | None = None, *, forced: bool = False
    ) -> None:
        """Record why the life ends; the first cause decides.

        `forced` means that the life's own workflow could not end it.
        """
        self.set_fields(outcome=outcome, problem=problem.truncated if problem else None)
        action = {
            Outcome.DELETED: "asked to delete it",
            Outcome.CANCELLED: "cancelled it",
            Outcome.EXPIRED: "ended it: its time was up",
            Outcome.FAILED: "gave up making it",
        }
        verb = "had what is left of it torn down" if forced else action[outcome]
        self.add_log_entry(actor, verb, problem.cause if problem else "")

    def warn(self, actor: str, lead: timedelta) -> timedelta:
        """Record that the warning `lead` is given now; return how far that moves the end.

        `lead` is the time between the warning and the end.
        """
        before = self.status.term
        after = expiry.record_warning(before, workflow.now(), lead)
        moved = after.ends_at - before.ends_at
        result = f"ends {format_utc(after.ends_at)}"
        if moved:
            result += (
                f"; moved by {format_duration(moved)}, because the warning could not be recorded in time"
            )
        self.set_fields(warnings=after.warnings)
        self.move_end(after.ends_at, actor, f"warned {format_duration(lead)} before the end", result)
        return moved

    def extend(self, actor: str, after: Term, reason: str) -> None:
        """Record that the end was moved."""
        last = after.extensions[-1]
        beyond = ", beyond what its template allows" if last.override else ""
        result = f"ends {format_utc(after.ends_at)}" + (f"; reason: {reason}" if reason else "")
        self.set_fields(warnings=after.warnings, extensions=after.extensions)
        self.move_end(after.ends_at, actor, f"extended it by {format_duration(last.by)}{beyond}", result)

    def set_own_queues(self, systems: Iterable[System]) -> None:
        """Record which systems have task queues by the settings of now."""
        # In the order of the vocabulary, because that of a set differs between two replays.
        wanted = set(systems)
        known = tuple(system for system in System if system in wanted)
        environment = self.status.environment
        if known != environment.own_queues:
            self.set_fields(environment=environment.model_copy(update={"own_queues": known}))

    def set_step_note(self, name: StepName, note: str) -> None:
        """Change the note of a step, and nothing else of it."""
        steps = tuple(
            old.model_copy(update={"note": truncate(note)}) if old.step is name else old
            for old in self.status.steps
        )
        self.set_fields(steps=steps)

    def move_end(self, ends_at: datetime, actor: str, action: str, result: str) -> None:
        """Record another end, and why."""
        self.set_fields(expires_at=ends_at)
        self.add_log_entry(actor, action, result, ends_at)
        workflow.upsert_search_attributes(self.expiry_attributes)

    @property
    def expiry_attributes(self) -> list[SearchAttributeUpdate[datetime]]:
        """The search attributes for the end, and for what is due before it."""
        return [
            search_attributes.EXPIRES_AT.value_set(self.status.expires_at),
            search_attributes.DUE_AT.value_set(self.status.term.due_at),
        ]

    def reindex(self) -> None:
        """Set all search attributes again, changed or not."""
        environment = self.status.environment
        workflow.upsert_search_attributes(
            [
                search_attributes.OWNER.value_set(environment.owner),
                search_attributes.COLLABORATORS.value_set(environment.collaborators),
                search_attributes.TEAM.value_set(environment.spec.team),
                search_attributes.PHASE.value_set(self.status.phase.value),
                search_attributes.TEMPLATE.value_set(environment.template.name),
                search_attributes.HOST.value_set(environment.host),
                search_attributes.LABELS.value_set(index_of(environment.spec.labels)),
                *self.expiry_attributes,
            ]
        )

    def set_step_state(
        self, name: StepName, state: StepState, note: str = "", receipt: Receipt | None = None
    ) -> None:
        """Record that a step is now in `state`."""
        now = workflow.now()
        steps = tuple(
            old.model_copy(update={"state": state, "note": truncate(note), **_step_times(old, state, now)})
            if old.step is name
            else old
            for old in self.status.steps
        )
        receipts = dict(self.status.receipts)
        if receipt:
            receipts[name] = _truncate_receipt(receipt)
        elif state is StepState.UNDONE:
            receipts.pop(name, None)
        self.set_fields(steps=steps, receipts=receipts)

    def state_of(self, name: StepName) -> StepState:
        """Return the state of the step."""
        return next(step.state for step in self.status.steps if step.step is name)

    def unfinished(self, problems: tuple[Problem, ...]) -> None:
        """Record what the teardown could not do so far."""
        self.set_fields(unfinished=tuple(problem.truncated for problem in problems))

    def pause(self, until: datetime | None) -> None:
        """Record when the next pass of the teardown starts; None while a pass is in progress."""
        self.set_fields(next_pass_at=until)

    def set_certificate(self, certificate: Certificate) -> None:
        """Record the result of the last inspection."""
        findings = tuple(
            finding.model_copy(
                update={
                    field: truncate_lines(getattr(finding, field)) for field in ("left", "kept", "forced")
                }
            )
            for finding in certificate.findings
        )
        self.set_fields(certificate=certificate.model_copy(update={"findings": findings}))

    def add_log_entry(
        self, actor: str, action: str, result: str = "", ends_at: datetime | None = None
    ) -> None:
        """Add a line to the audit trail."""
        entry = AuditLogEntry(
            at=workflow.now(),
            actor=truncate(actor, MAX_NAME_BYTES),
            action=truncate(action, MAX_NAME_BYTES),
            result=truncate(result),
            ends_at=ends_at,
            trace=current_trace_id(),
        )
        self.set_fields(audit_log=trim_audit_log((*self.status.audit_log, entry)))

    def stored_answer(self) -> Answer | None:
        """Return the earlier answer to the current update, or None if it is new.

        The answer may be from this run or from a previous one.
        """
        update = workflow.current_update_info()
        return self._answers.get(update.id) if update else None

    def answer(self, kind: AnswerKind, message: str) -> Answer:
        """Answer the current update, and store the answer for a repeat of it."""
        answer = Answer(kind=kind, message=message, life=self.status.environment.mark.life)
        update = workflow.current_update_info()
        if update:
            self._answers[update.id] = answer
            while len(self._answers) > MAX_STORED_ANSWERS:
                del self._answers[next(iter(self._answers))]
        return answer

    def carried_state(self) -> CarriedState:
        """Return the state that the next run needs."""
        return CarriedState(status=self.status, answers=self._answers)


def _step_times(
    before: StepStatus, state: StepState, now: datetime
) -> dict[str, datetime | timedelta | None]:
    """Return the start and the end of a step that enters `state` now, and how long it took if it is done."""
    if state in (StepState.RUNNING, StepState.UNDOING):
        return {"started_at": now, "ended_at": None}
    if state is StepState.UNDO_FAILED and before.state is not StepState.UNDOING:
        # Its undo was not even tried, so it took no time.
        return {"started_at": None, "ended_at": None}
    took = {"took": now - before.started_at} if state is StepState.DONE and before.started_at else {}
    return {"started_at": before.started_at, "ended_at": now, **took}


def _truncate_receipt(receipt: Receipt) -> Receipt:
    names = {field: truncate(getattr(receipt, field), MAX_NAME_BYTES) for field in ("name", "reference")}
    return receipt.model_copy(update=names)
