"""The rules of time: when an environment is warned, when it ends, how far its end may be moved.

Pure functions of `now`, which is Temporal's time always: no clock of a worker or of an API decides here.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from contracts.durations import format_duration
from contracts.models import Frozen
from contracts.template import TimeToLive

#: A life that is shorter than every warning of its template gets one warning, at this share before its end.
SHORT_LIFE_SHARE = 4
#: How far the platform team may move an end in one go. "For ever" is not offered: it is how environments are
#: forgotten.
LONGEST_OVERRIDE = timedelta(days=366)


class Warned(Frozen):
    """A warning that was recorded: when, which one (how long before the end), and of which end."""

    at: datetime
    lead: timedelta
    ends_at: datetime


class Extended(Frozen):
    """An extension that was granted. `override`: the platform team's, beyond the policy and not counted."""

    at: datetime
    by: timedelta
    override: bool = False


class Term(Frozen):
    """All that the rules need to know of one life: its policy, its end, and what has happened so far."""

    policy: TimeToLive
    ttl: timedelta
    ends_at: datetime
    warned: tuple[Warned, ...] = ()
    extended: tuple[Extended, ...] = ()

    @property
    def leads(self) -> tuple[timedelta, ...]:
        """How long before the end each warning is given, the earliest first; the last one is the shortest.

        They follow from the time to live that was asked for, and do not change when the end moves. One that
        would come before the environment was asked for is left out.
        """
        leads = sorted({lead for lead in self.policy.warnings if lead < self.ttl}, reverse=True)
        if not leads and self.policy.warnings:
            leads = [self.ttl / SHORT_LIFE_SHARE]
        return tuple(leads)

    @property
    def over_at(self) -> datetime:
        """When it is torn down if nothing else happens."""
        return self.ends_at + self.policy.grace

    @property
    def due_at(self) -> datetime:
        """When there is something to do next: a warning or the end."""
        given = {one.lead for one in self.warned}
        return min((self.ends_at - lead for lead in self.leads if lead not in given), default=self.over_at)

    @property
    def latest_end(self) -> datetime:
        """The latest end that the policy still allows."""
        counted = [one.by for one in self.extended if not one.override]
        if len(counted) >= self.policy.extension.times:
            return self.ends_at
        return self.ends_at + max(timedelta(0), self.policy.extension.total - sum(counted, timedelta()))


class DueKind(StrEnum):
    """What is to be done with an environment now."""

    KEEP = "keep"
    WARN = "warn"
    END = "end"


class Due(Frozen):
    """What is to be done now, and why. `lead` is which warning, if it is one."""

    kind: DueKind
    why: str
    lead: timedelta | None = None


def due(term: Term, now: datetime, *, in_use: bool, ahead: timedelta = timedelta(0)) -> Due:
    """What is due at `now`. A warning may be given `ahead` of its time, by as long as it is to the next look.

    It ends only after its last warning was recorded and the whole of that notice has passed. What nobody can
    use yet (not `in_use`) ends without a warning.
    """
    if not in_use:
        if now >= term.ends_at:
            return Due(kind=DueKind.END, why="its time was up before it was ready")
        return Due(kind=DueKind.KEEP, why=f"it is being made; it ends {said(term.ends_at)}")
    given = {one.lead for one in term.warned}
    pending = [lead for lead in term.leads if lead not in given and now + ahead >= term.ends_at - lead]
    if pending:
        # Several at once, after an outage, are one: the one that is nearest to the end.
        lead = min(pending)
        return Due(
            kind=DueKind.WARN, why=f"the warning {format_duration(lead)} before its end is due", lead=lead
        )
    if now >= term.over_at:
        return Due(kind=DueKind.END, why=f"its time was up {said(term.ends_at)}")
    if now >= term.ends_at:
        return Due(kind=DueKind.KEEP, why=f"its time is up, and it is kept until {said(term.over_at)}")
    return Due(kind=DueKind.KEEP, why=f"it ends {said(term.ends_at)}")


def warned(term: Term, now: datetime, lead: timedelta) -> Term:
    """The term once the warning `lead` has been recorded at `now`, and all earlier ones with it.

    If it is the last one and comes late, the end moves: the notice is never shorter than the policy says.
    """
    ends_at = max(term.ends_at, now + lead) if lead == min(term.leads, default=None) else term.ends_at
    given = {one.lead for one in term.warned}
    recorded = tuple(
        Warned(at=now, lead=one, ends_at=ends_at) for one in term.leads if one >= lead and one not in given
    )
    return term.model_copy(update={"ends_at": ends_at, "warned": term.warned + recorded})


class NotExtended(Exception):
    """The end cannot be moved so: why, as a sentence, and the latest end that is possible."""

    def __init__(self, why: str, latest: datetime) -> None:
        self.why = why
        self.latest = latest
        super().__init__(why)


def extended(
    term: Term,
    now: datetime,
    *,
    by: timedelta | None = None,
    until: datetime | None = None,
    override: bool = False,
) -> Term:
    """The term once its end has been moved, `by` a length of time or `until` a moment; or NotExtended.

    Warnings whose time is past with the new end are taken as given: whoever extends it knows its end.
    """
    latest = term.latest_end
    if override:
        latest = max(latest, now + LONGEST_OVERRIDE)
    try:
        ends_at = until if until is not None else term.ends_at + (by or timedelta(0))
    except OverflowError:
        ends_at = datetime.max.replace(tzinfo=UTC)
    if ends_at <= term.ends_at:
        raise NotExtended(f"its end is {said(term.ends_at)} already, and an extension never shortens", latest)
    if ends_at <= now:
        raise NotExtended(f"{said(ends_at)} is past", latest)
    if ends_at > latest:
        raise NotExtended(_beyond(term, latest, override=override), latest)
    length = ends_at - term.ends_at
    moved = term.model_copy(
        update={
            "ends_at": ends_at,
            "warned": (),
            "extended": (*term.extended, Extended(at=now, by=length, override=override)),
        }
    )
    past = [lead for lead in moved.leads if now >= ends_at - lead]
    return moved.model_copy(
        update={"warned": tuple(Warned(at=now, lead=lead, ends_at=ends_at) for lead in past)}
    )


def said(moment: datetime) -> str:
    """A moment as sentences have it: in UTC. Ways out show moments in the reader's own zone."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _beyond(term: Term, latest: datetime, *, override: bool) -> str:
    if override:
        return (
            f"{format_duration(LONGEST_OVERRIDE)} from now is the longest; the latest end is {said(latest)}"
        )
    policy = term.policy.extension
    if not policy.times:
        return f"its template allows no extension, so it ends {said(latest)}"
    times = _times(sum(not one.override for one in term.extended))
    if latest <= term.ends_at:
        return f"it was extended {times}, which is all that its template allows, so it ends {said(latest)}"
    allowed = f"its template allows {_times(policy.times)} and {format_duration(policy.total)} in all"
    return f"{allowed}; the latest end is {said(latest)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
