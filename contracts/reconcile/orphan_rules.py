"""What becomes of a life that no open environment owns, and when the sweep must stop itself. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from contracts.environment.models import Phase
from contracts.reconcile.models import Orphan, SurveyedSystem, Verdict
from contracts.reconcile.recovery_mark import LifeMark

#: One orphan may always be seen to: a percentage of few environments would let none pass.
MIN_LIMIT = 1


@dataclass(frozen=True)
class Findings:
    """What bears the mark of one life, in every system. `made_at` is when the first of it was made, if known.

    `is_imported`: the cluster record exists, and its agent has reported. `is_on_several_hosts`: several hosts
    have a namespace with the mark, and an environment is on one.
    """

    things: tuple[str, ...] = ()
    has_project: bool = False
    host: str = ""
    is_on_several_hosts: bool = False
    is_terminating: bool = False
    has_release: bool = False
    is_imported: bool = False
    is_asleep: bool = False
    made_at: datetime | None = None
    life_mark: LifeMark | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the last steps of its making are done, and nothing of its unmaking."""
        return bool(self.host) and self.has_release and self.is_imported and not self.is_terminating


class RunKind(Enum):
    """What Temporal says about the latest run of a name, seen from one life."""

    MISSING = auto()  #: Temporal has no run of the name
    OWNER = auto()  #: an open run, of this life or of one that cannot be read
    OTHER_OPEN = auto()  #: an open run of another life
    LOST = auto()  #: this life's run was closed from outside
    ENDED = auto()  #: this life's run has ended, and its certificate says that nothing is left
    OTHER_CLOSED = auto()  #: the latest run is of another life, and closed


@dataclass(frozen=True)
class LatestRun:
    """The latest run of a name. `phase` is the last one that it has reported.

    `host` is that of its environment, if the run is of this life.
    `has_failed`: what it was asked for could not be made, and was undone.
    """

    kind: RunKind
    run_id: str = ""
    phase: Phase | None = None
    started_at: datetime | None = None
    has_failed: bool = False
    host: str = ""


@dataclass(frozen=True)
class Judgement:
    """What is to become of a life, and why."""

    verdict: Verdict
    reason: str


def judge(found: Findings, run: LatestRun) -> Judgement:
    """Return what is to become of a life that no open environment owns.

    An environment is made step by step and unmade in reverse, so what its end is missing of is unfinished. If
    the beginning is missing under a complete end, something else has removed it, or a system does not tell.
    """
    if found.is_on_several_hosts:
        return Judgement(Verdict.LOOK, "several hosts have a namespace with its mark")
    match run.kind:
        case RunKind.OTHER_OPEN:
            return Judgement(Verdict.LOOK, "its name belongs to an open environment of another life")
        case RunKind.ENDED:
            return Judgement(Verdict.UNDO, "its life has ended")
        case RunKind.LOST if run.phase in (Phase.TEARING_DOWN, Phase.TEARDOWN_INCOMPLETE):
            return Judgement(Verdict.UNDO, "its workflow was closed from outside while it was torn down")
    if found.life_mark is not None and found.life_mark.environment.is_standby:
        return Judgement(Verdict.UNDO, "it is a standby, and its workflow is gone")
    if not found.is_complete:
        if found.has_release and not found.has_project:
            reason = "its vCluster is there, and its project in the control plane is missing"
            return Judgement(Verdict.LOOK, reason)
        reason = "it is incomplete" if found.things else "its workflow was closed, and nothing of it is left"
        return Judgement(Verdict.UNDO, reason)
    if run.kind is RunKind.LOST:
        return Judgement(Verdict.ADOPT, "it is complete, and its workflow was closed from outside")
    if found.life_mark is None:
        return Judgement(Verdict.LOOK, "it is complete, but the mark of its life cannot be read")
    # A later life cannot have been made beside this one, unless its making failed on that.
    is_later = run.started_at is not None and run.started_at > found.life_mark.requested_at
    if is_later and not run.has_failed:
        return Judgement(Verdict.LOOK, "it is complete, and a later life of its name has ended")
    return Judgement(Verdict.ADOPT, "it is complete, and Temporal has forgotten its workflow")


def first_seen(last: Sequence[Orphan], life: str, verdict: Verdict, now: datetime) -> datetime:
    """Return when a life was first seen with this verdict, by the orphans of the last sweep.

    A life that was to be adopted and is to be undone now gets the whole grace: what a person has confirmed of
    it was the adoption, and a system may tell only a part.
    """
    return next((one.first_seen for one in last if (one.life, one.verdict) == (life, verdict)), now)


def count_skips(
    last: Collection[SurveyedSystem], now: Collection[SurveyedSystem]
) -> tuple[SurveyedSystem, ...]:
    """Return the systems of this sweep; for one that is skipped now, the sweeps of before count as well."""
    before = {(one.system, one.host): one.skipped for one in last}
    return tuple(
        one.model_copy(update={"skipped": one.skipped + before.get((one.system, one.host), 0)})
        if one.skipped
        else one
        for one in now
    )


def due_orphans(
    orphans: Sequence[Orphan], now: datetime, grace: timedelta, *, undoes: bool
) -> tuple[Orphan, ...]:
    """Return the orphans that are to be adopted or undone now.

    `undoes` is false while a system is skipped, which may hold what makes an orphan complete, and while all
    ends are frozen.
    """
    return tuple(
        one
        for one in orphans
        if one.verdict is Verdict.ADOPT
        or (one.verdict is Verdict.UNDO and undoes and now - one.first_seen >= grace)
    )


def brake_reason(
    due: Sequence[str], known: int, confirmed: Collection[str], *, limit: int, limit_percent: int
) -> str:
    """Return why the sweep must not act on its own, or "".

    `due` are the lives to adopt, to undo or to repair. `known` counts all environments and orphans.
    """
    new = [life for life in due if life not in confirmed]
    if len(new) > limit:
        return (
            f"{len(new)} of {known} are to be adopted, undone or repaired at once, which is more than {limit}"
        )
    if len(new) > max(MIN_LIMIT, known * limit_percent // 100):
        share = f"more than {limit_percent} %"
        return f"{len(new)} of {known} are to be adopted, undone or repaired at once, which is {share}"
    return ""
