"""The security log: one line per access, with person, verb, object, peer address and verdict.

It is a separate stream, the logger `moorage.security`, and is written at any log level. It contains no token.
"""

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog

from worker.telemetry import SECURITY_LOGGER as LOGGER

_log = structlog.stdlib.get_logger(LOGGER)


class Verdict(StrEnum):
    """The result of an access."""

    ALLOWED = "allowed"
    DENIED = "denied"  #: not authorized, or not allowed to know that the object exists
    NOT_SIGNED_IN = "not_signed_in"  #: no token, or an unknown token
    LIMITED = "limited"  #: too many failures, so the server does not process the request
    REFUSED = "refused"  #: authorized, but the request is not valid or not possible now
    FAILED = "failed"


@dataclass
class AccessDetails:
    """Details for the log line that become known while the request is processed."""

    object: str = ""
    denied: bool = False
    #: The request changes nothing, although its method is that of changes.
    is_read: bool = False
    #: When the credential that the response contains ends.
    until: datetime | None = None


_details: ContextVar[AccessDetails | None] = ContextVar("details", default=None)


def start_details() -> AccessDetails:
    """Start collecting the details of the request of this task."""
    details = AccessDetails()
    _details.set(details)
    return details


def note_object(name: str) -> None:
    """Set the object of the request, when the path does not name it."""
    if details := _details.get():
        details.object = name


def note_denied() -> None:
    """Mark the request as denied, whatever the status of the response is.

    For example, the response to a person who may not see an environment hides that it exists.
    """
    if details := _details.get():
        details.denied = True


def note_read() -> None:
    """Mark the request as one that changes nothing, so that only a denial of it is in the log."""
    if details := _details.get():
        details.is_read = True


def note_until(end: datetime) -> None:
    """Note when the credential ends that the response contains."""
    if details := _details.get():
        details.until = end


def record(verdict: Verdict, *, actor: str, verb: str, object: str, peer: str, **more: object) -> None:
    """Write one line to the security log."""
    # Set the level here, because an installation that reduces its other logs still needs these lines.
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    level = logging.INFO if verdict is Verdict.ALLOWED else logging.WARNING
    _log.log(level, "access", actor=actor, verb=verb, object=object, verdict=verdict.value, peer=peer, **more)
