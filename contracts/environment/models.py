"""What an environment is: what was asked for, what was decided from it, and its state."""

from datetime import datetime, timedelta

from pydantic import Field

from contracts.bookings import BookingMark
from contracts.environment.payload_limits import truncate
from contracts.environment.pending_access import AccessChanges
from contracts.expiry import GivenWarning, GrantedExtension, Term
from contracts.phases import MADE_PHASES as MADE_PHASES
from contracts.phases import MOORAGE_ACTOR as MOORAGE_ACTOR
from contracts.phases import SLEEP_PHASES as SLEEP_PHASES
from contracts.phases import DriftKind as DriftKind
from contracts.phases import Outcome as Outcome
from contracts.phases import Phase as Phase
from contracts.phases import StepName as StepName
from contracts.phases import StepState as StepState
from contracts.phases import System as System
from contracts.templates.parameters import ParameterValue
from contracts.templates.sleep import SleepPolicy, SleepReason, problems_within
from contracts.templates.template import Template
from contracts.types.models import Duration, Frozen
from contracts.types.naming import OwnerMark, Prefix


class Spec(Frozen):
    """What a developer asked for, unchanged.

    Two requests ask for the same when their specs are equal.
    """

    template: str
    team: str
    collaborators: tuple[str, ...] = ()
    ttl: Duration | None = None
    host: str | None = None
    labels: dict[str, str] = {}
    parameters: dict[str, ParameterValue] = {}


class Environment(Frozen):
    """One environment in one life, with every decision that its steps need.

    The `values` of its template have the parameters of the request in them.

    It contains no secret: it is the argument of every activity.
    """

    mark: OwnerMark
    prefix: Prefix
    owner: str
    spec: Spec
    template: Template
    ttl: timedelta
    host: str
    has_identity_provider: bool
    changed_collaborators: tuple[str, ...] | None = Field(
        default=None, description="the collaborators after a change; None while they are those of the spec"
    )
    own_queues: tuple[System, ...] = Field(
        default=(), description="the outside systems whose steps have a task queue of the system"
    )
    is_standby: bool = Field(
        default=False, description="made ahead of any request, for a warm pool: only the steps on the host"
    )
    standby: OwnerMark | None = Field(
        default=None, description="the standby whose vCluster it takes over, if it still can"
    )
    booking: BookingMark | None = Field(
        default=None, description="the booking of which it is a seat, or a standby"
    )

    @property
    def collaborators(self) -> tuple[str, ...]:
        """The people who may use the environment now, besides its owner."""
        return self.spec.collaborators if self.changed_collaborators is None else self.changed_collaborators

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """The value of each parameter of its template: that of the request, or the default."""
        return self.template.all_parameters(self.spec.parameters)

    @property
    def name(self) -> str:
        """The name under which the developer knows the environment."""
        return self.mark.name

    @property
    def derived_name(self) -> str:
        """The one name of everything that is created for the environment, in every system.

        On its host, `host_name` may be another one.
        """
        return f"{self.prefix}-{self.mark.name}"

    @property
    def host_name(self) -> str:
        """The one name of everything on the host: that of its standby, if it takes one over.

        The mark of the namespace says whether it has done so; see `activities.parts.host_lookup`.
        """
        return f"{self.prefix}-{self.standby.name}" if self.standby else self.derived_name

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names that it may have on its host; the first of them whose namespace has its mark counts."""
        return tuple(dict.fromkeys((self.host_name, self.derived_name)))

    @property
    def without_standby(self) -> "Environment":
        """The environment as one that makes its vCluster itself."""
        return self.model_copy(update={"standby": None})

    @property
    def people_system(self) -> System:
        """The system that knows the people of the environment, and has their group."""
        return System.IDENTITY_PROVIDER if self.has_identity_provider else System.CONTROL_PLANE

    @property
    def without_values(self) -> "Environment":
        """A copy without the values of its template's chart."""
        template = self.template.model_copy(update={"values": {}})
        return self.model_copy(update={"template": template})

    @property
    def people(self) -> tuple[str, ...]:
        """All people who may use the environment: the owner first, each person once."""
        return tuple(dict.fromkeys((self.owner, *self.collaborators)))


