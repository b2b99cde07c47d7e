"""What people are told when an environment ends soon, and the account of a life that is kept after it."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.environment import Certificate, Outcome, TrailEntry
from contracts.models import Frozen


class NotificationKind(StrEnum):
    """What is told."""

    WARNING = "warning"
    ENDED = "ended"


class Notification(Frozen):
    """Something that the people of an environment shall know. `id` is the same for every try to tell it.

    `moved` is how far the end was moved, because the last warning came late.
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


class Account(Frozen):
    """The account of one life, as the sink of trails keeps it: whose it was, what happened, what was left."""

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
