"""The API's answers about environments, as the command line reads them; see `starter.cli.views.base`."""

from datetime import datetime, timedelta
from typing import Any

from contracts.phases import DriftKind, Outcome, Phase, SleepReason, StepName, StepState
from starter.cli.views.base import ParameterValue, View
from starter.cli.views.expiry import FreezeView


class Progress(View, frozen=True, kw_only=True):
    """The progress of a running step: what it waits for, its attempt, and why the last attempt failed."""

    waiting_for: str = ""
    attempt: int = 1
    next_attempt_at: datetime | None = None
    last_failure: str = ""
    throttled_by: str = ""


class StepView(View, frozen=True, kw_only=True):
    """The state of one step."""

    step: StepName
    system: str
    state: StepState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""
    progress: Progress | None = None


class SystemView(View, frozen=True, kw_only=True):
    """What the last inspection found in one system."""

    system: str
    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()


class CertificateView(View, frozen=True, kw_only=True):
    """The result of the inspection after a teardown."""

    inspected_at: datetime
    nothing_left: bool
    systems: tuple[SystemView, ...]


class ProblemView(View, frozen=True, kw_only=True):
    """Why something could not be done."""

    step: str
    system: str
    cause: str
    remedy: str
    type: str


class Drift(View, frozen=True, kw_only=True):
    """A part of a ready environment that is missing or altered."""

    step: StepName
    system: str
    what: str
    since: datetime
    guards: bool = False
    members: DriftKind | None = None
    extra: tuple[str, ...] = ()
    repairs: bool = False
    problem: ProblemView | None = None


class AuditLogEntry(View, frozen=True, kw_only=True):
    """One line of the audit trail."""

    at: datetime
    actor: str
    action: str
    result: str = ""
    ends_at: datetime | None = None
    trace: str = ""


class Unwell(View, frozen=True, kw_only=True):
    """The problem of an environment that was ready."""

    what: str
    since: datetime | None = None


class AccessView(View, frozen=True, kw_only=True):
    """The changes of access that are under way."""

    granting: tuple[str, ...] = ()
    revoking: tuple[str, ...] = ()
    problem: ProblemView | None = None


class SleepView(View, frozen=True, kw_only=True):
    """The sleep of an environment."""

    actor: str
    reason: SleepReason = SleepReason.REQUESTED
    asleep_at: datetime | None = None
    problem: ProblemView | None = None


class SleepPolicy(View, frozen=True, kw_only=True):
    """When an environment falls asleep by itself."""

    after: timedelta | None = None
    schedule: str | None = None


class ChangeView(View, frozen=True, kw_only=True):
    """A change of the template that is in progress."""

    template: str
    template_version: int
    kubernetes: str
    actor: str
    started_at: datetime
    going_back: bool = False


class Snapshot(View, frozen=True, kw_only=True):
    """A snapshot of the objects in an environment, in progress, taken or failed."""

    number: int
    actor: str
    asked_at: datetime
    before: str = ""
    taken_at: datetime | None = None
    problem: ProblemView | None = None


class Restore(View, frozen=True, kw_only=True):
    """A restore of a snapshot that is in progress; `problem` is why it goes back.

    `obstacle` is why the last try to go back has failed, or to take access away once it `is_resumed`.
    """

    number: int
    actor: str
    started_at: datetime
    way_back: int | None = None
    tries: int = 0
    problem: ProblemView | None = None
    is_resumed: bool = False
    obstacle: ProblemView | None = None
    next_try_at: datetime | None = None


class LifeSummary(View, frozen=True, kw_only=True):
    """Which environment, in which life, and the phase of that life."""

    name: str
    life: str
    owner: str
    team: str
    template: str
    host: str = ""
    phase: Phase
    outcome: Outcome | None = None
    ended: bool = False
    requested_at: datetime
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    labels: dict[str, str] = {}
    owner_left_at: datetime | None = None
    run_id: str = ""


class EnvironmentView(LifeSummary, frozen=True, kw_only=True):
    """The state of an environment. `ttl` is in ISO 8601, as the API gives it."""

    template_version: int | None = None
    template_newer: int | None = None
    kubernetes: str = ""
    parameters: dict[str, ParameterValue] = {}
    collaborators: tuple[str, ...] = ()
    access: AccessView | None = None
    sleep: SleepView | None = None
    sleep_policy: SleepPolicy | None = None
    ttl: str | None = None
    usable_at: datetime | None = None
    ready_at: datetime | None = None
    steps: tuple[StepView, ...] = ()
    problem: ProblemView | None = None
    drift: tuple[Drift, ...] = ()
    unfinished: tuple[ProblemView, ...] = ()
    next_pass_at: datetime | None = None
    certificate: CertificateView | None = None
    audit_log: tuple[AuditLogEntry, ...] = ()
    extendable_until: datetime | None = None
    frozen: FreezeView | None = None
    change: ChangeView | None = None
    change_problem: ProblemView | None = None
    snapshots: tuple[Snapshot, ...] = ()
    restore: Restore | None = None
    restore_problem: ProblemView | None = None
    no_snapshots: str = ""
    remark: str = ""
    unwell: Unwell | None = None
    trace: str = ""


class EnvironmentRow(LifeSummary, frozen=True, kw_only=True):
    """An environment in a list."""

    problem: str = ""
    next_try_at: datetime | None = None
    unwell: Unwell | None = None


class EnvironmentPage(View, frozen=True, kw_only=True):
    """One page of a list."""

    environments: tuple[EnvironmentRow, ...]
    next: str | None = None
    frozen: FreezeView | None = None


class Done(View, frozen=True, kw_only=True):
    """The answer to a request. `kind` is a word of the API's `DoneKind`."""

    kind: str
    message: str
    name: str
    life: str = ""
    environment: EnvironmentView | None = None
    values: dict[str, Any] | None = None


class RequestsChecked(View, frozen=True, kw_only=True):
    """The answer to a check of several requests."""

    message: str
    people_are_checked: bool = True


class LifeView(LifeSummary, frozen=True, kw_only=True):
    """One life of a name."""

    audit_log: tuple[AuditLogEntry, ...] = ()
    certificate: CertificateView | None = None
    remark: str = ""


class HistoryView(View, frozen=True, kw_only=True):
    """The lives of a name, latest first."""

    name: str
    lives: tuple[LifeView, ...]