class EnvironmentSummary(Frozen):
    """Which environment, in which life, whose, from which template and where."""

    name: str
    life: str
    owner: str
    team: str
    template: str
    host: str = ""


class Receipt(Frozen):
    """What a step has ensured: names and references, never a secret.

    `in_doubt` is true when an earlier attempt of the step had no response, so that a part of its work may
    still appear.
    """

    name: str
    reference: str = ""
    fingerprint: str = Field(default="", description="SHA-256 of a secret that stays where it is")
    in_doubt: bool = False


class Problem(Frozen):
    """Why something could not be done, in the same words in the CLI, the API and the Web UI."""

    step: str
    system: str
    cause: str
    remedy: str
    type: str

    @property
    def truncated(self) -> "Problem":
        """The problem with its texts cut to a length that can be carried."""
        return self.model_copy(update={"cause": truncate(self.cause), "remedy": truncate(self.remedy)})


class Finding(Frozen):
    """What an inspection found for one step: nothing, or a list.

    `kept` is there because the template says so, or because it is older than the environment. `forced` did
    not end by itself and was removed by force.
    """

    step: StepName
    system: str
    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()


class Certificate(Frozen):
    """The result of the inspection after a teardown."""

    inspected_at: datetime
    findings: tuple[Finding, ...]

    @property
    def nothing_left(self) -> bool:
        """Whether no system has anything left of the environment, except what its template keeps."""
        return not any(finding.left for finding in self.findings)


class AuditLogEntry(Frozen):
    """One line of the audit trail.

    `ends_at` is the environment's new end, if this line moved the end. `trace` is the id of the trace of the
    call that has led to it.
    """

    at: datetime
    actor: str
    action: str
    result: str = ""
    ends_at: datetime | None = None
    trace: str = ""


class StepStatus(Frozen):
    """The state of one step, its times, and its result.

    `took` is how long the step took to do. It is kept while the step is undone, which has separate times.
    """

    step: StepName
    system: str
    state: StepState = StepState.WAITING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    took: timedelta | None = None
    note: str = ""

    @property
    def undo_took(self) -> timedelta | None:
        """How long the step took to undo; None if it was not undone."""
        if self.state is not StepState.UNDONE or not self.started_at or not self.ended_at:
            return None
        return self.ended_at - self.started_at


class OwnerLeft(Frozen):
    """Since when the directory does not know the owner any more, and the environment's end before that."""

    at: datetime
    ends_at: datetime


class SleepStatus(Frozen):
    """The sleep of an environment: who wanted its last change, why, and since when its pods are gone.

    `problem` says why the last attempt to put it to sleep or to wake it has failed.
    """

    actor: str
    reason: SleepReason = SleepReason.REQUESTED
    asleep_at: datetime | None = None
    problem: Problem | None = None


class Drift(Frozen):
    """A part of a ready environment that is missing or altered, as the reconcile sweep has found it.

    `guards`: the step is that of the namespace, which is there, and only its guards are altered. `members`:
    the group of the step is there, and only its members differ; `extra` are the ids of those who are none of
    its people. `repairs`: its step does it again. `problem` says why the last attempt to repair it failed.
    """

    step: StepName
    system: str
    what: str
    since: datetime
    guards: bool = False
    members: DriftKind | None = None
    extra: tuple[str, ...] = ()
    repairs: bool = False
    problem: Problem | None = None


class TemplateChange(Frozen):
    """A change of the template that is in progress, with the spec that asks for it.

    `problem` is why it goes back to the template before it; None while it goes forward.
    """

    id: str
    template: Template
    spec: Spec
    actor: str
    started_at: datetime
    problem: Problem | None = None


