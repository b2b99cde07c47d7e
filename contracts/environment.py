"""What an environment is: what was asked for, what was decided from it, and how it stands."""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from contracts.durations import Duration
from contracts.expiry import Extended, Term, Warned
from contracts.models import Frozen
from contracts.naming import OwnerMark, Prefix
from contracts.template import Template


class Phase(StrEnum):
    """Where in its life an environment is."""

    PROVISIONING = "provisioning"
    USABLE = "usable"
    READY = "ready"
    TEARING_DOWN = "tearing_down"
    TEARDOWN_INCOMPLETE = "teardown_incomplete"
    GONE = "gone"
    #: Its workflow was closed from outside, so nothing was taken down: what it made may still be there.
    ORPHANED = "orphaned"


class Outcome(StrEnum):
    """How a life ended, or is ending."""

    DELETED = "deleted"
    EXPIRED = "expired"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepName(StrEnum):
    """The steps, in the order in which they are done."""

    PROJECT = "project"
    GROUP = "group"
    ROLE_BINDING = "role-binding"
    IDENTITY = "identity"
    NAMESPACE = "namespace"
    VCLUSTER = "vcluster"
    KUBECONFIG = "kubeconfig"
    IMPORT = "import"


class System(StrEnum):
    """The kinds of outside systems."""

    CONTROL_PLANE = "control plane"
    IDENTITY_PROVIDER = "identity provider"
    HOST_CLUSTER = "host cluster"


class StepState(StrEnum):
    """How one step stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo failed"


class Spec(Frozen):
    """What a developer asked for, as asked: two requests ask for the same when these are equal."""

    template: str
    team: str
    collaborators: tuple[str, ...] = ()
    ttl: Duration | None = None
    host: str | None = None


class Environment(Frozen):
    """One environment in one life, with everything decided that its steps need to know.

    It holds no secret: it is the argument of every activity.
    """

    mark: OwnerMark
    prefix: Prefix
    owner: str
    spec: Spec
    template: Template
    ttl: timedelta
    host: str
    has_identity_provider: bool

    @property
    def name(self) -> str:
        """The name that the developer knows it by."""
        return self.mark.name

    @property
    def derived_name(self) -> str:
        """The one name of everything that is made for it, in every system."""
        return f"{self.prefix}-{self.mark.name}"

    @property
    def without_values(self) -> "Environment":
        """The same but for the values of its template's chart."""
        template = self.template.model_copy(update={"values": {}})
        return self.model_copy(update={"template": template})

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody who may use it: the owner first, each once."""
        return tuple(dict.fromkeys((self.owner, *self.spec.collaborators)))


class Receipt(Frozen):
    """What a step has made sure of: names and references, never a secret.

    `in_doubt` is true when an earlier try of it had no answer, so that something of it may come into
    being yet.
    """

    name: str
    reference: str = ""
    fingerprint: str = Field(default="", description="SHA-256 of a secret that stays where it is")
    in_doubt: bool = False


class Problem(Frozen):
    """Why something could not be done: the same words in the CLI, the API and the Web UI."""

    step: str
    system: str
    cause: str
    remedy: str
    type: str


class Finding(Frozen):
    """What an inspection found of one step: nothing, or the list.

    `kept` is there as the template says, or older than the environment. `forced` did not end by itself.
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
        """Whether every system was found empty of this environment, but for what its template keeps."""
        return not any(finding.left for finding in self.findings)


class TrailEntry(Frozen):
    """One line of the audit trail. `ends_at` is the end as it was from then on, if that line moved it."""

    at: datetime
    who: str
    what: str
    result: str = ""
    ends_at: datetime | None = None


class StepStatus(Frozen):
    """How one step stands, since when, and what came of it."""

    step: StepName
    system: str
    state: StepState = StepState.WAITING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""


class EnvironmentStatus(Frozen):
    """How an environment stands, as everybody who may see it sees it."""

    environment: Environment
    phase: Phase
    outcome: Outcome | None = None
    requested_at: datetime
    usable_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime
    warned: tuple[Warned, ...] = ()
    extended: tuple[Extended, ...] = ()
    steps: tuple[StepStatus, ...]
    receipts: dict[StepName, Receipt] = {}
    problem: Problem | None = None
    unfinished: tuple[Problem, ...] = ()
    next_pass_at: datetime | None = None
    certificate: Certificate | None = None
    trail: tuple[TrailEntry, ...] = ()

    @property
    def term(self) -> Term:
        """What the rules of time need to know of it."""
        return Term(
            policy=self.environment.template.ttl,
            ttl=self.environment.ttl,
            ends_at=self.expires_at,
            warned=self.warned,
            extended=self.extended,
        )

    @property
    def in_use(self) -> bool:
        """Whether somebody may be using it, so that it must not end without a warning."""
        return self.phase in (Phase.USABLE, Phase.READY)
