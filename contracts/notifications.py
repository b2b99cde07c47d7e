"""The notifications about an environment, and the record that is kept after it."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.environment.models import (
    AuditLogEntry,
    Certificate,
    EnvironmentSummary,
    Outcome,
    Problem,
    StepName,
)
from contracts.templates.sleep import SleepReason
from contracts.types.models import Frozen


class NotificationKind(StrEnum):
    """The kind of a notification.

    `READY` and `FAILED` are for programs: the person who has asked for the environment watches it. A life
    sends one of the two at most: neither if it is cancelled, deleted or expired before it is ready.
    """

    READY = "ready"
    FAILED = "failed"
    WARNING = "warning"
    ENDED = "ended"
    COLLABORATOR_ADDED = "collaborator_added"
    COLLABORATOR_REMOVED = "collaborator_removed"
    TRANSFERRED = "transferred"
    OWNER_LEFT = "owner_left"
    ASLEEP = "asleep"
    AWAKE = "awake"


#: These go to the webhook alone.
FOR_PROGRAMS = frozenset({NotificationKind.READY, NotificationKind.FAILED})


class Notification(EnvironmentSummary):
    """A message to the people of an environment.

    `id` is the same for every attempt to send it. `moved` is how far the end was moved, because the last
    warning came late. `person` is the person whose access has changed, and `actor` who changed it. With
    `owner_left` the environment has no owner who could decide, so the platform team gets it as well.
    """

    id: str
    kind: NotificationKind
    at: datetime
    people: tuple[str, ...]
    ends_at: datetime
    kept_until: datetime
    latest_end: datetime
    moved: timedelta = timedelta(0)
    person: str = ""
    actor: str = ""
    owner_left: bool = False
    #: Whether it sleeps while this is sent.
    asleep: bool = False
    sleep_reason: SleepReason | None = None
    #: Why it could not be created: only with `FAILED`.
    problem: Problem | None = None


class WebhookFormat(StrEnum):
    """The form in which a webhook gets notifications."""

    JSON = "json"
    CLOUDEVENTS = "cloudevents"


class StepTime(Frozen):
    """How long one step of a life took to do, and to undo if it was undone."""

    step: StepName
    took: timedelta
    undo_took: timedelta | None = None


class LifeRecord(EnvironmentSummary):
    """The record of one life for the sinks: its owner, what happened, and what was left.

    `steps` has the steps that were done, and `problem` says why the life could not be provisioned.
    """

    collaborators: tuple[str, ...]
    labels: dict[str, str] = {}
    outcome: Outcome
    requested_at: datetime
    usable_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime
    steps: tuple[StepTime, ...] = ()
    problem: Problem | None = None
    audit_log: tuple[AuditLogEntry, ...]
    certificate: Certificate | None = None
