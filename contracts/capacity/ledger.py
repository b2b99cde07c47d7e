"""The ledger: the reservations and their sums.

Pure: the entries alone determine a ledger. The decisions are in `contracts.capacity.admission`.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from contracts.capacity.models import Amount, HostCapacity, Key, Reservation
from contracts.capacity.pools import PoolBook


class CapacityLedger:
    """All reservations, and the capacity of the hosts.

    It stores the sums, so the cost of a decision does not grow with the number of reservations.
    """

    def __init__(
        self,
        hosts: Iterable[HostCapacity] = (),
        reservations: Iterable[Reservation] = (),
        pools: PoolBook | None = None,
    ) -> None:
        self.pools = pools or PoolBook()
        self.hosts = {room.name: room for room in hosts}
        self._reservations: dict[str, Reservation] = {}
        self._held: dict[Key, tuple[int, int, int]] = {}
        for reservation in reservations:
            self.put(reservation)

    def __len__(self) -> int:
        return len(self._reservations)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._reservations.values())

    def get(self, name: str) -> Reservation | None:
        """Return the reservation of the name, or None."""
        return self._reservations.get(name)

    def reserved(self, *key: str, without: Reservation | None = None) -> Amount:
        """Return how much is held under a key, as if `without` were gone."""
        environments, cpu, memory = self._held.get(key, (0, 0, 0))
        held = Amount(environments=environments, cpu=cpu, memory=memory)
        return held.plus(without.held, -1) if without and key in without.keys else held

    def put(self, reservation: Reservation) -> None:
        """Set the reservation of its name."""
        self.remove(reservation.name)
        self._reservations[reservation.name] = reservation
        self._add(reservation, 1)

    def remove(self, name: str) -> None:
        """Remove the reservation of the name, if there is one."""
        if reservation := self._reservations.pop(name, None):
            self._add(reservation, -1)

    def _add(self, reservation: Reservation, times: int) -> None:
        # Use plain numbers here, because a ledger of ten thousand is rebuilt within one workflow task.
        size = reservation.held
        for key in reservation.keys:
            environments, cpu, memory = self._held.get(key, (0, 0, 0))
            environments += times * size.environments
            if environments:
                self._held[key] = (environments, cpu + times * size.cpu, memory + times * size.memory)
            else:
                del self._held[key]

    def set_or_remove(self, name: str, reservation: Reservation | None) -> None:
        """Set the reservation of the name; None removes it."""
        if reservation is None:
            self.remove(name)
        elif reservation != self.get(name):
            self.put(reservation)


def to_epoch_seconds(moment: datetime) -> int:
    """Return a moment in seconds since the epoch, as reservations store it."""
    return int(moment.timestamp())
