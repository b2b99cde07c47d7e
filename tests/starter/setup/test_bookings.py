"""What doctor says of bookings: whether they have their room, and the standbys that are to be ready."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.booking_workflow import BookingPhase
from contracts.capacity.bookings import BookingHold, BookingList
from contracts.capacity.models import Amount, CapacityState, HostCapacity, HostState, Limits
from contracts.capacity.warm_pools import MAX_FAILURES, PoolCount
from starter.bookings.schemas import BookingRow
from starter.setup import bookings
from starter.setup.bookings import Bookings
from starter.setup.check import Found, Kind
from starter.temporal.errors import NoWorker
from tests.contracts.test_bookings import a_booking
from tests.starter.setup.test_warm_pools import Connected, a_count

ASKED = AssertionError("it was asked")


def a_hold(starts_in: timedelta = timedelta(minutes=-5), event: str = "kurs") -> BookingHold:
    asked, now = a_booking(event), datetime.now(UTC)
    return BookingHold(
        event=event,
        life=asked.life,
        owner=asked.owner,
        seats={"one": 3},
        starts_at=now + starts_in,
        ends_at=now + timedelta(hours=8),
        made_at=now,
        environment=asked.environment,
        size=asked.size,
    )


def a_row(hold: BookingHold, **fields: Any) -> BookingRow:
    given = {"owner": hold.owner, "template": "small", "phase": BookingPhase.OPEN, "seats": 3, "taken": 1}
    times = {"starts_at": hold.starts_at, "ends_at": hold.ends_at}
    return BookingRow(**{"event": hold.event} | given | times | fields)


def a_pool(hold: BookingHold, **fields: Any) -> PoolCount:
    return a_count(**{"key": hold.pool, "booking": hold.event, "ready": 2, "making": 0, "wanted": 2} | fields)


def a_host(name: str = "one", held: int = 3, **fields: Any) -> HostState:
    capacity = HostCapacity(**{"name": name, "total": Limits(environments=4)} | fields)
    return HostState(capacity=capacity, reserved=Amount(environments=held))


class House:
    """A capacity workflow, and the bookings that Temporal lists."""

    def __init__(self, *holds: BookingHold) -> None:
        self.rows: tuple[BookingRow, ...] = tuple(map(a_row, holds))
        self.held: Any = BookingList(bookings=holds)
        self.pools: tuple[PoolCount, ...] = tuple(map(a_pool, holds))
        self.hosts: tuple[HostState, ...] = (a_host(),)

    async def list_open(self) -> tuple[BookingRow, ...]:
        return self.rows

    async def list_bookings(self) -> BookingList:
        if isinstance(self.held, Exception):
            raise self.held
        found: BookingList = self.held
        return found

    async def list_pools(self) -> tuple[PoolCount, ...]:
        return self.pools

    async def state(self, _: Any) -> CapacityState:
        return CapacityState(
            audited_at=datetime.now(UTC), hosts=self.hosts, person=Amount(), teams={}, reservations=0
        )


async def found(monkeypatch: pytest.MonkeyPatch, house: House) -> Found:
    monkeypatch.setattr(bookings, "Reservations", lambda _: house)
    monkeypatch.setattr(bookings, "BookingReader", lambda _: house)
    [part] = Bookings(Connected()).parts()  # type: ignore[arg-type]
    return await part.check()


async def test_without_an_open_booking_no_worker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    house.held = ASKED
    assert (await found(monkeypatch, house)).detail == "none is open"
    house.rows = (a_row(a_hold(), phase=BookingPhase.ENDING),)
    assert (await found(monkeypatch, house)).detail == "none is open"


async def test_a_booking_says_how_many_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    what = await found(monkeypatch, House(a_hold(), a_hold(event="lab")))
    assert (what.kind, what.detail) == (
        Kind.WELL,
        "kurs has 1 of 3 seats taken, lab has 1 of 3 seats taken",
    )


@pytest.mark.parametrize(
    ("starts_in", "fields", "detail", "remedy"),
    [
        (-5, {"failures": MAX_FAILURES, "problem": "No such image."},
         "kurs gets no more standbys, because they fail: No such image.",
         "mend the cause, then: moorage pools --resume small"),
        (10, {"failures": 1, "problem": "No such image."},
         "A standby of kurs has failed: No such image.", "moorage pools"),
        (4, {"ready": 1, "making": 1}, "kurs has 1 of 2 standbys ready.", "moorage capacity"),
        (-60, {"ready": 0}, "kurs has 0 of 2 standbys ready.", "moorage capacity"),
    ],
)  # fmt: skip
async def test_standbys_that_fail_or_are_missing_are_reported_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, starts_in: int, fields: dict[str, Any], detail: str, remedy: str
) -> None:
    hold = a_hold(timedelta(minutes=starts_in))
    house = House(hold)
    house.pools = (a_pool(hold, **fields), a_count(ready=0, failures=3, problem="of another pool"))
    what = await found(monkeypatch, house)
    assert (what.kind, what.detail) == (Kind.BY_HAND, detail)
    assert remedy in what.remedy


@pytest.mark.parametrize("starts_in", [timedelta(minutes=14), timedelta(days=3)])
async def test_standbys_of_a_booking_may_be_missing_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, starts_in: timedelta
) -> None:
    hold = a_hold(starts_in)
    house = House(hold)
    house.pools = (a_pool(hold, ready=0, making=2),) if starts_in < timedelta(days=1) else ()
    assert (await found(monkeypatch, house)).kind is Kind.WELL


@pytest.mark.parametrize(
    ("host", "detail"),
    [
        (a_host("two"), "kurs has 3 seats on host one, and it is not known what that has."),
        (a_host(known=False), "kurs has 3 seats on host one, and it is not known what that has."),
        (a_host(remark="It does not answer."), "kurs has 3 seats on host one: It does not answer."),
        (a_host(held=5), "kurs has 3 seats on host one, where more is held than there is (environments)."),
    ],
)
async def test_room_that_is_lost_is_reported(
    monkeypatch: pytest.MonkeyPatch, host: HostState, detail: str
) -> None:
    """Ensures that also for a booking that begins in three days."""
    house = House(a_hold(timedelta(days=3)))
    house.hosts = (host,)
    what = await found(monkeypatch, house)
    assert (what.kind, what.detail) == (Kind.BY_HAND, detail)
    assert what.remedy


async def test_a_booking_for_which_nothing_is_held_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(a_hold())
    house.held = BookingList(bookings=())
    what = await found(monkeypatch, house)
    assert (what.kind, what.detail) == (
        Kind.BY_HAND,
        "Nothing is held for kurs, so its room may be given to others.",
    )
    house.held = BookingList(bookings=(), is_known=False)
    assert (await found(monkeypatch, house)).kind is Kind.WELL


async def test_other_parts_report_a_missing_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(a_hold())
    house.held = NoWorker()
    assert (await found(monkeypatch, house)).kind is Kind.WELL
