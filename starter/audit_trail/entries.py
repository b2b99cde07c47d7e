"""One line of the trail of all environments, the verbs, and the filters. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts.environment.models import AuditLogEntry, EnvironmentSummary


class AuditVerb(StrEnum):
    """What a line of the trail is about. The lines themselves are sentences."""

    REQUEST = "request"
    READY = "ready"
    EXTEND = "extend"
    COLLABORATORS = "collaborators"
    TRANSFER = "transfer"
    SLEEP = "sleep"
    WAKE = "wake"
    CHANGE = "change"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    RECONCILE = "reconcile"
    LEAVER = "leaver"
    WARN = "warn"
    EXPIRE = "expire"
    DELETE = "delete"
    CANCEL = "cancel"
    FAIL = "fail"
    TEARDOWN = "teardown"
    GONE = "gone"
    NOTIFY = "notify"
    OTHER = "other"


#: How the sentences of each verb start, in `workflows.record.state` and its callers.
_STARTS: tuple[tuple[str, AuditVerb], ...] = (
    ("asked for it", AuditVerb.REQUEST),
    ("ready", AuditVerb.READY),
    ("extended it", AuditVerb.EXTEND),
    ("added ", AuditVerb.COLLABORATORS),
    ("removed ", AuditVerb.COLLABORATORS),
    ("gave access", AuditVerb.COLLABORATORS),
    ("took access away", AuditVerb.COLLABORATORS),
    ("transferred it", AuditVerb.TRANSFER),
    ("put it to sleep", AuditVerb.SLEEP),
    ("fell asleep", AuditVerb.SLEEP),
    ("changed when it sleeps", AuditVerb.SLEEP),
    ("woke it", AuditVerb.WAKE),
    ("could not wake it", AuditVerb.WAKE),
    ("awake", AuditVerb.WAKE),
    ("asked to change it", AuditVerb.CHANGE),
    ("changed it to", AuditVerb.CHANGE),
    ("could not change it", AuditVerb.CHANGE),
    ("asked to restore snapshot ", AuditVerb.RESTORE),
    ("restored snapshot ", AuditVerb.RESTORE),
    ("could not restore snapshot ", AuditVerb.RESTORE),
    ("changed nothing for the restore ", AuditVerb.RESTORE),
    ("went back to the state before ", AuditVerb.RESTORE),
    ("went back to", AuditVerb.CHANGE),
    ("took snapshot ", AuditVerb.SNAPSHOT),
    ("could not take snapshot ", AuditVerb.SNAPSHOT),
    ("adopted it", AuditVerb.RECONCILE),
    ("found it ", AuditVerb.RECONCILE),
    ("repaired it", AuditVerb.RECONCILE),
    ("could not repair it", AuditVerb.RECONCILE),
    ("found that ", AuditVerb.LEAVER),
    ("has an owner again", AuditVerb.LEAVER),
    ("warned ", AuditVerb.WARN),
    ("ended it", AuditVerb.EXPIRE),
    ("asked to delete it", AuditVerb.DELETE),
    ("cancelled it", AuditVerb.CANCEL),
    ("gave up making it", AuditVerb.FAIL),
    ("had what is left of it torn down", AuditVerb.TEARDOWN),
    ("stopped trying to undo it", AuditVerb.TEARDOWN),
    ("resumed the teardown", AuditVerb.TEARDOWN),
    ("had the next pass start at once", AuditVerb.TEARDOWN),
    ("closed its workflow from outside", AuditVerb.TEARDOWN),
    ("gone", AuditVerb.GONE),
    ("notified its people", AuditVerb.NOTIFY),
    ("could not tell its people", AuditVerb.NOTIFY),
    ("could not tell the webhook", AuditVerb.NOTIFY),
    ("could not hand over its account", AuditVerb.NOTIFY),
)


def verb_of(action: str) -> AuditVerb:
    """Return the verb of a line's action."""
    return next((verb for start, verb in _STARTS if action.startswith(start)), AuditVerb.OTHER)


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """One line, with the environment and the life that it is of."""

    at: datetime
    actor: str
    action: str
    result: str
    name: str
    life: str
    owner: str
    team: str

    @property
    def verb(self) -> AuditVerb:
        """The verb of its action."""
        return verb_of(self.action)

    @property
    def words(self) -> set[str]:
        """The words of its sentence in lower case; the address of a person is one."""
        return {word.strip(",;:") for word in f"{self.action} {self.result}".lower().split()}


@dataclass(frozen=True)
class TrailFilters:
    """Which lines are wanted; an empty field does not filter.

    `person` has done it, or the line names the person. `before` is for the next page.
    """

    person: str = ""
    verb: AuditVerb | None = None
    name: str = ""
    since: datetime | None = None
    before: datetime | None = None

    def matches(self, entry: TrailEntry) -> bool:
        """Return whether the line is wanted."""
        person = self.person.lower()
        return (
            (not self.name or entry.name == self.name)
            and (self.since is None or entry.at >= self.since)
            and (self.before is None or entry.at < self.before)
            and (self.verb is None or entry.verb is self.verb)
            and (not person or person == entry.actor.lower() or person in entry.words)
        )


def entries_of(environment: EnvironmentSummary, log: Iterable[AuditLogEntry]) -> list[TrailEntry]:
    """Return the lines of one life."""
    return [
        TrailEntry(
            at=line.at,
            actor=line.actor,
            action=line.action,
            result=line.result,
            name=environment.name,
            life=environment.life,
            owner=environment.owner,
            team=environment.team,
        )
        for line in log
    ]


def cut_page(entries: list[TrailEntry], limit: int) -> tuple[list[TrailEntry], datetime | None]:
    """Return the latest `limit` lines, and the time before which the next page is; None on the last page.

    Lines of one moment stay together, because the next page starts before a moment.
    """
    ordered = sorted(set(entries), key=lambda one: (one.at, one.name, one.life, one.action), reverse=True)
    if len(ordered) <= limit:
        return ordered, None
    next_at = ordered[limit].at
    page = [one for one in ordered[:limit] if one.at > next_at]
    if not page:
        # More lines of one moment than fit on a page: show what fits, rather than nothing.
        page = ordered[:limit]
    return page, page[-1].at
