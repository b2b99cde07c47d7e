"""The record of one environment: what its workflow knows of it, and how that is shown."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

with workflow.unsafe.imports_passed_through():
    from contracts import expiry, search_attributes
    from contracts.durations import format_duration
    from contracts.environment import (
        Certificate,
        EnvironmentStatus,
        Outcome,
        Phase,
        Problem,
        Receipt,
        StepName,
        StepState,
        StepStatus,
        TrailEntry,
    )
    from contracts.environment_workflow import Answer, Carried, EnvironmentStart
    from contracts.expiry import Term, said
    from contracts.size_limits import MOST_NAME_BYTES, cut, first_of

from workflows.steps import steps_of

#: Entries of the audit trail that are kept: the first ones say who asked, so the middle is what goes.
TRAIL_LENGTH = 200
TRAIL_HEAD = 20
#: Answers that are remembered for repeated updates: far more than can be under way at once.
ANSWERS_LENGTH = 100

#: Between two columns of the page: two no-break spaces.
_GAP = "\u00a0\u00a0"

#: Who did what the environment did by itself.
ITSELF = "moorage"
#: Who did what came as a cancellation of the workflow; Temporal does not say which person that was.
TEMPORAL = "a cancellation in Temporal"


class EnvironmentState:
    """The mutable state of an environment's workflow. Everything in it can be carried to a next run."""

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
                trail=(TrailEntry(at=now, who=start.environment.owner, what="asked for it"),),
            )
        self.status = status
        self._answers: dict[str, Answer] = dict(start.carried.answers) if start.carried else {}
        workflow.set_current_details(self._page())

    @property
    def phase(self) -> Phase:
        """Where in its life the environment is."""
        return self.status.phase

    def _change(self, **fields: object) -> None:
        self.status = self.status.model_copy(update=fields)
        workflow.set_current_details(self._page())

    def enter(self, phase: Phase) -> None:
        """Go over to `phase`, findable by it."""
        now = workflow.now()
        reached = {
            Phase.USABLE: {"usable_at": now},
            Phase.READY: {"ready_at": now},
            Phase.GONE: {"ended_at": now},
        }
        self._change(phase=phase, **reached.get(phase, {}))
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(phase.value)])

    def end_as(
        self, outcome: Outcome, who: str, problem: Problem | None = None, *, forced: bool = False
    ) -> None:
        """Keep why the life ends: the first cause decides. `forced`: its own workflow could not end it."""
        self._change(outcome=outcome, problem=_short(problem) if problem else None)
        what = {
            Outcome.DELETED: "asked to delete it",
            Outcome.CANCELLED: "cancelled it",
            Outcome.EXPIRED: "ended it: its time was up",
            Outcome.FAILED: "gave up making it",
        }
        verb = "had what is left of it torn down" if forced else what[outcome]
        self.note(who, verb, problem.cause if problem else "")

    def warn(self, who: str, lead: timedelta) -> timedelta:
        """Keep that the warning `lead` before the end is given now; how far that moves the end."""
        before = self.status.term
        after = expiry.warned(before, workflow.now(), lead)
        moved = after.ends_at - before.ends_at
        result = f"ends {said(after.ends_at)}"
        if moved:
            result += (
                f"; moved by {format_duration(moved)}, because the warning could not be recorded in time"
            )
        self._change(warned=after.warned)
        self._retime(after.ends_at, who, f"warned {format_duration(lead)} before the end", result)
        return moved

    def extend(self, who: str, after: Term, reason: str) -> None:
        """Keep that the end has been moved."""
        last = after.extended[-1]
        beyond = ", beyond what its template allows" if last.override else ""
        result = f"ends {said(after.ends_at)}" + (f"; reason: {reason}" if reason else "")
        self._change(warned=after.warned, extended=after.extended)
        self._retime(after.ends_at, who, f"extended it by {format_duration(last.by)}{beyond}", result)

    def _retime(self, ends_at: datetime, who: str, what: str, result: str) -> None:
        self._change(expires_at=ends_at)
        self.note(who, what, result, ends_at)
        workflow.upsert_search_attributes(self.times)

    @property
    def times(self) -> list[SearchAttributeUpdate[datetime]]:
        """The search attributes by which its end, and what is due before, are found."""
        return [
            search_attributes.EXPIRES_AT.value_set(self.status.expires_at),
            search_attributes.DUE_AT.value_set(self.status.term.due_at),
        ]

    def reindex(self) -> None:
        """Set all search attributes, whatever they are."""
        environment = self.status.environment
        workflow.upsert_search_attributes(
            [
                search_attributes.OWNER.value_set(environment.owner),
                search_attributes.COLLABORATORS.value_set(environment.spec.collaborators),
                search_attributes.TEAM.value_set(environment.spec.team),
                search_attributes.PHASE.value_set(self.status.phase.value),
                search_attributes.TEMPLATE.value_set(environment.template.name),
                search_attributes.HOST.value_set(environment.host),
                *self.times,
            ]
        )

    def step(self, name: StepName, state: StepState, note: str = "", receipt: Receipt | None = None) -> None:
        """Keep that a step is now in `state`."""
        now = workflow.now()
        steps = tuple(
            old.model_copy(update={"state": state, "note": cut(note), **_moments(old, state, now)})
            if old.step is name
            else old
            for old in self.status.steps
        )
        receipts = dict(self.status.receipts)
        if receipt:
            receipts[name] = _bounded(receipt)
        elif state is StepState.UNDONE:
            receipts.pop(name, None)
        self._change(steps=steps, receipts=receipts)

    def state_of(self, name: StepName) -> StepState:
        """How the step stands."""
        return next(step.state for step in self.status.steps if step.step is name)

    def unfinished(self, problems: tuple[Problem, ...]) -> None:
        """Keep what the teardown could not do so far."""
        self._change(unfinished=tuple(_short(problem) for problem in problems))

    def pause(self, until: datetime | None) -> None:
        """Keep when the next pass of the teardown starts; None while one is under way."""
        self._change(next_pass_at=until)

    def certify(self, certificate: Certificate) -> None:
        """Keep the result of the last inspection."""
        findings = tuple(
            finding.model_copy(
                update={field: first_of(getattr(finding, field)) for field in ("left", "kept", "forced")}
            )
            for finding in certificate.findings
        )
        self._change(certificate=certificate.model_copy(update={"findings": findings}))

    def note(self, who: str, what: str, result: str = "", ends_at: datetime | None = None) -> None:
        """Add a line to the audit trail."""
        entry = TrailEntry(
            at=workflow.now(),
            who=cut(who, MOST_NAME_BYTES),
            what=cut(what, MOST_NAME_BYTES),
            result=cut(result),
            ends_at=ends_at,
        )
        trail = (*self.status.trail, entry)
        if len(trail) > TRAIL_LENGTH:
            trail = trail[:TRAIL_HEAD] + trail[len(trail) - TRAIL_LENGTH + TRAIL_HEAD :]
        self._change(trail=trail)

    def remembered(self) -> Answer | None:
        """The answer that the update being handled has had before, in this run or an earlier one."""
        update = workflow.current_update_info()
        return self._answers.get(update.id) if update else None

    def remember(self, answer: Answer) -> Answer:
        """Keep the answer to the update being handled, and return it."""
        update = workflow.current_update_info()
        if update:
            self._answers[update.id] = answer
            while len(self._answers) > ANSWERS_LENGTH:
                del self._answers[next(iter(self._answers))]
        return answer

    def carried(self) -> Carried:
        """What the next run needs."""
        return Carried(status=self.status, answers=self._answers)

    def _page(self) -> str:
        status = self.status
        lines = [
            f"**{status.environment.name}** of {status.environment.owner}: **{status.phase}**, "
            f"ends {said(status.expires_at)}",
            "",
            _row("step", "system", "state", "since", ""),
            "| :-- | :-- | :-- | :-- | :-- |",
        ]
        for step in status.steps:
            since = _clock(step.ended_at or step.started_at)
            lines.append(_row(step.step, step.system, step.state, since, step.note))
        if status.problem:
            lines += ["", f"**Why it ends**: {status.problem.cause} {status.problem.remedy}"]
        for problem in status.unfinished:
            lines += ["", f"**Not undone yet**: {problem.step}: {problem.cause} {problem.remedy}"]
        if status.next_pass_at:
            lines += ["", f"**Next pass of the teardown**: {said(status.next_pass_at)}"]
        return "\n".join(lines)


def _moments(before: StepStatus, state: StepState, now: datetime) -> dict[str, datetime | None]:
    """When a step that is in `state` from now on started and ended."""
    if state in (StepState.RUNNING, StepState.UNDOING):
        return {"started_at": now, "ended_at": None}
    if state is StepState.UNDO_FAILED and before.state is not StepState.UNDOING:
        # Its undo was not even tried, so it took no time.
        return {"started_at": None, "ended_at": None}
    return {"started_at": before.started_at, "ended_at": now}


def _short(problem: Problem) -> Problem:
    """The problem, with no text that is too long to be carried."""
    return problem.model_copy(update={"cause": cut(problem.cause), "remedy": cut(problem.remedy)})


def _bounded(receipt: Receipt) -> Receipt:
    names = {field: cut(getattr(receipt, field), MOST_NAME_BYTES) for field in ("name", "reference")}
    return receipt.model_copy(update=names)


def _row(*cells: str) -> str:
    # Temporal's Web UI sets cells side by side with nothing between them: these blanks are kept.
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(f'{cell}{_GAP}' for cell in escaped)} |"


def _clock(moment: datetime | None) -> str:
    return moment.strftime("%H:%M:%S") if moment else ""
