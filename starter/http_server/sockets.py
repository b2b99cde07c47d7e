"""Opens the sockets that the API and the codec server listen on, and accepts no more than they can serve."""

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from starter.http_server.connections import Connections, Slot

#: Connections that may wait to be accepted: hundreds ask at once when a class or a pipeline begins.
BACKLOG = 1024
#: Accepted in one turn of the event loop, so that requests under way have theirs in between.
ACCEPTS_AT_ONCE = 64
#: Pause when the process or the system has no descriptor left: what frees them takes about so long.
PAUSE_SECONDS = 1.0
#: A shortage is told once in so long; asyncio's own loop tells of every try, tens of megabytes a minute.
TELL_EVERY_SECONDS = 60.0
#: Descriptors that we ask for: more than the most connections that can be configured.
WANTED_DESCRIPTORS = 65536
#: Descriptors that are not for connections: Temporal, hosts, files, children.
RESERVED_DESCRIPTORS = 128
#: Below this a server is of no use, so it tries and may run out of descriptors instead.
FEWEST_CONNECTIONS = 16

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
)

_log = structlog.get_logger(__name__)


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket whose answers leave at once. Raises OSError if the address is not to be had.

    asyncio sets TCP_NODELAY only where a socket says that its protocol is TCP, and those of
    `socket.create_server` say 0: each answer on a kept connection would wait 40 ms for a delayed ACK.
    Accepted connections inherit the option on Linux, macOS and the BSDs.
    """
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # All addresses are those of IPv4, too, whatever the system's default is (net.ipv6.bindv6only).
    both = host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening


def room_for_connections(wanted: int) -> int:
    """How many connections there can be, `wanted` at most, after raising the soft limit of descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < highest:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            soft = highest
        except (OSError, ValueError):
            pass  # macOS allows less than its hard limit says
    if soft == resource.RLIM_INFINITY:
        return wanted
    room = min(wanted, max(FEWEST_CONNECTIONS, soft - RESERVED_DESCRIPTORS))
    if room < wanted:
        _log.warning("fewer connections than configured: raise ulimit -n", connections=room, descriptors=soft)
    return room


class Acceptor:
    """Accepts connections for as long as `connections` has room for them, and pauses in a shortage."""

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
        self._told_at = -TELL_EVERY_SECONDS
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept nothing more; what is open stays open."""
        if self._paused:
            self._paused.cancel()
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Wait for connections that were accepted and are being set up."""
        await asyncio.gather(*self._starting)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._pause(error)
                # Else there is none left, or the client has gone again already.
                return
            # IPv4 comes so to a socket of both families; one peer is to have one name.
            self._take(accepted, str(address[0]).removeprefix("::ffff:"))

    def _take(self, accepted: socket.socket, peer: str) -> None:
        accepted.setblocking(False)
        slot = self._connections.admit(peer)
        if slot is None:
            self._tell("refusing connections: all that there may be are in use", peer=peer)
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
        self._tell("no connection can be accepted for a moment", cause=error.strerror)
        self._connections.shed()
        self._loop.remove_reader(self._listening)
        self._paused = self._loop.call_later(
            PAUSE_SECONDS, self._loop.add_reader, self._listening, self._accept
        )

    def _tell(self, event: str, **fields: object) -> None:
        if time.monotonic() - self._told_at >= TELL_EVERY_SECONDS:
            self._told_at = time.monotonic()
            _log.warning(event, open=len(self._connections), **fields)
