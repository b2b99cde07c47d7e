"""The rules of time: when an environment is warned and ends, and when its end may move.

Pure functions of `now`, which is always Temporal's time. The clock of a worker or of the API decides nothing
here.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from contracts.templates.template import TimeToLive
from contracts.types.durations import format_duration
from contracts.types.models import Frozen

#: A life that is shorter than every warning of its template gets one warning, when this fraction (1/4) of its
#: time is left.
SHORT_LIFE_DIVISOR = 4
#: How far the platform team may move an end at one time. "For ever" is not offered, because environments
#: without an end are forgotten.
MAX_OVERRIDE = timedelta(days=366)


class GivenWarning(Frozen):
    """A warning that was recorded: when, how long before the end, and before which end."""

    at: datetime
    lead: timedelta
    ends_at: datetime


class GrantedExtension(Frozen):
    """An extension that was granted.

    `override` means that the platform team granted it beyond the policy; the policy does not count it.
    """

    at: datetime
    by: timedelta
    override: bool = False


class Term(Frozen):
    """The input of the rules for one life: its policy, its end, and its warnings and extensions."""

    policy: TimeToLive
    ttl: timedelta
    ends_at: datetime
    warnings: tuple[GivenWarning, ...] = ()
    extensions: tuple[GrantedExtension, ...] = ()

    @property
    def leads(self) -> tuple[timedelta, ...]:
        """How long before the end each warning is given, from the longest to the shortest.

        They follow from the requested time to live, and do not change when the end moves. A warning that
        would come before the request is left out.
        """
        leads = sorted({lead for lead in self.policy.warnings if lead < self.ttl}, reverse=True)
        if not leads and self.policy.warnings:
            leads = [self.ttl / SHORT_LIFE_DIVISOR]
        return tuple(leads)

    @property
    def over_at(self) -> datetime:
        """The time of the teardown, if nothing else happens."""
        return self.ends_at + self.policy.grace

    @property
    def due_at(self) -> datetime:
        """The time at which something is due next: a warning or the end."""
        given = {warning.lead for warning in self.warnings}
        return min((self.ends_at - lead for lead in self.leads if lead not in given), default=self.over_at)

    @property
    def latest_end(self) -> datetime:
        """The latest end that the policy still allows."""
        counted = [extension.by for extension in self.extensions if not extension.override]
        if len(counted) >= self.policy.extension.times:
            return self.ends_at
        return self.ends_at + max(timedelta(0), self.policy.extension.total - sum(counted, timedelta()))


class DueKind(StrEnum):
    """What to do with an environment now."""

    KEEP = "keep"
    WARN = "warn"
    END = "end"


class Due(Frozen):
    """What to do now, and why. For a warning, `lead` says which one."""

    kind: DueKind
    reason: str
    lead: timedelta | None = None


def due(term: Term, now: datetime, *, in_use: bool, lookahead: timedelta = timedelta(0)) -> Due:
    """Return what is due at `now`.

    A warning may be given up to `lookahead` before its time: pass the time until the next check. An
    environment ends only after its last warning was recorded and the full time of that warning has passed. An
    environment that is not usable yet (not `in_use`) ends without a warning.
    """
    if not in_use:
        if now >= term.ends_at:
            return Due(kind=DueKind.END, reason="its time was up before it was ready")
        return Due(kind=DueKind.KEEP, reason=f"it is being made; it ends {format_utc(term.ends_at)}")
    given = {warning.lead for warning in term.warnings}
    pending = [lead for lead in term.leads if lead not in given and now + lookahead >= term.ends_at - lead]
    if pending:
        # Several warnings may be due at once after an outage. They become one warning: the last before the
        # end.
        lead = min(pending)
        return Due(
            kind=DueKind.WARN, reason=f"the warning {format_duration(lead)} before its end is due", lead=lead
        )
    if now >= term.over_at:
        return Due(kind=DueKind.END, reason=f"its time was up {format_utc(term.ends_at)}")
    if now >= term.ends_at:
        return Due(
            kind=DueKind.KEEP, reason=f"its time is up, and it is kept until {format_utc(term.over_at)}"
        )
    return Due(kind=DueKind.KEEP, reason=f"it ends {format_utc(term.ends_at)}")


def record_warning(term: Term, now: datetime, lead: timedelta) -> Term:
    """Return the term after the warning `lead`, and all earlier ones, were recorded at `now`.

    If the last warning comes late, the end moves: the time between it and the end is never shorter than the
    policy says.
    """
    ends_at = max(term.ends_at, now + lead) if lead == min(term.leads, default=None) else term.ends_at
    given = {warning.lead for warning in term.warnings}
    recorded = tuple(
        GivenWarning(at=now, lead=each, ends_at=ends_at)
        for each in term.leads
        if each >= lead and each not in given
    )
    return term.model_copy(update={"ends_at": ends_at, "warnings": term.warnings + recorded})


class ExtensionRejected(Exception):
    """The end cannot be moved as requested.

    `reason` is the reason as a sentence, `latest` the latest possible end.
    """

    def __init__(self, reason: str, latest: datetime) -> None:
        self.reason = reason
        self.latest = latest
        super().__init__(reason)


def extend_term(
    term: Term,
    now: datetime,
    *,
    by: timedelta | None = None,
    until: datetime | None = None,
    override: bool = False,
) -> Term:
    """Return the term after its end was moved, `by` a length of time or `until` a moment.

    Warnings whose time has passed under the new end count as given, because the user who extends it knows its
    end.

    Raises:
        ExtensionRejected: The policy, or the limit of an override, does not allow the new end.
    """
    latest = term.latest_end
    if override:
        latest = max(latest, now + MAX_OVERRIDE)
    try:
        ends_at = until if until is not None else term.ends_at + (by or timedelta(0))
    except OverflowError:
        ends_at = datetime.max.replace(tzinfo=UTC)
    if ends_at <= term.ends_at:
        raise ExtensionRejected(
            f"its end is {format_utc(term.ends_at)} already, and an extension never shortens", latest
        )
    if ends_at <= now:
        raise ExtensionRejected(f"{format_utc(ends_at)} is past", latest)
    if ends_at > latest:
        raise ExtensionRejected(_beyond(term, latest, override=override), latest)
    length = ends_at - term.ends_at
    moved = term.model_copy(
        update={
            "ends_at": ends_at,
            "warnings": (),
            "extensions": (*term.extensions, GrantedExtension(at=now, by=length, override=override)),
        }
    )
    past = [lead for lead in moved.leads if now >= ends_at - lead]
    return moved.model_copy(
        update={"warnings": tuple(GivenWarning(at=now, lead=lead, ends_at=ends_at) for lead in past)}
    )


def format_utc(moment: datetime) -> str:
    """Return a moment in UTC, for sentences.

    The API, the CLI and the UI show moments in the reader's time zone.
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _beyond(term: Term, latest: datetime, *, override: bool) -> str:
    if override:
        longest = format_duration(MAX_OVERRIDE)
        return f"{longest} from now is the longest; the latest end is {format_utc(latest)}"
    policy = term.policy.extension
    if not policy.times:
        return f"its template allows no extension, so it ends {format_utc(latest)}"
    times = _times(sum(not extension.override for extension in term.extensions))
    if latest <= term.ends_at:
        return (
            f"it was extended {times}, which is all that its template allows, so it ends {format_utc(latest)}"
        )
    allowed = f"its template allows {_times(policy.times)} and {format_duration(policy.total)} in all"
    return f"{allowed}; the latest end is {format_utc(latest)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
