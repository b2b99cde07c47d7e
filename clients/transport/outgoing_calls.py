"""Calls to outside systems, as an observer sees them: which system, what for, and the result.

Without an observer, which `observe_calls` sets once for a process, nothing is measured and nothing is sent.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class OutgoingCall:
    """One call in progress. The caller sends the `headers`, and sets the `status` of the answer."""

    system: str
    operation: str
    method: str = ""
    address: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None


#: Is called at the end of a call, with the error that has ended it, if one has.
Ended = Callable[[BaseException | None], None]
#: Is called at the start of a call, whose headers it may set; returns what is called at its end.
Observer = Callable[[OutgoingCall], Ended]

_observer: Observer | None = None


def observe_calls(observer: Observer | None) -> None:
    """Tell this observer of all calls of the process from now on; None for no observer."""
    global _observer
    _observer = observer


@contextmanager
def outgoing_call(system: str, operation: str, method: str = "", url: str = "") -> Iterator[OutgoingCall]:
    """Observe the call that the block makes; `url` may be the base of the system's addresses."""
    if _observer is None:
        yield OutgoingCall(system, operation)
        return
    call = OutgoingCall(system, operation, method, urlsplit(url).hostname or "")
    ended = _observer(call)
    try:
        yield call
    except BaseException as error:
        ended(error)
        raise
    ended(None)
