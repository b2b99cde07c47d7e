"""Whether a call that changes something may still begin.

Who makes calls for somebody that may lose patience with it, or take it for dead, says so here: what was begun
after that would come into being when nobody looks for it any more.
"""

from collections.abc import Callable
from contextvars import ContextVar

from clients.errors import DeadlineExceeded

_is_late: ContextVar[Callable[[], bool]] = ContextVar("is_late", default=lambda: False)


def set_deadline_check(is_late: Callable[[], bool]) -> None:
    """From here on in this context, and in what it begins, no change is begun once `is_late` says so."""
    _is_late.set(is_late)


def lateness() -> Callable[[], bool]:
    """What tells whether it is late, for a thread that knows nothing of this context."""
    return _is_late.get()


def ensure_before_deadline(system: str, operation: str, is_late: Callable[[], bool] | None = None) -> None:
    """Return if the operation may begin; DeadlineExceeded if not."""
    if (is_late or _is_late.get())():
        raise DeadlineExceeded(system, operation, "not begun, because its time is over")
