"""Listening sockets of the API and the codec server, with a limit for the connections that are accepted."""

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from starter.http_server.connections import Connections, Slot

#: Connections that can wait to be accepted: hundreds arrive at once when a class or a pipeline starts.
BACKLOG = 1024
#: Connections that are accepted in one iteration of the event loop, so that it also serves open requests.
ACCEPTS_AT_ONCE = 64
#: Pause when the process or the system has no descriptor left: to free some takes about this time.
PAUSE_SECONDS = 1.0
#: Minimum interval between warnings about a shortage; asyncio's own loop logs every attempt, which is tens of
#: megabytes per minute.
TELL_EVERY_SECONDS = 60.0
#: Limit of descriptors that the server requests: more than the maximum of connections that can be configured.
WANTED_DESCRIPTORS = 65536
#: Descriptors for other uses than connections of clients: Temporal, hosts, files, child processes.
RESERVED_DESCRIPTORS = 128
#: With fewer connections a server is useless, so it accepts this number and may run out of descriptors.
FEWEST_CONNECTIONS = 16

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
)

_log = structlog.get_logger(__name__)


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket whose connections send responses without delay (TCP_NODELAY).

    asyncio sets TCP_NODELAY only if a socket reports TCP as its protocol, and sockets of
    `socket.create_server` report 0: each response on a kept connection would wait 40 ms for a delayed ACK.
    Accepted connections inherit the option on Linux, macOS and the BSDs.

    Raises:
        OSError: The address is not available.
    """
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # "::" includes all IPv4 addresses as well, whatever the system's default is (net.ipv6.bindv6only).
    both = host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening


def room_for_connections(wanted: int) -> int:
    """Raise the soft limit of descriptors; return how many connections fit, at most `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < highest:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            soft = highest
        except (OSError, ValueError):
            pass  # macOS allows less than the hard limit that it reports.
    if soft == resource.RLIM_INFINITY:
        return wanted
    room = min(wanted, max(FEWEST_CONNECTIONS, soft - RESERVED_DESCRIPTORS))
    if room < wanted:
        _log.warning("fewer connections than configured: raise ulimit -n", connections=room, descriptors=soft)
    return room


class Acceptor:
    """Accepts connections while `connections` has room for them, and pauses when descriptors run out."""

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        protocol: Callable[[Slot], asyncio.Protocol],
    ) -> None:
        self._listening = listening
        self._connections = connections
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._warned_at = -TELL_EVERY_SECONDS
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Stop accepting connections; open connections stay open."""
        if self._paused:
            self._paused.cancel()
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Wait until all accepted connections are set up."""
        await asyncio.gather(*self._starting)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._pause(error)
                # Otherwise no connection is waiting, or the client has already disconnected.
                return
            # A dual-stack socket reports IPv4 addresses with this prefix; one peer must have one name.
            self._take(accepted, str(address[0]).removeprefix("::ffff:"))

    def _take(self, accepted: socket.socket, peer: str) -> None:
        accepted.setblocking(False)
        slot = self._connections.admit(peer)
        if slot is None:
            self._warn("refusing connections: all that there may be are in use", peer=peer)
            with suppress(OSError):
                accepted.send(_BUSY)
            accepted.close()
            return
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._start(accepted, slot))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, accepted: socket.socket, slot: Slot) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._protocol(slot), accepted)
        except OSError:
            slot.release()
            accepted.close()

    def _pause(self, error: OSError) -> None:
        self._warn("no connection can be accepted for a moment", cause=error.strerror)
        self._connections.shed()
        self._loop.remove_reader(self._listening)
        self._paused = self._loop.call_later(
            PAUSE_SECONDS, self._loop.add_reader, self._listening, self._accept
        )

    def _warn(self, event: str, **fields: object) -> None:
        if time.monotonic() - self._warned_at >= TELL_EVERY_SECONDS:
            self._warned_at = time.monotonic()
            _log.warning(event, open=len(self._connections), **fields)
