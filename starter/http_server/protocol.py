"""uvicorn's HTTP/1.1 with what it lacks: deadlines for whoever sends or reads slowly, and strict framing.

uvicorn has a limit for idle connections between requests, and none for a request whose head or body does not
come to its end, for an answer that is not read, or for how many connections one address holds.
"""

import asyncio
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from starter.http_server.connections import Slot

#: The largest head: a token, a cursor of 4,000 characters, and what proxies add.
MAX_HEAD_BYTES = 16 * 1024

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

#: A line for each malformed request would let anybody fill the log; faults of ours are errors.
_quiet = logging.getLogger("moorage.http")
_quiet.setLevel(logging.ERROR)


class _Awaited(StrEnum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"  #: of ours
    REST = "rest"  #: what is left of a body after its answer, or the end of the connection
    NEXT = "next"  #: the next request


#: Of these a connection may be closed to make room for another.
_FOR_THE_CLIENT = frozenset({_Awaited.HEAD, _Awaited.REST, _Awaited.NEXT})


@dataclass(frozen=True)
class Deadlines:
    """How long a client may let us wait, in seconds, whatever it sends meanwhile."""

    #: A head is one packet or two; ten seconds are enough for the slowest line that people work over.
    head: float = 10.0
    #: The largest body, 8 MB of the codec server's, over 4 Mbit/s.
    body: float = 20.0
    #: How long what was sent and is not wanted any more is read: a client that is cut while it sends may
    #: never see the answer.
    rest: float = 2.0
    #: Between two requests: longer than proxies keep a connection, so that it is they who close it.
    next: int = 75
    #: How long an answer may stay unread.
    unread: float = 30.0

    def of(self, awaited: _Awaited) -> float | None:
        """The deadline for what is awaited; None if it is not the client that we wait for."""
        return None if awaited is _Awaited.ANSWER else float(getattr(self, awaited))


class _StrictConnection(h11.Connection):
    """Refuses what two servers could take for different requests: RFC 9112, 6.1 and 11.2."""

    def next_event(self) -> Any:
        """The next event, as h11 has it."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            framing = _FRAMING & {name for name, _ in event.headers}
            old = event.http_version < b"1.1" and b"transfer-encoding" in framing
            if framing == _FRAMING or old:
                raise h11.RemoteProtocolError("ambiguous length of the body", error_status_hint=400)
        return event


class GuardedProtocol(H11Protocol):
    """One connection, which is closed when its client lets it wait for too long."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        slot: Slot,
        deadlines: Deadlines,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.conn = _StrictConnection(h11.SERVER, MAX_HEAD_BYTES)
        self.logger = _quiet
        self._slot = slot
        self._deadlines = deadlines
        self._awaited: _Awaited | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._slot.close = transport.abort
        if not self._slot.is_taken:
            transport.abort()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give everything back."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        for timer in (self._deadline, self._unread):
            if timer:
                timer.cancel()
        self._slot.release()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._deadlines.unread, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def _look(self) -> None:
        """Set the deadline for what is awaited now. It is set once: another byte does not move it."""
        awaited = self._what_is_awaited()
        if awaited is self._awaited:
            return
        self._awaited = awaited
        self._slot.set_waiting(awaited in _FOR_THE_CLIENT)
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        seconds = self._deadlines.of(awaited)
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._too_late)

    def _what_is_awaited(self) -> _Awaited:
        if self.transport.is_closing():
            return _Awaited.REST
        if self.conn.their_state is h11.IDLE:
            begun = self.cycle is None or self.conn.trailing_data[0]
            return _Awaited.HEAD if begun else _Awaited.NEXT
        if self.conn.their_state is h11.SEND_BODY:
            return _Awaited.REST if self.cycle.response_complete else _Awaited.BODY
        return _Awaited.ANSWER

    def _too_late(self) -> None:
        awaited, begun = self._awaited, bool(self.conn.trailing_data[0])
        if awaited is _Awaited.BODY and not self.cycle.response_started:
            self._answer_timeout()
            # The application learns that nothing more comes; what it answers to that goes nowhere.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif awaited is _Awaited.HEAD and begun:
            self._answer_timeout()
        else:
            self.transport.abort()

    def _answer_timeout(self) -> None:
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        try:
            for event in (
                h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            self.transport.abort()
            return
        self.transport.close()
        self._look()
