"""What is held, by whom and where: the holdings, their sums, and how they travel.

Pure: a book is what its entries make it. What follows from one is in `contracts.capacity.admission`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts.capacity.models import Amount, Holdings, HostCapacity

#: A claim whose life has not begun by then never will: longer than the API tries to start one, several times.
START_GRACE = timedelta(minutes=2)

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The place of one name. All lives in `claims` share it: at most one of them is open at any time.

    `ends` and the values of `claims`, when each was made, are in seconds.
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
        """Under what it counts."""
        return (
            ("host", self.host),
            ("person", self.owner),
            ("team", self.team),
            ("person", self.owner, self.template),
            ("team", self.team, self.template),
        )

    def after(self, life: str, now: int) -> "Reservation | None":
        """What is left of it once `life`, which was the open one, is over: claims that may still begin."""
        fresh = now - int(START_GRACE.total_seconds())
        return self._with(tuple(one for one in self.claims if one[0] != life and one[1] > fresh))

    def less(self, life: str, made: int | None = None) -> "Reservation | None":
        """What is left of it without the claim of `life`; `made`: only if it was made then."""
        return self._with(tuple(one for one in self.claims if one[0] != life or made not in (None, one[1])))

    def _with(self, claims: tuple[tuple[str, int], ...]) -> "Reservation | None":
        return replace(self, claims=claims) if claims else None


class CapacityLedger:
    """All that is held, and what there is. Sums are kept: a decision costs the same however many hold."""

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
        """What is held under the name."""
        return self._holdings.get(name)

    def held(self, *key: str, without: Reservation | None = None) -> Amount:
        """How much is held under a key; `without` is taken for gone."""
        environments, cpu, memory = self._held.get(key, (0, 0, 0))
        held = Amount(environments=environments, cpu=cpu, memory=memory)
        return held.plus(without.size, -1) if without and key in without.keys else held

    def put(self, holding: Reservation) -> None:
        """Let this be what is held under its name."""
        self.drop(holding.name)
        self._holdings[holding.name] = holding
        self._add(holding, 1)

    def drop(self, name: str) -> None:
        """Let nothing be held under the name."""
        if holding := self._holdings.pop(name, None):
            self._add(holding, -1)

    def _add(self, holding: Reservation, times: int) -> None:
        # In bare numbers: a book of ten thousand is made anew within one workflow task.
        size = holding.size
        for key in holding.keys:
            environments, cpu, memory = self._held.get(key, (0, 0, 0))
            environments += times * size.environments
            if environments:
                self._held[key] = (environments, cpu + times * size.cpu, memory + times * size.memory)
            else:
                del self._held[key]

    def set_or_remove(self, name: str, holding: Reservation | None) -> None:
        """Let this be what is held under the name, or nothing."""
        if holding is None:
            self.drop(name)
        elif holding != self.of(name):
            self.put(holding)


def pack(holdings: Iterable[Reservation]) -> Holdings:
    """The holdings as they travel."""
    words: dict[str, int] = {}
    sizes: dict[tuple[int, int], int] = {}
    rows: list[tuple[str | int, ...]] = []
    for one in holdings:
        places = [
            words.setdefault(word, len(words)) for word in (one.owner, one.team, one.template, one.host)
        ]
        size = sizes.setdefault((one.size.cpu, one.size.memory), len(sizes))
        claims = (part for claim in one.claims for part in claim)
        rows.append((one.name, *places, size, one.ends, *claims))
    return Holdings(words=tuple(words), sizes=tuple(sizes), rows=tuple(rows))


def unpack(holdings: Holdings) -> Iterator[Reservation]:
    """The holdings that were packed."""
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
    """A moment as holdings have it."""
    return int(moment.timestamp())
