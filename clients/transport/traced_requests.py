"""The requests that leave for outside systems, for traces: which system, what for, and the answer's status.

Each is a span and carries its own trace header, also where one call (`measured_calls`) sends several. Without
a tracer, which `trace_requests` sets once for a process, nothing is recorded and no header is sent.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class TracedRequest:
    """One request, or run of Helm, in progress.

    The caller sends the `headers`, and sets the `status` of the answer.
    """

    system: str
    operation: str
    method: str = ""
    address: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None


#: Is called at the end of a request, with the error that has ended it, if one has.
Ended = Callable[[BaseException | None], None]
#: Is called at the start of a request, whose headers it may set; returns the function for its end.
Tracer = Callable[[TracedRequest], Ended]

_tracer: Tracer | None = None


def trace_requests(tracer: Tracer | None) -> None:
    """Report all requests of the process to this tracer from now on; None ends that."""
    global _tracer
    _tracer = tracer


@contextmanager
def traced_request(system: str, operation: str, method: str = "", url: str = "") -> Iterator[TracedRequest]:
    """Trace the request that the block makes; `url` may be the base of the system's addresses."""
    if _tracer is None:
        yield TracedRequest(system, operation)
        return
    request = TracedRequest(system, operation, method, urlsplit(url).hostname or "")
    ended = _tracer(request)
    try:
        yield request
    except BaseException as error:
        ended(error)
        raise
    ended(None)
