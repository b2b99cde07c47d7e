"""The deadline for calls that change something.

A caller sets it if it may give up waiting, or may regard the operation as dead: a call that starts after
that could create an object that no caller looks for any more.
"""

from collections.abc import Callable
from contextvars import ContextVar

from clients.errors import DeadlineExceeded

_is_late: ContextVar[Callable[[], bool]] = ContextVar("is_late", default=lambda: False)


def set_deadline_check(is_late: Callable[[], bool]) -> None:
    """Start no change in this context and its child tasks once `is_late` returns True."""
    _is_late.set(is_late)


def current_deadline_check() -> Callable[[], bool]:
    """Return the current deadline check, for a thread that does not share this context."""
    return _is_late.get()


def ensure_before_deadline(system: str, operation: str, is_late: Callable[[], bool] | None = None) -> None:
    """Return if the operation may start; raise DeadlineExceeded otherwise."""
    if (is_late or _is_late.get())():
        raise DeadlineExceeded(system, operation, "not started: its deadline has passed")
