"""The ledger: the reservations, what bookings hold, and the sums.

Pure: the entries alone determine a ledger. The decisions are in `contracts.capacity.admission`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from contracts.capacity.bookings import BookingHold
from contracts.capacity.models import Amount, HostCapacity, Key, Reservation
from contracts.capacity.warm_pools import PoolBook


class CapacityLedger:
    """All reservations, and the capacity of the hosts.

    It stores the sums, so the cost of a decision does not grow with the number of reservations.
    """

    def __init__(
        self,
        hosts: Iterable[HostCapacity] = (),
        reservations: Iterable[Reservation] = (),
        pools: PoolBook | None = None,
        bookings: Iterable[BookingHold] = (),
    ) -> None:
        self.pools = pools or PoolBook()
        #: By the lives of the bookings.
        self.bookings = {hold.life: hold for hold in bookings}
        self.hosts = {room.name: room for room in hosts}
        self._reservations: dict[str, Reservation] = {}
        self._held: dict[Key, tuple[int, int, int]] = {}
        for reservation in reservations:
            self.put(reservation)

    def __len__(self) -> int:
        # Without standbys that leave, which have no room.
        return sum(bool(one.held.environments) for one in self._reservations.values())

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._reservations.values())

    def get(self, name: str) -> Reservation | None:
        """Return the reservation of the name, or None."""
        return self._reservations.get(name)

    def reserved(self, *key: str, without: Reservation | None = None) -> Amount:
        """Return how much is held under a key, as if `without` were gone.

        For a host, that includes the seats that bookings hold there and that are free.
        """
        environments, cpu, memory = self._held.get(key, (0, 0, 0))
        held = Amount(environments=environments, cpu=cpu, memory=memory)
        if key[0] == "host":
            for hold in self.bookings.values():
                held = held.plus(hold.size, self.seats_left(hold, key[1]))
        return held.plus(without.held, -1) if without and key in without.keys else held

    def seats_left(self, hold: BookingHold, host: str) -> int:
        """Return how many seats a booking holds on the host, and has not given to a life or a standby."""
        taken = self._held.get(("booking", hold.life, host), (0, 0, 0))[0]
        return max(0, hold.seats.get(host, 0) - taken)

    def seats_taken(self, hold: BookingHold) -> int:
        """Return how many environments have a seat of the booking; standbys are not counted."""
        taken = sum(self._held.get(("booking", hold.life, host), (0, 0, 0))[0] for host in hold.seats)
        standbys = self.pools.standbys.items()
        return taken - sum(one.pool == hold.pool and name in self._reservations for name, one in standbys)

    def booking_of(self, name: str) -> BookingHold | None:
        """Return the booking of which an environment of that name would be a seat."""
        event = name.rpartition("-")[0]
        return next(
            (hold for hold in self.bookings.values() if hold.event == event and name in hold.names), None
        )

    def put(self, reservation: Reservation) -> None:
        """Set the reservation of its name."""
        self.remove(reservation.name)
        self._reservations[reservation.name] = reservation
        self._add(reservation, 1)

    def remove(self, name: str) -> None:
        """Remove the reservation of the name, if there is one."""
        if reservation := self._reservations.pop(name, None):
            self._add(reservation, -1)

    def retire(self, name: str) -> None:
        """Take the room of a standby that ends. One of a booking keeps a place without room until it is gone.

        By that the booking knows for what it waits, although a list of Temporal may be late.
        """
        place = self.get(name)
        if place and place.booking:
            self.put(replace(place, size=Amount()))
        else:
            self.remove(name)

    def _add(self, reservation: Reservation, times: int) -> None:
        # Use plain numbers here, because a ledger of ten thousand is rebuilt within one workflow task.
        size = reservation.held
        for key in reservation.keys:
            environments, cpu, memory = self._held.get(key, (0, 0, 0))
            environments += times * size.environments
            if environments:
                self._held[key] = (environments, cpu + times * size.cpu, memory + times * size.memory)
            else:
                self._held.pop(key, None)

    def set_or_remove(self, name: str, reservation: Reservation | None) -> None:
        """Set the reservation of the name; None removes it."""
        if reservation is None:
            self.remove(name)
        elif reservation != self.get(name):
            self.put(reservation)


def to_epoch_seconds(moment: datetime) -> int:
    """Return a moment in seconds since the epoch, as reservations store it."""
    return int(moment.timestamp())
