"""What goes into the environment's workflow and what comes back: its argument, its updates, its result."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.environment import Environment, EnvironmentStatus, Spec
from contracts.models import Frozen

TASK_QUEUE = "moorage"


def undo_queue(task_queue: str) -> str:
    """Where all but the doing of steps is taken from: no crowd of steps that wait holds up an end.

    Undos and inspections, notices and accounts, sweeps and audits.
    """
    return f"{task_queue}-undo"


class LifecycleTimeouts(Frozen):
    """How patient a life is. The defaults are right for real systems; tests are in a hurry.

    `settle` must be longer than the longest timeout of any client: after an answer that never came,
    something may be coming into being for that long.
    """

    settle: timedelta = timedelta(seconds=45)
    #: A worker that has not said for so long that it is at work on an activity is taken for dead.
    heartbeat_timeout: timedelta = timedelta(seconds=20)
    first_retry: timedelta = timedelta(seconds=1)
    longest_retry: timedelta = timedelta(seconds=30)
    #: A ceiling for the limits of all steps, forward; None leaves each step its own.
    longest_step: timedelta | None = None
    #: What one undo may take in one pass of a teardown.
    longest_undo: timedelta = timedelta(minutes=4)
    first_pause: timedelta = timedelta(seconds=10)
    longest_pause: timedelta = timedelta(minutes=15)
    #: When a teardown stops trying by itself and asks for a person.
    give_up_after: timedelta = timedelta(days=3)


class EnvironmentStart(Frozen):
    """The workflow's argument. `carried` is what a run hands on when it continues as new.

    `forced_by` is who had a life torn down whose own workflow was closed from outside: `carried` is then what
    is known of that life, and the run starts in its teardown.
    """

    environment: Environment
    request_id: str
    people_are_checked: bool
    pace: LifecycleTimeouts = LifecycleTimeouts()
    carried: "Carried | None" = None
    forced_by: str = ""


class RequestInput(Frozen):
    """The first update: somebody asks for this environment."""

    owner: str
    spec: Spec
    request_id: str


class AnswerKind(StrEnum):
    """What became of an update that was not refused."""

    CREATED = "created"  #: this request started this life
    JOINED = "joined"  #: the same person had asked for the same already
    ACCEPTED = "accepted"  #: it is under way now; follow the environment
    NOTHING_TO_DO = "nothing_to_do"  #: it is so already, or will be


class Answer(Frozen):
    """The answer to an update: `message` is a sentence for people."""

    kind: AnswerKind
    message: str
    life: str


class OfLife(Frozen):
    """An update that changes an environment. `life` is the one that is meant: others of the name refuse it.

    It has a default only because histories of before have none; an update without it is refused.
    """

    life: str = ""


class ActorInput(OfLife):
    """An update that needs nothing but the person who asks, for the audit trail."""

    who: str


class ExtendInput(OfLife):
    """Somebody wants to keep it longer: `by` a length of time, or `until` a moment; one of the two.

    `override`: beyond the policy, which needs a `reason`; whoever sends it has seen to it that they may.
    """

    who: str
    by: timedelta | None = None
    until: datetime | None = None
    override: bool = False
    reason: str = ""


class DueInput(Frozen):
    """The expiry sweep asks what is due. `now` is Temporal's time; `ahead` as in `contracts.expiry.due`."""

    now: datetime
    ahead: timedelta = timedelta(0)


class SweptInput(OfLife):
    """The expiry sweep has it warned or ended, if that is due by Temporal's time when it is taken.

    After `good_until` it is refused: what was asked before a freeze must not come about after it. One that is
    ended begins its teardown after `pause`, so that a sweep of many does not have them all begin at once.
    """

    who: str
    good_until: datetime
    ahead: timedelta = timedelta(0)
    pause: timedelta = timedelta(0)


class SweptAnswer(Frozen):
    """What an environment did when it was warned or ended, in words."""

    what: str
    ends_at: datetime


#: The names of the environment's workflow, and of what activities ask of it: they may not import it. A test
#: compares them.
ENVIRONMENT_WORKFLOW = "EnvironmentWorkflow"
QUERY_DUE = "due"
UPDATE_WARN = "warn"
UPDATE_EXPIRE = "expire"
SIGNAL_RENEW = "renew"


class Carried(Frozen):
    """The state that goes from one run of an environment to the next."""

    status: EnvironmentStatus
    answers: dict[str, Answer] = {}


EnvironmentStart.model_rebuild()
