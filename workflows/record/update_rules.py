"""What an environment accepts from users and sweeps, and how it rejects the rest.

Update validators use these rules, so nothing here changes any state.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts import expiry
    from contracts.environment.models import MADE_PHASES, Phase
    from contracts.environment.payload_limits import MAX_COLLABORATORS, MAX_EXTENSIONS, MAX_PENDING_ACCESS
    from contracts.environment.snapshot_support import snapshot_obstacle
    from contracts.environment_workflow import (
        CollaboratorAction,
        CollaboratorInput,
        EnvironmentStart,
        ExtendInput,
        LifeInput,
        RequestInput,
        RestoreInput,
        SleepChangeInput,
        SweepUpdateInput,
        TransferInput,
    )
    from contracts.errors import ErrorType, Refusal, RefusalReason
    from contracts.expiry import Due, DueKind, ExtensionRejected, Term, format_utc
    from contracts.templates.sleep import problems_within
    from contracts.temporal.search_attributes import ensure_collaborators_fit

from workflows.record.state import EnvironmentState


class UpdateRules:
    """The rules of one environment. A violation is raised as `REQUEST_REFUSED` with a `Refusal`."""

    def __init__(
        self, start: EnvironmentStart, state: EnvironmentState, is_ending: Callable[[], bool]
    ) -> None:
        self._life = start.environment.mark.life
        self._name = start.environment.name
        self._state = state
        self._is_ending = is_ending

    def check_life(self, ask: LifeInput) -> None:
        """Raise unless the update names the present life.

        A later life of the same name may belong to another person.
        """
        if ask.life != self._life:
            raise _refused(
                RefusalReason.OTHER_LIFE,
                f"This was meant for another life of {self._name} than the one that it has now: "
                "look at it, and ask again.",
            )

    def check_join(self, ask: RequestInput) -> None:
        """Raise unless the owner requests the same spec and no teardown has started."""
        environment = self._state.status.environment
        if ask.owner != environment.owner:
            raise _error(Refusal.taken(self._name))
        if self._is_ending():
            raise _refused(
                RefusalReason.BEING_TORN_DOWN,
                f"{self._name} is being torn down: ask again when it is gone, or choose another name.",
            )
        wanted, given = ask.spec.model_dump(), environment.spec.model_dump()
        if differing := tuple(field for field in given if wanted[field] != given[field]):
            raise _error(Refusal.other_spec(self._name, differing))

    def check_cancel(self) -> None:
        """Raise if the environment is ready.

        A cancellation is accepted while the environment is being provisioned, and also when it is being torn
        down already.
        """
        if self._state.phase in MADE_PHASES and not self._is_ending():
            raise _refused(
                RefusalReason.NOT_NOW, f"{self._name} is ready: there is nothing to cancel, use delete."
            )

    def check_sleep(self, ask: SleepChangeInput | None = None) -> None:
        """Raise unless it can be put to sleep or woken now, or unless its template allows the policy."""
        if ask and ask.policy:
            template = self._state.status.environment.template
            problems = problems_within(ask.policy, template.sleep, template.credentials.maximum)
            if problems:
                message = f"{self._name} cannot sleep so: {'; '.join(problems.values())}."
                raise _refused(RefusalReason.BEYOND_POLICY, message)
        if self._is_ending():
            message = f"{self._name} is being torn down: it neither falls asleep nor wakes any more."
            raise _refused(RefusalReason.BEING_TORN_DOWN, message)
        if self._state.phase not in MADE_PHASES:
            message = f"{self._name} is {self._state.phase.words}: it can sleep once it is ready."
            raise _refused(RefusalReason.NOT_NOW, message)
        if self._state.status.change:
            message = f"{self._name} is being changed to another template: it can sleep once that is over."
            raise _refused(RefusalReason.NOT_NOW, message)
        self._check_no_restore()

    def check_collaborator(self, ask: CollaboratorInput) -> None:
        """Raise unless the person can be added or removed now."""
        self._require_ready()
        environment = self._state.status.environment
        if ask.person == environment.owner:
            if ask.action is CollaboratorAction.ADD and not self._state.status.owner_left:
                return  # The owner has access already, and the answer says so.
            raise _refused(
                RefusalReason.NOT_NOW,
                f"{ask.person} owns {self._name}: only its collaborators are added and removed.",
            )
        if ask.action is CollaboratorAction.REMOVE or ask.person in environment.collaborators:
            return
        people = sorted({*environment.collaborators, ask.person})
        if len(people) > MAX_COLLABORATORS:
            message = f"{self._name} has {MAX_COLLABORATORS} collaborators, which is the most: remove one."
            raise _refused(RefusalReason.BEYOND_POLICY, message)
        try:
            ensure_collaborators_fit(people)
        except ValueError as error:
            message = f"{ask.person} cannot be added to {self._name}: {error}."
            raise _refused(RefusalReason.BEYOND_POLICY, message) from None
        self._require_few_pending()

    def check_transfer(self, ask: TransferInput) -> None:
        """Raise unless the environment can get another owner now, and from the owner that the sender saw."""
        self._require_ready()
        owner = self._state.status.environment.owner
        if ask.owner and owner not in (ask.owner, ask.person):
            message = f"{self._name} was transferred at the same time, and has another owner now."
            raise _refused(RefusalReason.NOT_NOW, message)
        self._require_few_pending()

    def check_change(self) -> None:
        """Raise unless the template can be changed now."""
        if self._is_ending():
            message = f"{self._name} is being torn down: it cannot be changed any more."
            raise _refused(RefusalReason.BEING_TORN_DOWN, message)
        if booking := self._state.status.environment.booking:
            message = f"{self._name} is a seat of the booking {booking.event}: its template stays."
            raise _refused(RefusalReason.BEYOND_POLICY, message)
        if self._state.phase is not Phase.READY:
            message = f"{self._name} is {self._state.phase.words}: it can be changed once it is ready."
            raise _refused(RefusalReason.NOT_NOW, message)
        if change := self._state.status.change:
            what = f"{change.template.name} version {change.template.version}"
            message = f"{self._name} is being changed to {what} already: ask again when that is over."
            raise _refused(RefusalReason.NOT_NOW, message)
        self._check_no_restore()

    def refuse_second_change(self) -> None:
        """Raise because another change of the template is being decided, or a repair is in progress."""
        message = f"{self._name} is being changed or repaired already: ask again when that is over."
        raise _refused(RefusalReason.NOT_NOW, message)

    def check_snapshot(self, done: str = "taken") -> None:
        """Raise unless a snapshot can be `done` now: its vCluster takes it, and only while it runs."""
        if self._is_ending():
            message = f"{self._name} is being torn down: no snapshot of it can be {done} any more."
            raise _refused(RefusalReason.BEING_TORN_DOWN, message)
        if obstacle := snapshot_obstacle(self._state.status.environment.template):
            message = f"No snapshot of {self._name} can be {done}: {obstacle}."
            raise _refused(RefusalReason.BEYOND_POLICY, message)
        if self._state.phase is not Phase.READY:
            phase = self._state.phase.words
            message = f"{self._name} is {phase}: a snapshot can be {done} once it is ready."
            raise _refused(RefusalReason.NOT_NOW, message)
        if self._state.status.change:
            message = f"{self._name} is being changed to another template: ask again when that is over."
            raise _refused(RefusalReason.NOT_NOW, message)
        self._check_no_restore()

    def snapshot_to_restore(self, ask: RestoreInput) -> int:
        """Return the number of the snapshot; raise unless it can be restored now."""
        self.check_snapshot("restored")
        taken = [one.number for one in self._state.status.snapshots if one.taken_at]
        if not taken:
            message = f"{self._name} has no snapshot that could be restored: take one first."
            raise _refused(RefusalReason.NOT_NOW, message)
        if ask.number is not None and ask.number not in taken:
            numbers = ", ".join(map(str, taken))
            message = f"{self._name} has no snapshot {ask.number}: it has {numbers}."
            raise _refused(RefusalReason.NOT_NOW, message)
        return taken[-1] if ask.number is None else ask.number

    def _check_no_restore(self) -> None:
        if restore := self._state.status.restore:
            message = (
                f"Snapshot {restore.number} of {self._name} is being restored: ask again when that is over."
            )
            raise _refused(RefusalReason.NOT_NOW, message)

    def check_no_snapshot(self, is_busy: bool) -> None:
        """Raise if a snapshot is being taken."""
        if is_busy:
            message = f"A snapshot of {self._name} is being taken: ask again when that is over."
            raise _refused(RefusalReason.NOT_NOW, message)

    def check_leaver(self) -> None:
        """Raise unless the access of people can end now: before and after that, the next sweep asks again."""
        self._require_ready()

    def _require_ready(self) -> None:
        if self._is_ending():
            message = f"{self._name} is being torn down: its people cannot change any more."
            raise _refused(RefusalReason.BEING_TORN_DOWN, message)
        if self._state.phase not in MADE_PHASES:
            message = f"{self._name} is {self._state.phase.words}: its people can change once it is ready."
            raise _refused(RefusalReason.NOT_NOW, message)

    def _require_few_pending(self) -> None:
        if len(self._state.status.access.people) >= MAX_PENDING_ACCESS:
            message = (
                f"{MAX_PENDING_ACCESS} changes of access to {self._name} wait for other systems: "
                f"see why with `moorage show {self._name}`, and ask again."
            )
            raise _refused(RefusalReason.NOT_NOW, message)

    def check_resume(self) -> None:
        """Raise unless the environment is being torn down or its teardown has given up."""
        if not self._is_ending():
            raise _refused(
                RefusalReason.NOT_NOW,
                f"{self._name} is {self._state.phase.words}: there is no teardown to go on with.",
            )

    def extended_term(self, ask: ExtendInput) -> Term:
        """Return the term after the extension; raise if it is beyond the policy and not overridden."""
        if self._is_ending():
            message = f"{self._name} is being torn down: it cannot be extended any more."
            raise _refused(RefusalReason.BEING_TORN_DOWN, message)
        if self._state.status.owner_left and not ask.override:
            message = (
                f"The owner of {self._name} has left: a member of its team must take it first "
                f"(moorage transfer {self._name} --to EMAIL)."
            )
            raise _refused(RefusalReason.BEYOND_POLICY, message)
        if ask.override and not ask.reason.strip():
            raise _refused(RefusalReason.BEYOND_POLICY, "An extension beyond the policy needs a reason.")
        if len(self._state.status.extensions) >= MAX_EXTENSIONS:
            message = f"{self._name} has been extended {MAX_EXTENSIONS} times already: ask for another one."
            raise _refused(RefusalReason.BEYOND_POLICY, message)
        try:
            term = expiry.extend_term(
                self._state.status.term,
                workflow.now(),
                by=ask.by,
                until=ask.until,
                override=ask.override,
            )
        except ExtensionRejected as error:
            raise _refused(
                RefusalReason.BEYOND_POLICY,
                f"{self._name} cannot be extended so: {error.reason}.",
                latest=error.latest,
            ) from None
        booking = self._state.status.environment.booking
        if booking and term.ends_at > booking.ends_at:
            message = (
                f"{self._name} is a seat of the booking {booking.event}, which ends "
                f"{format_utc(booking.ends_at)}: it cannot be extended beyond that."
            )
            raise _refused(RefusalReason.BEYOND_POLICY, message, latest=booking.ends_at)
        return term

    def require_due(self, ask: SweepUpdateInput, kind: DueKind) -> Due:
        """Return what is due, if it is `kind`; raise otherwise.

        An extension that was accepted before this update has moved the end.
        """
        if workflow.now() > ask.valid_until:
            raise _refused(
                RefusalReason.NOT_DUE, f"{self._name} was asked too late: the next sweep asks again."
            )
        due = self.due(workflow.now(), ask.lookahead)
        if due.kind is not kind:
            raise _refused(RefusalReason.NOT_DUE, due.reason)
        return due

    def due(self, now: datetime, lookahead: timedelta) -> Due:
        """Return what is due at `now`; `lookahead` is as in `contracts.expiry.due`."""
        if self._is_ending():
            return Due(kind=DueKind.KEEP, reason="it is being torn down already")
        status = self._state.status
        return expiry.due(status.term, now, in_use=status.in_use, lookahead=lookahead)


def _refused(reason: RefusalReason, message: str, latest: datetime | None = None) -> ApplicationError:
    return _error(Refusal(reason=reason, message=message, latest=latest))


def _error(refusal: Refusal) -> ApplicationError:
    return ApplicationError(refusal.message, refusal, type=ErrorType.REQUEST_REFUSED, non_retryable=True)
