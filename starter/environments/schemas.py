"""Response models of the API for environments, with the contracts' names; the CLI shows them.

No model contains a secret. Fields that only a worker can provide are empty while no worker answers; then
`remark` says so.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from contracts.environment.models import (
    AuditLogEntry,
    Certificate,
    Drift,
    EnvironmentStatus,
    EnvironmentSummary,
    Outcome,
    Phase,
    Problem,
    Restore,
    Snapshot,
    StepName,
    StepState,
)
from contracts.environment.snapshot_support import snapshot_obstacle
from contracts.telemetry.trace_context import parse_traceparent
from contracts.templates.parameters import ParameterValue
from contracts.templates.sleep import SleepPolicy, SleepReason
from contracts.types.models import Duration, Frozen

#: Phases in which a user can work with the environment.
USABLE_PHASES = frozenset({Phase.USABLE, Phase.READY})


class Progress(Frozen):
    """The progress of a running step: what it waits for, its attempt, and why the last attempt failed."""

    waiting_for: str = ""
    attempt: int = 1
    next_attempt_at: datetime | None = None
    last_failure: str = ""
    throttled_by: str = Field(default="", description="the system that has asked for the pause, if one has")


class StepView(Frozen):
    """The state of one step, with its `progress` while it runs."""

    step: StepName
    system: str
    state: StepState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""
    progress: Progress | None = None


class SystemView(Frozen):
    """What the last inspection found in one system. `left`: what is left, empty if nothing.

    `kept` is what the template says to keep. `forced` is what did not end by itself and was ended, one line
    each.
    """

    system: str
    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()


class CertificateView(Frozen):
    """The result of the inspection after a teardown, by system."""

    inspected_at: datetime
    nothing_left: bool
    systems: tuple[SystemView, ...]


class Unwell(Frozen):
    """The problem of an environment that was ready, and since when it is known."""

    what: str
    since: datetime | None = None


class AccessView(Frozen):
    """The changes of access that are under way: other systems do not have them yet."""

    granting: tuple[str, ...] = ()
    revoking: tuple[str, ...] = ()
    problem: Problem | None = Field(default=None, description="why the last attempt failed; it tries again")


class SleepView(Frozen):
    """The sleep of an environment: who wanted its last change, and since when its pods are gone."""

    actor: str
    reason: SleepReason = SleepReason.REQUESTED
    asleep_at: datetime | None = None
    problem: Problem | None = Field(default=None, description="why it could not fall asleep or be woken")


class LifeSummary(EnvironmentSummary):
    """The phase of a life, how it ended, and when."""

    phase: Phase
    outcome: Outcome | None = None
    ended: bool = False
    requested_at: datetime
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    labels: dict[str, str] = {}
    owner_left_at: datetime | None = Field(
        default=None, description="since when its owner has left, so that a member of its team can take it"
    )
    run_id: str = Field(default="", description="the run of its workflow in Temporal that says this")


class EnvironmentRow(LifeSummary):
    """An environment as lists show it."""

    problem: str = Field(default="", description="what holds it up, if that was asked for")
    next_try_at: datetime | None = Field(default=None, description="when it tries again by itself")
    unwell: Unwell | None = Field(
        default=None,
        description="as of one environment, as far as it is known; only with `troubles`",
    )
    standby: str = Field(default="", exclude=True, description="the standby that it was given")


class EnvironmentView(LifeSummary):
    """The state of an environment."""

    template_version: int | None = None
    template_newer: int | None = Field(
        default=None, description="the version that the catalogue has now, if that is a newer one"
    )
    kubernetes: str = ""
    parameters: dict[str, ParameterValue] = Field(
        default={}, description="of its template: those of the request, and the defaults of the others"
    )
    collaborators: tuple[str, ...] = ()
    access: AccessView | None = Field(default=None, description="null if no change of access is under way")
    sleep: SleepView | None = Field(default=None, description="null while it is awake")
    sleep_policy: SleepPolicy | None = Field(
        default=None, description="when it falls asleep by itself; null if it does not"
    )
    ttl: Duration | None = None
    usable_at: datetime | None = None
    ready_at: datetime | None = None
    steps: tuple[StepView, ...] = ()
    problem: Problem | None = Field(default=None, description="why it could not be made")
    drift: tuple[Drift, ...] = Field(
        default=(), description="what is missing or altered under it, as the reconcile sweep has found it"
    )
    unfinished: tuple[Problem, ...] = Field(default=(), description="what could not be undone so far")
    next_pass_at: datetime | None = Field(
        default=None, description="when the next pass of its teardown starts, while it waits for that"
    )
    certificate: CertificateView | None = None
    audit_log: tuple[AuditLogEntry, ...] = ()
    extendable_until: datetime | None = Field(
        default=None, description="the latest end that its template's policy allows, if that is a later one"
    )
    frozen: "FreezeView | None" = Field(default=None, description="set while no environment ends")
    change: "ChangeView | None" = Field(default=None, description="set while its template is being changed")
    change_problem: Problem | None = Field(
        default=None, description="why the last change of its template was rolled back"
    )
    snapshots: tuple[Snapshot, ...] = Field(
        default=(), description="the last ones, the latest last; they have no volumes of its workloads"
    )
    restore: Restore | None = Field(default=None, description="set while a snapshot is being restored")
    restore_problem: Problem | None = Field(
        default=None, description="why the last restore has left the state of before"
    )
    no_snapshots: str = Field(default="", description="why its vCluster takes none, as a clause")
    remark: str = Field(default="", description="what is unusual about this answer, in a sentence")
    unwell: Unwell | None = Field(
        default=None, description="what its host says is wrong with it, though it was ready; null if nothing"
    )
    trace: str = Field(
        default="", description="the id of the trace of its making, or of its undoing once that has started"
    )


class ChangeView(Frozen):
    """A change of the template that is in progress. `going_back`: it failed, and is being rolled back."""

    template: str
    template_version: int
    kubernetes: str
    actor: str
    started_at: datetime
    going_back: bool = False


class LifeView(LifeSummary):
    """One life of a name."""

    audit_log: tuple[AuditLogEntry, ...] = ()
    certificate: CertificateView | None = None
    remark: str = ""

    @classmethod
    def of(cls, view: EnvironmentView) -> "LifeView":
        """Take from the view what a history shows."""
        return cls(**{field: getattr(view, field) for field in cls.model_fields})


class HistoryView(Frozen):
    """The lives of a name, latest first."""

    name: str
    lives: tuple[LifeView, ...]


class FreezeView(Frozen):
    """A freeze of all ends: since when, by whom, and why. A pause in Temporal's Web UI has only a note."""

    by: str = ""
    since: datetime | None = None
    reason: str


