"""Connection limits of a server; for a new connection it closes one that waits for its client."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache

#: Connections that are closed at once when file descriptors run out.
SHED_AT_ONCE = 32
#: Share of all connections that one address can hold. A proxy that is not configured as a proxy carries all
#: users, so the share is a half; and above it, only connections that wait for their client are closed.
SHARE_OF_ONE_PEER = 0.5
#: The IPv6 network of one subscriber: all its addresses count as one peer.
_IPV6_PREFIX = 64


@lru_cache(maxsize=4096)
def peer_of(address: str) -> str:
    """Return the peer of an address, for counting: an IPv4 address, or an IPv6 /64 network."""
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
    """The trusted proxies of the settings: the server uses the client address that they report."""

    def __init__(self, networks: Sequence[object] = ()) -> None:
        self._networks = [ipaddress.ip_network(str(network), strict=False) for network in networks]

    def __contains__(self, address: str) -> bool:
        """Return whether the address belongs to a trusted proxy."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return any((mapped or parsed) in network for network in self._networks)


class Slot:
    """The slot of one connection. `close` is set when the connection is set up."""

    def __init__(self, connections: "Connections", peer: str) -> None:
        self.peer = peer
        self.close: Callable[[], None] = lambda: None
        self._connections = connections

    @property
    def is_taken(self) -> bool:
        """Whether this connection still has the slot; another may have got it before the set-up."""
        return self in self._connections

    def set_waiting(self, waiting: bool) -> None:
        """Set whether the connection waits for its client; then the server may close it for another."""
        self._connections.mark(self, waiting=waiting)

    def release(self) -> None:
        """Release the slot; a second call does nothing."""
        self._connections.forget(self)


class Connections:
    """All open connections, at most `limit`; one peer can hold a share of them, and proxies can hold all.

    For a new connection, the one that has waited longest for its client is closed.
    """

    def __init__(self, limit: int, proxies: Proxies) -> None:
        self._limit = limit
        self._limit_of_one_peer = max(1, int(limit * SHARE_OF_ONE_PEER))
        self._proxies = proxies
        self._open: set[Slot] = set()
        self._of_peer: Counter[str] = Counter()
        self._waiting: OrderedDict[Slot, None] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def __contains__(self, slot: object) -> bool:
        """Return whether the slot belongs to an open connection."""
        return slot in self._open

    def admit(self, address: str) -> Slot | None:
        """Return a slot for a new connection; None if requests in progress use all of them."""
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
        """Close up to SHED_AT_ONCE connections that wait for their clients, longest waiting first."""
        for _ in range(SHED_AT_ONCE):
            if not self._close_one(None):
                return

    def mark(self, slot: Slot, *, waiting: bool) -> None:
        """Record whether the connection of the slot waits for its client."""
        if slot not in self._open:
            return
        if waiting:
            self._waiting.setdefault(slot)
        else:
            self._waiting.pop(slot, None)

    def forget(self, slot: Slot) -> None:
        """Record that the connection of the slot is closed."""
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
