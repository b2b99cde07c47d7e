"""Counts the connections of a server, and makes room for new ones: who keeps us waiting goes first."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache

#: Closed at once when descriptors run out.
SHED_AT_ONCE = 32
#: One address may hold this share of all connections. A proxy that is not configured as one carries
#: everybody, so it is a half; and over it only connections that wait for their client are closed.
SHARE_OF_ONE_PEER = 0.5
#: The addresses that one subscriber of IPv6 has: they are one peer.
_IPV6_PREFIX = 64


@lru_cache(maxsize=4096)
def peer_of(address: str) -> str:
    """Who is meant by an address when peers are counted: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))


class Proxies:
    """The proxies that the settings name: their word about who asks is believed."""

    def __init__(self, networks: Sequence[object] = ()) -> None:
        self._networks = [ipaddress.ip_network(str(network), strict=False) for network in networks]

    def __contains__(self, address: str) -> bool:
        """Whether the address is one of them."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return any((mapped or parsed) in network for network in self._networks)


class Slot:
    """The place of one connection. `close` is set once it is up."""

    def __init__(self, connections: "Connections", peer: str) -> None:
        self.peer = peer
        self.close: Callable[[], None] = lambda: None
        self._connections = connections

    @property
    def is_taken(self) -> bool:
        """Whether it is still this connection's: it may have been given to another before it was up."""
        return self in self._connections

    def set_waiting(self, waiting: bool) -> None:
        """Say whether it waits for its client: then it may be closed to make room."""
        self._connections.mark(self, waiting=waiting)

    def release(self) -> None:
        """Give the place back; again does nothing."""
        self._connections.forget(self)


class Connections:
    """All open connections, `limit` at most in all; one peer may hold a share, and proxies all of them.

    Those that wait for their client are closed for others, the longest waiting first.
    """

    def __init__(self, limit: int, proxies: Proxies) -> None:
        self._limit = limit
        self._limit_of_one_peer = max(1, int(limit * SHARE_OF_ONE_PEER))
        self._proxies = proxies
        self._open: set[Slot] = set()
        self._of_peer: Counter[str] = Counter()
        self._waiting: OrderedDict[Slot, None] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def __contains__(self, slot: object) -> bool:
        """Whether the place is one of an open connection."""
        return slot in self._open

    def admit(self, address: str) -> Slot | None:
        """A place for a new connection; None when all are taken by requests under way."""
        peer = peer_of(address)
        if (
            self._of_peer[peer] >= self._limit_of_one_peer
            and address not in self._proxies
            and not self._close_one(peer)
        ):
            return None
        if len(self._open) >= self._limit and not self._close_one(None):
            return None
        slot = Slot(self, peer)
        self._open.add(slot)
        self._of_peer[peer] += 1
        self._waiting[slot] = None
        return slot

    def shed(self) -> None:
        """Close some of those that only wait, the longest waiting first."""
        for _ in range(SHED_AT_ONCE):
            if not self._close_one(None):
                return

    def mark(self, slot: Slot, *, waiting: bool) -> None:
        """Note whether it waits for its client."""
        if slot not in self._open:
            return
        if waiting:
            self._waiting.setdefault(slot)
        else:
            self._waiting.pop(slot, None)

    def forget(self, slot: Slot) -> None:
        """Note that it is closed."""
        if slot not in self._open:
            return
        self._open.discard(slot)
        self._waiting.pop(slot, None)
        self._of_peer[slot.peer] -= 1
        if not self._of_peer[slot.peer]:
            del self._of_peer[slot.peer]

    def _close_one(self, peer: str | None) -> bool:
        for slot in self._waiting:
            if peer is None or slot.peer == peer:
                self.forget(slot)
                slot.close()
                return True
        return False