class FreezeAnswer(Frozen):
    """The freeze of all ends, if there is one, and a sentence about it."""

    frozen: FreezeView | None
    message: str


EnvironmentView.model_rebuild()


class CredentialView(Frozen):
    """A client certificate of the caller for one environment."""

    certificate: str = Field(description="PEM; its key is the one that has signed the request")
    person: str = Field(description="the user name by which the environment knows the caller")
    life: str
    expires_at: datetime
    valid_seconds: int = Field(description="the time left, for a caller whose clock is wrong")


class EnvironmentPage(Frozen):
    """One page of a list. `next` is the cursor of the following page, or None on the last one."""

    environments: tuple[EnvironmentRow, ...]
    next: str | None = None
    frozen: FreezeView | None = Field(default=None, description="set while no environment ends")


class DoneKind(StrEnum):
    """The result of a request to the API."""

    CREATED = "created"  #: the environment is being created
    JOINED = "joined"  #: the same environment was requested before, and this is it
    FINISHED = "finished"  #: the same request was completed before, and its life has ended
    ACCEPTED = "accepted"  #: the change is in progress; follow the environment
    NOTHING_TO_DO = "nothing_to_do"  #: the environment is already in the requested state, or will be
    DRY_RUN = "dry_run"  #: the request is valid, and nothing was started