#: Snapshots that are kept: each is as large as the state of a vCluster, which has 5 Gi by default.
KEPT_SNAPSHOTS = 3


class Snapshot(Frozen):
    """A snapshot of the objects in the virtual cluster, without the volumes of its workloads.

    It is in progress until it has `taken_at` or `problem`. `before` is what it was taken before, in words; ""
    if a person asked for it.
    """

    number: int = Field(ge=1, description="counted from 1 in the life of an environment")
    actor: str
    asked_at: datetime
    before: str = ""
    taken_at: datetime | None = None
    problem: Problem | None = None

    @property
    def is_in_progress(self) -> bool:
        """Whether it is neither taken nor failed."""
        return self.taken_at is None and self.problem is None


class Restore(Frozen):
    """A restore of the snapshot `number` that is in progress.

    `way_back` is the snapshot of the state before it; None until that is taken. `tries` counts how often a
    snapshot was put back: until then, no object is changed. `problem` is why it goes back to the state
    before; None while it goes forward. `is_resumed`: the vCluster runs again, with the state that it keeps,
    and only the access of people is left to settle. `obstacle` is why the last try to go back, or to settle
    that, has failed, and `next_try_at` when the next one begins.
    """

    number: int
    actor: str
    started_at: datetime
    way_back: int | None = None
    tries: int = 0
    problem: Problem | None = None
    is_resumed: bool = False
    obstacle: Problem | None = None
    next_try_at: datetime | None = None


class EnvironmentStatus(Frozen):
    """The status of an environment, as every user who may see the environment sees it."""

    environment: Environment
    phase: Phase
    outcome: Outcome | None = None
    requested_at: datetime
    usable_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime
    warnings: tuple[GivenWarning, ...] = ()
    extensions: tuple[GrantedExtension, ...] = ()
    steps: tuple[StepStatus, ...]
    receipts: dict[StepName, Receipt] = {}
    problem: Problem | None = None
    access: AccessChanges = AccessChanges()
    access_problem: Problem | None = None
    owner_left: OwnerLeft | None = None
    sleep: SleepStatus | None = Field(default=None, description="None while it is awake")
    own_sleep_policy: SleepPolicy | None = Field(default=None, description="None: that of its template")
    used_at: datetime | None = Field(default=None, description="when a credential was last fetched")
    drift: tuple[Drift, ...] = ()
    change: TemplateChange | None = None
    change_problem: Problem | None = Field(
        default=None, description="why the last change of its template was rolled back"
    )
    snapshots: tuple[Snapshot, ...] = Field(default=(), description="the last ones, the latest last")
    restore: Restore | None = None
    restore_problem: Problem | None = Field(
        default=None, description="why the last restore has left the state of before"
    )
    unfinished: tuple[Problem, ...] = ()
    next_pass_at: datetime | None = None
    certificate: Certificate | None = None
    audit_log: tuple[AuditLogEntry, ...] = ()
    traceparent: str = Field(
        default="", description="the span of the making, or of the undoing since that began"
    )

    @property
    def term(self) -> Term:
        """The input of the rules of time."""
        return Term(
            policy=self.environment.template.ttl,
            ttl=self.environment.ttl,
            ends_at=self.expires_at,
            warnings=self.warnings,
            extensions=self.extensions,
        )

    @property
    def sleep_policy(self) -> SleepPolicy | None:
        """When it falls asleep by itself; None if it does not.

        Its own policy counts within that of its template, which may be another one since.
        """
        template, own = self.environment.template.sleep, self.own_sleep_policy
        lifetime = self.environment.template.credentials.maximum
        is_within = own is not None and not problems_within(own, template, lifetime)
        policy = own.over(template) if own and is_within else template
        return None if policy == SleepPolicy() else policy

    @property
    def in_use(self) -> bool:
        """Whether people may be using the environment, so that it must not end without a warning."""
        return self.phase is Phase.USABLE or self.phase in MADE_PHASES
