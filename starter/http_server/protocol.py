"""uvicorn's HTTP/1.1 protocol with deadlines for clients that send or read slowly, and with strict framing.

uvicorn has a limit for idle connections between requests. It has none for a request whose head or body is not
completed, for a response that is not read, or for the number of connections of one address.
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

#: Largest head of a request: a token, a cursor of 4,000 characters, and the headers that proxies add.
MAX_HEAD_BYTES = 16 * 1024

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

#: Logs only errors, which are faults of the server: with a line for each malformed request, any client could
#: fill the log.
_quiet = logging.getLogger("moorage.http")
_quiet.setLevel(logging.ERROR)


class _Awaited(StrEnum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"  #: the response of the server
    REST = "rest"  #: the rest of a body after the response, or the end of the connection
    NEXT = "next"  #: the next request


#: In these states the server may close a connection to make room for another.
_FOR_THE_CLIENT = frozenset({_Awaited.HEAD, _Awaited.REST, _Awaited.NEXT})


@dataclass(frozen=True)
class Deadlines:
    """Deadlines for a client, in seconds; data that it sends in the meantime does not extend them."""

    #: A head is one or two packets; ten seconds are enough for the slowest network that users have.
    head: float = 10.0
    #: Time for the largest body, 8 MB to the codec server, at 4 Mbit/s.
    body: float = 20.0
    #: How long the server reads data that it does not need any more: a client whose connection is closed
    #: while it sends may never see the response.
    rest: float = 2.0
    #: Time between two requests: longer than proxies keep a connection, so that the proxy closes it.
    next: int = 75
    #: How long a response may stay unread.
    unread: float = 30.0

    def of(self, awaited: _Awaited) -> float | None:
        """Return the deadline for this state; None if the connection does not wait for the client."""
        return None if awaited is _Awaited.ANSWER else float(getattr(self, awaited))


class _StrictConnection(h11.Connection):
    """Rejects requests that two servers could parse differently: RFC 9112, sections 6.1 and 11.2."""

    def next_event(self) -> Any:
        """Return h11's next event; raise RemoteProtocolError if the body's length is ambiguous."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            framing = _FRAMING & {name for name, _ in event.headers}
            old = event.http_version < b"1.1" and b"transfer-encoding" in framing
            if framing == _FRAMING or old:
                raise h11.RemoteProtocolError("ambiguous length of the body", error_status_hint=400)
        return event


class GuardedProtocol(H11Protocol):
    """One connection, which the server closes when its client exceeds a deadline."""

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
        """Start to wait for a request."""
        super().connection_made(transport)
        self._slot.close = transport.abort
        if not self._slot.is_taken:
            transport.abort()
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers and release the slot."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        for timer in (self._deadline, self._unread):
            if timer:
                timer.cancel()
        self._slot.release()

    def data_received(self, data: bytes) -> None:
        """Process data from the client and update the deadline."""
        super().data_received(data)
        self._update_deadline()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._update_deadline()

    def pause_writing(self) -> None:
        """Start the deadline for reading, because the client reads too slowly."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._deadlines.unread, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the deadline for reading, because the client has caught up."""
        super().resume_writing()
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def _update_deadline(self) -> None:
        """Set the deadline for the current state, once per state: another byte does not extend it."""
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
            self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _what_is_awaited(self) -> _Awaited:
        if self.transport.is_closing():
            return _Awaited.REST
        if self.conn.their_state is h11.IDLE:
            expects_head = self.cycle is None or self.conn.trailing_data[0]
            return _Awaited.HEAD if expects_head else _Awaited.NEXT
        if self.conn.their_state is h11.SEND_BODY:
            return _Awaited.REST if self.cycle.response_complete else _Awaited.BODY
        return _Awaited.ANSWER

    def _on_deadline(self) -> None:
        awaited, has_data = self._awaited, bool(self.conn.trailing_data[0])
        if awaited is _Awaited.BODY and not self.cycle.response_started:
            self._answer_timeout()
            # Signal a disconnect, so that the application stops waiting for the body; its response is
            # dropped.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif awaited is _Awaited.HEAD and has_data:
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
        self._update_deadline()