class Done(Frozen):
    """The answer to a request: a sentence, and the state of the environment after it, if it is known."""

    kind: DoneKind
    message: str
    name: str
    life: str = ""
    environment: EnvironmentView | None = None
    values: dict[str, Any] | None = Field(
        default=None, description="of a dry run: the values that the vCluster's chart would be installed with"
    )


class RequestsChecked(Frozen):
    """The answer to a check of several requests that are all valid."""

    message: str
    people_are_checked: bool = Field(
        default=True, description="false: the directory did not answer, and each request asks it again"
    )


def view_of_status(
    status: EnvironmentStatus,
    *,
    progress: Mapping[StepName, Progress] | None = None,
    ended: bool = False,
    remark: str = "",
    run_id: str = "",
) -> EnvironmentView:
    """Build the view of an environment from the status that its workflow has returned."""
    environment = status.environment
    progress = progress or {}
    return EnvironmentView(
        name=environment.name,
        life=environment.mark.life,
        owner=environment.owner,
        team=environment.spec.team,
        template=environment.template.name,
        template_version=environment.template.version,
        kubernetes=environment.template.kubernetes,
        host=environment.host,
        parameters=environment.parameters,
        collaborators=environment.collaborators,
        labels=environment.spec.labels,
        change=_change_view(status),
        change_problem=status.change_problem,
        snapshots=status.snapshots,
        restore=status.restore,
        restore_problem=status.restore_problem,
        no_snapshots=snapshot_obstacle(environment.template),
        access=_access_view(status),
        sleep=SleepView.model_validate(status.sleep.model_dump()) if status.sleep else None,
        sleep_policy=status.sleep_policy,
        owner_left_at=status.owner_left.at if status.owner_left else None,
        ttl=environment.ttl,
        phase=status.phase,
        outcome=status.outcome,
        ended=ended,
        requested_at=status.requested_at,
        usable_at=status.usable_at,
        ready_at=status.ready_at,
        ended_at=status.ended_at,
        expires_at=status.expires_at,
        extendable_until=_extendable_until(status),
        steps=tuple(
            StepView(
                step=step.step,
                system=step.system,
                state=step.state,
                started_at=step.started_at,
                ended_at=step.ended_at,
                note=step.note,
                progress=progress.get(step.step) if step.state in _ACTIVE_STATES else None,
            )
            for step in status.steps
        ),
        problem=status.problem,
        drift=status.drift if status.phase is Phase.READY else (),
        unfinished=status.unfinished,
        next_pass_at=status.next_pass_at,
        certificate=certificate_view(status.certificate) if status.certificate else None,
        audit_log=status.audit_log,
        remark=remark,
        run_id=run_id,
        trace=trace.trace_id if (trace := parse_traceparent(status.traceparent)) else "",
    )


def _extendable_until(status: EnvironmentStatus) -> datetime | None:
    latest = status.term.latest_end
    return latest if status.in_use and latest > status.expires_at else None


def _access_view(status: EnvironmentStatus) -> AccessView | None:
    access = status.access
    if not access.is_pending or status.outcome:
        return None
    return AccessView(granting=access.granting, revoking=access.revoking, problem=status.access_problem)


def _change_view(status: EnvironmentStatus) -> ChangeView | None:
    change = status.change
    if change is None or status.outcome:
        return None
    return ChangeView(
        template=change.template.name,
        template_version=change.template.version,
        kubernetes=change.template.kubernetes,
        actor=change.actor,
        started_at=change.started_at,
        going_back=change.problem is not None,
    )


_ACTIVE_STATES = frozenset({StepState.RUNNING, StepState.UNDOING})


def certificate_view(certificate: Certificate) -> CertificateView:
    """Group the findings of an inspection by system."""
    systems: dict[str, SystemView] = {}
    for finding in certificate.findings:
        seen = systems.get(finding.system, SystemView(system=finding.system))
        systems[finding.system] = SystemView(
            system=seen.system,
            left=seen.left + finding.left,
            kept=seen.kept + finding.kept,
            forced=seen.forced + finding.forced,
        )
    return CertificateView(
        inspected_at=certificate.inspected_at,
        nothing_left=certificate.nothing_left,
        systems=tuple(systems.values()),
    )
