"""The leaver sweep: which people have left, what is done about them, and the brake. Pure."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from contracts.environment_workflow import LifeInput
from contracts.sweeps.expiry import SCHEDULE_PREFIX
from contracts.types.models import Frozen

LEAVER_WORKFLOW = "LeaverSweepWorkflow"
LEAVER_SCHEDULE = SCHEDULE_PREFIX + "leaver-sweep"
#: The workflow ids of scheduled sweeps, to which Temporal adds the time, and of those that a person started.
LEAVER_SCHEDULED = "moorage-leavers/scheduled"
LEAVER_MANUAL = "moorage-leavers/manual"
#: The actor in the audit trail for what the sweep did.
LEAVER_ACTOR = "the leaver sweep"
#: The update by which the sweep tells an environment; activities may not import the workflow.
UPDATE_PERSON_LEFT = "person_left"
#: People in one result: it is a part of a history. The brake stops a sweep long before so many.
MAX_PEOPLE = 2000
#: From a person's first look to the end of the access, and what is left of it for the calls that end it.
MAX_DELAY, APPLYING = timedelta(minutes=5), timedelta(minutes=1)


class LeaverSweepInput(Frozen):
    """The options of a sweep.

    `confirmed` are people of whom a member of the platform team has said that they have left: the brake does
    not count them. They lose access only if the directory still says so. `lookups_per_minute` keeps the sweep
    under the directory's limit.
    """

    confirmed: tuple[str, ...] = ()
    requested_by: str = ""
    lookups_per_minute: int = 300
    limit_percent: int = 5
    second_look_after: timedelta = timedelta(minutes=1)

    @property
    def batch(self) -> int:
        """Number of people to look up before the sweep acts: those of a minute, or more.

        However many people there are, a leaver's access then ends within `MAX_DELAY` of the first look.
        """
        looking = max(MAX_DELAY - APPLYING - self.second_look_after, timedelta(minutes=1))
        return max(1, int(self.lookups_per_minute * (looking / timedelta(minutes=1))))


class LookInput(Frozen):
    """Which people to look up: those of all open environments in order, or `people` only.

    `after` is the last person of the batch before, and `at_most` the number of people in this one.
    """

    people: tuple[str, ...] | None = None
    after: str = ""
    at_most: int | None = None
    lookups_per_minute: int


class LookResult(Frozen):
    """What the directory says.

    `missing` are people whom it does not know or who are disabled; `unclear` are people about whom it could
    not answer. `back` are owners who were missing before and are there again. `handled` are missing people
    whose access has ended before. `last` is the last person of the batch if there are more.
    """

    asked: int = 0
    missing: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    handled: int = 0
    last: str = ""

    def plus(self, later: "LookResult") -> "LookResult":
        """Return what both batches say of their people together."""
        return LookResult(
            asked=self.asked + later.asked,
            missing=self.missing + later.missing,
            unclear=self.unclear + later.unclear,
            back=self.back + later.back,
            handled=self.handled + later.handled,
            last=later.last,
        )


class LeaverAction(StrEnum):
    """What has become of a person."""

    LEFT = "left"
    RETURNED = "returned"


class LeaverInput(LifeInput):
    """The update of an environment: a person has left, or its owner has come back."""

    actor: str
    person: str
    action: LeaverAction = LeaverAction.LEFT


class ApplyInput(Frozen):
    """The people who have left, and the owners who are back."""

    left: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    actor: str


class LeaverLine(Frozen):
    """One environment with a person who has left, and its answer."""

    name: str
    person: str
    result: str
    failed: bool = False


class ApplyResult(Frozen):
    """The answers of the environments."""

    lines: tuple[LeaverLine, ...] = ()


class LeaverSweepResult(Frozen):
    """What a sweep found and did.

    `waiting` are people whose access was not ended because of `brake`, the reason in a sentence. `problem`
    says why the sweep could not look, or could not end.
    """

    now: datetime
    asked: int = 0
    unclear: int = 0
    left: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    brake: str = ""
    problem: str = ""
    lines: tuple[LeaverLine, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in one line."""
        if self.problem and not self.lines:
            return f"no access was ended: {self.problem}"
        if self.problem:
            return f"the sweep stopped after {self.asked} people: {self.problem}"
        if self.brake:
            return f"{len(self.left)} people have left; {len(self.waiting)} wait for a person: {self.brake}"
        failed = sum(line.failed for line in self.lines)
        return (
            f"{self.asked} people asked for, {len(self.left)} have left, {self.unclear} unclear; "
            f"{len(self.lines) - failed} changes, {failed} failed"
        )


def brake_reason(
    look: LookResult, missing: Collection[str], confirmed: Collection[str], limit_percent: int
) -> str:
    """Return why the sweep must not act on its own, or "".

    `missing` are the people who are still missing at the second look. One person may always leave, unless
    all have: a directory that lost its data, or answers only a part of the calls, ends no
    access.
    """
    new = [person for person in missing if person not in confirmed]
    if not new:
        return ""
    limit = max(1, look.asked * limit_percent // 100)
    found = look.asked - look.handled - len(look.missing) - len(look.unclear)
    if found <= 0:
        return f"the directory knows none of {look.asked} people"
    if len(look.unclear) > limit:
        return f"the directory did not answer about {len(look.unclear)} of {look.asked} people"
    if len(new) > limit:
        return (
            f"the directory says that {len(new)} of {look.asked} people have left at once, "
            f"which is more than {limit_percent} %"
        )
    return ""


def judged(
    before: LeaverSweepResult, looked: LookResult, gone: Sequence[str], sweep: LeaverSweepInput
) -> LeaverSweepResult:
    """Return the result with one more batch, in which the people `gone` are missing at the second look too.

    `looked` is what all batches until then say together. Who waits because of the brake waits no longer once
    they are few among all; whose access was ended before stays in `left`.
    """
    left = (*before.left, *gone)
    brake = brake_reason(looked, left, sweep.confirmed, sweep.limit_percent)
    undone = (*before.waiting, *gone)
    waiting = tuple(person for person in undone if brake and person not in sweep.confirmed)
    found = {
        "asked": looked.asked,
        "unclear": len(looked.unclear),
        "left": left,
        "waiting": waiting,
        "brake": brake,
    }
    return before.model_copy(update=found)
