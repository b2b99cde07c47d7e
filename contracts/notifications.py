"""The notifications about the end of an environment, and the record that is kept after it."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.environment import Certificate, Outcome, TrailEntry
from contracts.models import Frozen


class NotificationKind(StrEnum):
    """The kind of a notification."""

    WARNING = "warning"
    ENDED = "ended"


class Notification(Frozen):
    """A message to the people of an environment.

    `id` is the same for every attempt to send it. `moved` is how far the end was moved, because the last
    warning came late.
    """

    id: str
    kind: NotificationKind
    at: datetime
    name: str
    life: str
    owner: str
    team: str
    people: tuple[str, ...]
    template: str
    host: str
    ends_at: datetime
    kept_until: datetime
    latest_end: datetime
    moved: timedelta = timedelta(0)


class LifeRecord(Frozen):
    """The record of one life for the sinks: its owner, what happened, and what was left."""

    name: str
    life: str
    owner: str
    team: str
    collaborators: tuple[str, ...]
    template: str
    host: str
    outcome: Outcome
    requested_at: datetime
    ended_at: datetime
    trail: tuple[TrailEntry, ...]
    certificate: Certificate | None = None
