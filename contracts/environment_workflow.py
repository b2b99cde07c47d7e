"""The input and output of the environment's workflow: its argument, its updates, its result."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.capacity.models import ReservationRequest
from contracts.environment.models import Environment, EnvironmentStatus, Spec
from contracts.templates.sleep import SleepPolicy
from contracts.templates.template import Template
from contracts.types.models import Frozen

TASK_QUEUE = "moorage"


def undo_queue(task_queue: str) -> str:
    """Return the task queue for everything except the forward steps.

    It carries undos and inspections, notifications and records, sweeps and audits. So a large number of
    waiting steps does not delay a teardown.
    """
    return f"{task_queue}-undo"


class LifecycleTimeouts(Frozen):
    """The timeouts and retry intervals of a life.

    The defaults fit real systems; tests use shorter ones. `late_response_window` must be longer than the
    longest timeout of any client: for that long after a missing response, a resource may still be created.
    """

    late_response_window: timedelta = timedelta(seconds=45)
    #: A worker that sends no heartbeat for this long while it runs an activity counts as lost.
    heartbeat_timeout: timedelta = timedelta(seconds=20)
    first_retry: timedelta = timedelta(seconds=1)
    longest_retry: timedelta = timedelta(seconds=30)
    #: An upper limit for the limits of all forward steps. With None, each step has its own limit.
    step_timeout: timedelta | None = None
    #: The limit of one undo in one pass of a teardown.
    undo_timeout: timedelta = timedelta(minutes=4)
    first_pause: timedelta = timedelta(seconds=10)
    longest_pause: timedelta = timedelta(minutes=15)
    #: How long an activity waits in the task queue of a system before the workflow says that no worker takes
    #: it up, and asks whether the system still has that queue.
    queue_timeout: timedelta = timedelta(minutes=1)
    #: After this time a teardown stops trying by itself and needs a person.
    give_up_after: timedelta = timedelta(days=3)


class EnvironmentStart(Frozen):
    """The workflow's argument.

    `carried` is the state from the previous run, after continue-as-new. `forced_by` is the person who started
    the teardown of a life whose own workflow was closed from outside. `carried` is then what is known about
    that life, and the run starts with its teardown.
    """

    environment: Environment
    request_id: str
    people_are_checked: bool
    timeouts: LifecycleTimeouts = LifecycleTimeouts()
    carried: "CarriedState | None" = None
    forced_by: str = ""


class RequestInput(Frozen):
    """The first update: a user asks for this environment."""

    owner: str
    spec: Spec
    request_id: str


class AnswerKind(StrEnum):
    """The result of an update that was not rejected."""

    CREATED = "created"  #: this request started this life
    JOINED = "joined"  #: the same person had already asked for the same
    ACCEPTED = "accepted"  #: it is in progress now; follow the environment
    NOTHING_TO_DO = "nothing_to_do"  #: it is so already, or will be


class Answer(Frozen):
    """The answer to an update; `message` is a sentence for people."""

    kind: AnswerKind
    message: str
    life: str


class LifeInput(Frozen):
    """An update that changes an environment. Lives other than `life` reject it.

    `life` has a default so that an update without it is rejected with that reason.
    """

    life: str = ""


class ActorInput(LifeInput):
    """The input of an update that needs only the actor, for the audit trail."""

    actor: str


class SleepChangeInput(ActorInput):
    """A user puts the environment to sleep or, with `changes_policy`, says when it falls asleep by itself.

    `policy` has what differs from its template; None is the policy of its template.
    """

    changes_policy: bool = False
    policy: SleepPolicy | None = None


class ExtendInput(LifeInput):
    """A user asks for a later end: either `by` a length of time, or `until` a moment.

    `override` goes beyond the policy and needs a `reason`. The sender must have checked that the user may
    override.
    """

    actor: str
    by: timedelta | None = None
    until: datetime | None = None
    override: bool = False
    reason: str = ""


class CollaboratorAction(StrEnum):
    """What is done with a person."""

    ADD = "add"
    REMOVE = "remove"


class CollaboratorInput(LifeInput):
    """A user adds a person to the environment, or removes one.

    The sender must have checked that the directory knows a person who is added.
    """

    actor: str
    action: CollaboratorAction
    person: str


class TransferInput(LifeInput):
    """A user gives the environment to another person, whom the sender has checked as at a request.

    `owner` is the owner by whom the sender has decided that the user may; "" from a sender that does not say.
    """

    actor: str
    person: str
    owner: str = ""


class ChangeTemplateInput(LifeInput):
    """A user changes the template of the environment in place.

    `template` has the parameters of `spec` in it, and `request` is what the environment would hold then. The
    sender has checked the user, the catalogue and the host. `with_snapshot`: take a snapshot before it, if
    the vCluster takes any.
    """

    actor: str
    template: Template
    spec: Spec
    request: ReservationRequest
    with_snapshot: bool = False


class RestoreInput(ActorInput):
    """A user restores the snapshot `number` of the environment; None is the last one that was taken."""

    number: int | None = None


class DueInput(Frozen):
    """The expiry sweep asks what is due.

    `now` is Temporal's time; `lookahead` is as in `contracts.expiry.due`.
    """

    now: datetime
    lookahead: timedelta = timedelta(0)


class SweepUpdateInput(LifeInput):
    """The expiry sweep warns or ends an environment, if that is due.

    Temporal's time at the moment of the update decides whether it is due. After `valid_until` the environment
    rejects the update: what was sent before a freeze must not happen after it. An environment that is ended
    starts its teardown after `teardown_delay`, so that a sweep of many does not start all teardowns at once.
    """

    actor: str
    valid_until: datetime
    lookahead: timedelta = timedelta(0)
    teardown_delay: timedelta = timedelta(0)


class SweepUpdateAnswer(Frozen):
    """What an environment did when it was warned or ended, in words."""

    result: str
    ends_at: datetime


#: The names of the environment's workflow and of its queries, updates and signals that activities use.
#: Activities may not import the workflow, so a test compares the names.
ENVIRONMENT_WORKFLOW = "EnvironmentWorkflow"
QUERY_DUE = "due"
QUERY_STATUS = "status"
UPDATE_DELETE = "delete"
UPDATE_WARN = "warn"
UPDATE_EXPIRE = "expire"
UPDATE_CHANGE_TEMPLATE = "change_template"
SIGNAL_RENEW = "renew"
SIGNAL_USED = "used"


class CarriedState(Frozen):
    """The state that one run of an environment hands to the next."""

    status: EnvironmentStatus
    answers: dict[str, Answer] = {}


EnvironmentStart.model_rebuild()
