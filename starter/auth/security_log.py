"""The security log: who did what to which object, from where, and whether they might. One line each.

A stream of its own, the logger `moorage.security`, written whatever the log's level is. It holds no token.
"""

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

import structlog

LOGGER = "moorage.security"

_log = structlog.stdlib.get_logger(LOGGER)


class Verdict(StrEnum):
    """What came of it."""

    ALLOWED = "allowed"
    DENIED = "denied"  #: they may not, or may not even know that it is there
    NOT_SIGNED_IN = "not_signed_in"  #: no token, or one that is not known
    LIMITED = "limited"  #: so often that it is not answered for a while
    REFUSED = "refused"  #: they may, and it is not valid or not possible now
    FAILED = "failed"


@dataclass
class Noted:
    """What a request turns out to be about while it is answered."""

    object: str = ""
    denied: bool = False


_noted: ContextVar[Noted | None] = ContextVar("noted", default=None)


def begin() -> Noted:
    """Begin to note what the request of this task is about."""
    noted = Noted()
    _noted.set(noted)
    return noted


def note_object(name: str) -> None:
    """Say what the request is about, where its path does not."""
    if noted := _noted.get():
        noted.object = name


def note_denied() -> None:
    """Say that the answer, whatever its status, hides what the person may not see."""
    if noted := _noted.get():
        noted.denied = True


def record(verdict: Verdict, *, who: str, verb: str, object: str, peer: str, **more: object) -> None:
    """Write one line."""
    # Whatever the level of other logs: an installation that wants less of them wants these.
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    level = logging.INFO if verdict is Verdict.ALLOWED else logging.WARNING
    _log.log(level, "access", who=who, verb=verb, object=object, verdict=verdict.value, peer=peer, **more)
