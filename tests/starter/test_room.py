"""How many environments have room: on the hosts together, and in the quotas."""

from datetime import UTC, datetime

import pytest

from contracts.capacity.models import Amount, CapacityState, HostCapacity, HostState, Limits, Quotas
from starter.placement.room import Room, room_for

GI = 1024**3
SIZE = Amount(environments=1, cpu=2000, memory=4 * GI)
NONE = Quotas(person=Limits(), team=Limits(), template_person=Limits(), template_team=Limits())


def host(name: str, *, cpu: int | None, memory: int | None, used: int = 0, known: bool = True) -> HostState:
    total = Limits(cpu=cpu, memory=None if memory is None else memory * GI)
    return HostState(
        capacity=HostCapacity(name=name, total=total, known=known),
        reserved=Amount().plus(SIZE, used),
    )


def state(*hosts: HostState, mine: int = 0, team: int = 0, audited: bool = True) -> CapacityState:
    return CapacityState(
        audited_at=datetime(2026, 11, 27, tzinfo=UTC) if audited else None,
        hosts=hosts,
        person=Amount().plus(SIZE, mine),
        teams={"blue": Amount().plus(SIZE, team)},
        reservations=0,
    )


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([host("a", cpu=10_000, memory=100)], 5),
        ([host("a", cpu=10_000, memory=9)], 2),
        ([host("a", cpu=10_000, memory=100, used=3)], 2),
        ([host("a", cpu=10_000, memory=100), host("b", cpu=4000, memory=100)], 7),
        ([host("a", cpu=1000, memory=100)], 0),
        ([host("a", cpu=10_000, memory=100), host("other", cpu=90_000, memory=900)], 5),
        ([host("a", cpu=None, memory=None)], None),
        ([host("a", cpu=None, memory=None), host("b", cpu=4000, memory=8)], None),
        ([host("a", cpu=10_000, memory=100, known=False)], None),
        ([host("a", cpu=10_000, memory=100, known=False), host("b", cpu=4000, memory=100)], 2),
    ],
)
def test_room_on_hosts(hosts: list[HostState], expected: int | None) -> None:
    """Ensures that parts of hosts are not added up, and that hosts of other templates do not count."""
    assert room_for(SIZE, ["a", "b"], NONE, state(*hosts), "blue") == Room(count=expected)


@pytest.mark.parametrize(
    ("person", "team", "mine", "ours", "expected"),
    [
        (Limits(environments=3), Limits(), 1, 1, Room(count=2, by_quota=True)),
        (Limits(environments=3), Limits(), 3, 3, Room(count=0, by_quota=True)),
        (Limits(environments=3), Limits(cpu=4000), 1, 1, Room(count=1, by_quota=True)),
        (Limits(environments=30), Limits(environments=30), 1, 1, Room(count=5)),
        # Open environments from before the quota was lowered.
        (Limits(environments=2), Limits(), 4, 4, Room(count=0, by_quota=True)),
    ],
)
def test_room_in_quotas(person: Limits, team: Limits, mine: int, ours: int, expected: Room) -> None:
    quotas = NONE.model_copy(update={"person": person, "team": team})
    here = state(host("a", cpu=10_000, memory=100), mine=mine, team=ours)
    assert room_for(SIZE, ["a"], quotas, here, "blue") == expected


def test_a_quota_counts_also_where_hosts_have_no_limit() -> None:
    quotas = NONE.model_copy(update={"person": Limits(environments=2)})
    here = state(host("a", cpu=None, memory=None))
    assert room_for(SIZE, ["a"], quotas, here, "blue") == Room(count=2, by_quota=True)


def test_no_number_before_the_first_audit() -> None:
    here = state(host("a", cpu=10_000, memory=100), audited=False)
    assert room_for(SIZE, ["a"], NONE, here, "blue") == Room(count=None)
