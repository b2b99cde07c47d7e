"""The ledger: the reservations, their sums, and their packed form.

Pure: the entries alone determine a ledger. The decisions are in `contracts.capacity.admission`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts.capacity.models import Amount, Holdings, HostCapacity

#: A life that has not started this long after its claim will never start: the API tries to start one several
#: times, but for a shorter time.
START_GRACE = timedelta(minutes=2)

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The place of one name.

    All lives in `claims` share it: at most one of them is open at a time. `ends` and the values of `claims`,
    which are the times of the claims, are in seconds.
    """

    name: str
    owner: str
    team: str
    template: str
    host: str
    size: Amount
    ends: int
    claims: tuple[tuple[str, int], ...]

    @property
    def lives(self) -> frozenset[str]:
        """The lives that have a claim."""
        return frozenset(life for life, _ in self.claims)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of the sums in which the reservation counts."""
        return (
            ("host", self.host),
            ("person", self.owner),
            ("team", self.team),
            ("person", self.owner, self.template),
            ("team", self.team, self.template),
        )

    def after(self, life: str, now: int) -> "Reservation | None":
        """Return the reservation after `life`, which was open, is over; None if no claim is left.

        The claims that may still start remain.
        """
        fresh = now - int(START_GRACE.total_seconds())
        return self._with(tuple(claim for claim in self.claims if claim[0] != life and claim[1] > fresh))

    def less(self, life: str, made: int | None = None) -> "Reservation | None":
        """Return the reservation without the claim of `life`; None if no claim is left.

        With `made`, the claim is removed only if it was made at that time.
        """
        return self._with(
            tuple(claim for claim in self.claims if claim[0] != life or made not in (None, claim[1]))
        )

    def _with(self, claims: tuple[tuple[str, int], ...]) -> "Reservation | None":
        return replace(self, claims=claims) if claims else None


class CapacityLedger:
    """All reservations, and the capacity of the hosts.

    It stores the sums, so the cost of a decision does not grow with the number of reservations.
    """

    def __init__(self, hosts: Iterable[HostCapacity] = (), holdings: Iterable[Reservation] = ()) -> None:
        self.hosts = {room.name: room for room in hosts}
        self._holdings: dict[str, Reservation] = {}
        self._held: dict[Key, tuple[int, int, int]] = {}
        for holding in holdings:
            self.put(holding)

    def __len__(self) -> int:
        return len(self._holdings)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._holdings.values())

    def of(self, name: str) -> Reservation | None:
        """Return the reservation of the name, or None."""
        return self._holdings.get(name)

    def held(self, *key: str, without: Reservation | None = None) -> Amount:
        """Return how much is held under a key, as if `without` were gone."""
        environments, cpu, memory = self._held.get(key, (0, 0, 0))
        held = Amount(environments=environments, cpu=cpu, memory=memory)
        return held.plus(without.size, -1) if without and key in without.keys else held

    def put(self, holding: Reservation) -> None:
        """Set the reservation of its name."""
        self.drop(holding.name)
        self._holdings[holding.name] = holding
        self._add(holding, 1)

    def drop(self, name: str) -> None:
        """Remove the reservation of the name, if there is one."""
        if holding := self._holdings.pop(name, None):
            self._add(holding, -1)

    def _add(self, holding: Reservation, times: int) -> None:
        # Use plain numbers here, because a ledger of ten thousand is rebuilt within one workflow task.
        size = holding.size
        for key in holding.keys:
            environments, cpu, memory = self._held.get(key, (0, 0, 0))
            environments += times * size.environments
            if environments:
                self._held[key] = (environments, cpu + times * size.cpu, memory + times * size.memory)
            else:
                del self._held[key]

    def set_or_remove(self, name: str, holding: Reservation | None) -> None:
        """Set the reservation of the name; None removes it."""
        if holding is None:
            self.drop(name)
        elif holding != self.of(name):
            self.put(holding)


def pack(holdings: Iterable[Reservation]) -> Holdings:
    """Return the reservations in packed form, for payloads."""
    words: dict[str, int] = {}
    sizes: dict[tuple[int, int], int] = {}
    rows: list[tuple[str | int, ...]] = []
    for reservation in holdings:
        places = [
            words.setdefault(word, len(words))
            for word in (reservation.owner, reservation.team, reservation.template, reservation.host)
        ]
        size = sizes.setdefault((reservation.size.cpu, reservation.size.memory), len(sizes))
        claims = (part for claim in reservation.claims for part in claim)
        rows.append((reservation.name, *places, size, reservation.ends, *claims))
    return Holdings(words=tuple(words), sizes=tuple(sizes), rows=tuple(rows))


def unpack(holdings: Holdings) -> Iterator[Reservation]:
    """Yield the reservations of the packed form."""
    sizes = [Amount(environments=1, cpu=cpu, memory=memory) for cpu, memory in holdings.sizes]
    for name, *rest in holdings.rows:
        owner, team, template, host, size, ends, *claims = rest
        word = holdings.words
        yield Reservation(
            name=str(name),
            owner=word[int(owner)],
            team=word[int(team)],
            template=word[int(template)],
            host=word[int(host)],
            size=sizes[int(size)],
            ends=int(ends),
            claims=tuple(
                (str(life), int(made)) for life, made in zip(claims[::2], claims[1::2], strict=True)
            ),
        )


def in_seconds(moment: datetime) -> int:
    """Return a moment in seconds since the epoch, as reservations store it."""
    return int(moment.timestamp())
