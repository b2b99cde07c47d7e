"""Thousands of races for the standbys of the ledger, in orders that seeds give: one owner each.

Claims of several lives, their repetitions, audits that list what was there before, standbys that are
withdrawn, and new runs of the capacity workflow come in any order.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from contracts.capacity.admission import admit
from contracts.capacity.audit import AuditResult
from contracts.capacity.ledger import CapacityLedger
from contracts.capacity.models import (
    FoundStandby,
    Limits,
    PlacementDecision,
    Reservation,
    Standby,
    StandbyName,
)
from contracts.capacity.reconciliation import apply_audit
from contracts.capacity.warm_pools import PoolBook, PoolsInput, PoolState
from tests.contracts.test_pools import a_book, a_pool, a_warm_ask, hold

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
RACES = 1000
_give = PoolBook.give


class Race:
    """One race for a few standbys, as the capacity workflow runs it, and all that it has answered."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.standbys = [f"standby-{number}" for number in range(self.chance.randint(1, 3))]
        self.claimants = [f"e{number}" for number in range(self.chance.randint(2, 5))]
        self.room = len(self.standbys) + self.chance.randint(0, 4)
        self.pool = a_pool(ready=len(self.standbys), most=9)
        self.ledger = a_book(self.pool, one=Limits(environments=self.room))
        for name in self.standbys:
            hold(self.ledger, name, ready=self.chance.random() < 0.8)
        self.before = tuple(self.ledger), dict(self.ledger.pools.standbys)
        #: The lives that are over or were promised away, which no audit adopts.
        self.ended: set[str] = set()
        self.answers: dict[str, list[PlacementDecision]] = {}

    def run(self) -> None:
        """Let all happen in one order."""
        events: list[Callable[[], None]] = []
        for name in self.claimants:
            events += [lambda name=name: self.claim(name)] * self.chance.randint(1, 3)  # type: ignore[misc]
        for name in self.standbys:
            events.append(lambda name=name: self.report(name))  # type: ignore[misc]
        events += [self.audit] * 2 + [self.go_on_in_a_new_run, self.empty_the_pool]
        self.chance.shuffle(events)
        for happens in events:
            happens()
            self.check()

    def claim(self, name: str) -> None:
        answer = admit(self.ledger, a_warm_ask(name), NOW)
        self.answers.setdefault(name, []).append(answer)
        for standby in (answer.standby, *answer.displaced):
            if standby:
                self.ended.add(standby.life)

    def report(self, name: str) -> None:
        self.ledger.pools.report(name, f"life-of-{name}", "")

    def audit(self) -> None:
        """It has listed what was there at the start, so it finds standbys that have gone since."""
        places, standbys = self.before
        found = AuditResult(
            hosts=tuple(self.ledger.hosts.values()),
            adopted=tuple(place for place in places if self.ledger.get(place.name) is None),
            standbys=tuple(
                FoundStandby(name=name, **standby.model_dump()) for name, standby in standbys.items()
            ),
        )
        apply_audit(self.ledger, found, self.ended)

    def go_on_in_a_new_run(self) -> None:
        carried = PoolState.model_validate_json(self.ledger.pools.state.model_dump_json())
        self.ledger = CapacityLedger(self.ledger.hosts.values(), tuple(self.ledger), PoolBook(carried))

    def empty_the_pool(self) -> None:
        """The catalogue wants it no more for a moment, as `PoolKeeper` does it."""
        if self.chance.random() < 0.7:
            return
        self.ledger.pools.want(PoolsInput(), NOW)
        for name in self.ledger.pools.surplus(NOW):
            self.ended.add(self.ledger.pools.standbys.pop(name).life)
            self.ledger.remove(name)
        self.ledger.pools.want(PoolsInput(pools=(self.pool,)), NOW)

    def check(self) -> None:
        """What holds at every moment of every race."""
        given = {name: self.given_to(name) for name in self.claimants}
        standbys = [standby.name for standby in given.values() if standby]
        assert len(standbys) == len(set(standbys)), f"one standby has two owners: {given}"
        held = {place.name: place for place in self.ledger}
        assert not set(standbys) & held.keys(), "a standby that was handed out holds a place beside its owner"
        assert not set(standbys) & self.ledger.pools.standbys.keys(), "it can be handed out again"
        assert self.ledger.reserved("host", "one").environments <= self.room, "more is held than there is"

    def given_to(self, name: str) -> StandbyName | None:
        """The standby of a life, which is the same in every answer that gives it a place."""
        answers = [answer for answer in self.answers.get(name, ()) if answer.host]
        assert len({answer.standby for answer in answers}) <= 1, f"{name} got two answers: {answers}"
        return answers[0].standby if answers else None


def run_all() -> list[Race]:
    races = [Race(seed) for seed in range(RACES)]
    for race in races:
        race.run()
    return races


@pytest.mark.slow
def test_in_any_order_of_events_a_standby_has_one_owner() -> None:
    warm = cold = 0
    for race in run_all():
        found = [race.given_to(name) for name in race.claimants]
        warm += len([one for one in found if one])
        cold += len([one for one in found if one is None])
    # Neither the winners nor the losers are missing in the thousand.
    assert warm > RACES
    assert cold > RACES


@pytest.mark.parametrize("break_it", ["given twice", "adopted again"])
def test_the_races_see_what_goes_wrong(break_it: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if break_it == "given twice":
        monkeypatch.setattr(PoolBook, "give", give_and_keep)
        sees = "it can be handed out again|one standby has two owners"
    else:
        monkeypatch.setattr(Race, "audit", lambda race: adopt_blindly(race))
        sees = "holds a place beside its owner|more is held"
    with pytest.raises(AssertionError, match=sees):
        run_all()


def give_and_keep(book: PoolBook, name: str, life: str, standby: StandbyName, now: datetime) -> None:
    kept: Standby = book.standbys[standby.name]
    _give(book, name, life, standby, now)
    book.standbys[standby.name] = kept


def adopt_blindly(race: Race) -> None:
    places: tuple[Reservation, ...] = race.before[0]
    for place in places:
        if race.ledger.get(place.name) is None:
            race.ledger.put(place)
