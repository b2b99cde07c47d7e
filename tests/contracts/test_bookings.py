"""Bookings in the ledger: what is held, who gets a seat, and what may not be given away meanwhile."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.booking_workflow import EndedPlace
from contracts.bookings import (
    MAX_AHEAD,
    MAX_SEATS,
    STANDBY_LEAD,
    booking_id,
    booking_problems,
    event_of,
    seat_name,
)
from contracts.capacity.admission import admit, decide, decide_standby_place, reassign, release, sleep, wake
from contracts.capacity.audit import AuditResult
from contracts.capacity.booking_admission import (
    MAX_MAKING_FOR_BOOKING,
    admit_booking,
    booked_pools,
    decide_booking,
    next_pools_at,
)
from contracts.capacity.bookings import BookingDecision, BookingHold, BookingRequest
from contracts.capacity.ledger import CapacityLedger, to_epoch_seconds
from contracts.capacity.models import (
    Amount,
    FoundStandby,
    HostCapacity,
    Limits,
    PlacementDecision,
    Quotas,
    ReleaseInput,
    Reservation,
    ReservationRequest,
    Standby,
    StandbyName,
)
from contracts.capacity.reconciliation import apply_audit
from contracts.errors import RefusalReason
from tests.contracts.test_admission import SMALL, an_ask
from tests.contracts.test_pools import a_book as a_ledger
from tests.contracts.test_pools import a_pool, a_standby_environment, hold, named
from tests.support.booking_views import an_ended

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def a_booking(event: str = "kurs", seats: int = 2, **fields: Any) -> BookingRequest:
    return BookingRequest(
        **{
            "event": event,
            "life": f"life-of-{event}",
            "owner": "pia@example.com",
            "seats": seats,
            "hosts": ("one",),
            "starts_at": NOW + HOUR,
            "ends_at": NOW + 3 * HOUR,
            "environment": a_standby_environment(),
            "size": SMALL,
        }
        | fields
    )


def book(ledger: CapacityLedger, event: str = "kurs", seats: int = 2, **fields: Any) -> BookingHold:
    decision = admit_booking(ledger, a_booking(event, seats, **fields), NOW)
    assert decision.hold, decision.refusal
    return decision.hold


def a_seat(number: int = 1, event: str = "kurs", **fields: Any) -> ReservationRequest:
    life = f"life-of-{event}"
    ask = {"hosts": ("one", "two"), "booking": life, "pool": booking_id(life), "quotas": Quotas()} | fields
    return an_ask(seat_name(event, number), **ask)


def put_standby(ledger: CapacityLedger, held: BookingHold, name: str, *, ready: bool = True) -> None:
    """A standby of the booking, as the keeper of pools puts it."""
    [pool] = booked_pools(ledger, held.starts_at)
    ask = an_ask(name, hosts=pool.hosts, booking=held.life)
    host = decide_standby_place(ledger, ask, NOW)
    assert host
    claims = ((f"life-of-{name}", to_epoch_seconds(NOW)),)
    ends = to_epoch_seconds(held.ends_at)
    ledger.put(Reservation(name, "", "", "small", host, SMALL, ends, claims, booking=held.life))
    ledger.pools.add(name, Standby(life=f"life-of-{name}", pool=held.pool, is_ready=ready))


def reason_of(decision: PlacementDecision | BookingDecision) -> RefusalReason | None:
    return decision.refusal.reason if decision.refusal else None


def environments(ledger: CapacityLedger, host: str = "one") -> int:
    return ledger.reserved("host", host).environments


def test_the_room_is_held_from_the_moment_of_the_booking() -> None:
    ledger = a_ledger(one=Limits(environments=3))
    book(ledger, starts_at=NOW + timedelta(days=20), ends_at=NOW + timedelta(days=21))
    assert environments(ledger) == 2
    assert admit(ledger, an_ask("a"), NOW).host
    assert reason_of(admit(ledger, an_ask("b"), NOW)) is RefusalReason.NO_ROOM


def test_the_same_life_holds_the_same_seats_once() -> None:
    ledger = a_ledger()
    first = book(ledger)
    assert book(ledger, seats=9) == first
    assert environments(ledger) == 2


def test_seats_are_spread_over_the_hosts_and_one_that_does_not_answer_comes_last() -> None:
    ledger = a_ledger(one=Limits(environments=5), two=Limits(environments=3), ill=Limits(environments=9))
    ledger.hosts["ill"] = ledger.hosts["ill"].model_copy(update={"remark": "it does not answer"})
    assert book(ledger, seats=6, hosts=("one", "two", "ill")).seats == {"one": 4, "two": 2}
    assert book(ledger, "other", seats=4, hosts=("one", "two", "ill")).seats == {"one": 1, "two": 1, "ill": 2}


def test_what_is_over_booked_is_refused_with_the_numbers_and_holds_nothing() -> None:
    ledger = a_ledger(one=Limits(environments=6), two=Limits(environments=4))
    ledger.hosts["three"] = HostCapacity(name="three", known=False)
    book(ledger, "first", seats=3, hosts=("one", "two"))
    admit(ledger, an_ask("a", hosts=("two",)), NOW)
    decision = admit_booking(ledger, a_booking(seats=8, hosts=("one", "two", "three")), NOW)
    assert decision.refusal
    assert decision.refusal.reason is RefusalReason.NO_ROOM
    assert decision.refusal.message == (
        "kurs asks for 8 seats from small; host one has room for 4, host two has room for 2, "
        "host three has not reported yet what it has. "
        "Of the bookings there, first holds 3 until 2026-05-04 15:00:00 UTC."
    )
    assert list(ledger.bookings) == ["life-of-first"]
    assert book(ledger, seats=6, hosts=("one", "two")).number == 6


def test_the_scarcest_resource_decides() -> None:
    total = Limits(environments=9, cpu=2 * SMALL.cpu + 1, memory=9 * SMALL.memory)
    ledger = a_ledger(one=total)
    assert reason_of(decide_booking(ledger, a_booking(seats=3), NOW)) is RefusalReason.NO_ROOM
    assert decide_booking(ledger, a_booking(seats=2), NOW).hold


def test_a_booking_without_a_host_that_has_reported_may_be_asked_for_again() -> None:
    ledger = CapacityLedger([HostCapacity(name="one", known=False)])
    assert reason_of(decide_booking(ledger, a_booking(), NOW)) is RefusalReason.NOT_KNOWN


def test_a_booking_that_asks_again_is_about_to_start_again() -> None:
    """Ensures that an audit that has not seen it ask again does not give its room back."""
    ledger = a_ledger()
    book(ledger)
    again = admit_booking(ledger, a_booking(), NOW + 2 * MINUTE).hold
    assert again
    assert again.made_at == NOW + 2 * MINUTE
    found = AuditResult(hosts=tuple(ledger.hosts.values()), ended_bookings=(again.life,))
    apply_audit(ledger, found, set(), NOW + MINUTE)
    assert ledger.bookings == {again.life: again}
    apply_audit(ledger, found, set(), NOW + 3 * MINUTE)
    assert ledger.bookings == {}


def test_another_request_for_an_event_says_when_to_try_again() -> None:
    ledger = a_ledger()
    book(ledger)
    refused = decide_booking(ledger, a_booking(life="another"), NOW + MINUTE).refusal
    assert refused
    assert refused.message == (
        "kurs is held by another request for a booking: choose another name for the event, or try again "
        "after 2026-05-04 12:04:00 UTC, when its room is free if that request was cut off."
    )
    later = decide_booking(ledger, a_booking(life="another"), NOW + 4 * MINUTE).refusal
    assert later
    assert later.message == "kurs is booked already: choose another name for the event."


def test_an_event_is_booked_once_and_not_over_names_that_are_taken() -> None:
    ledger = a_ledger()
    book(ledger)
    assert reason_of(decide_booking(ledger, a_booking(life="another"), NOW)) is RefusalReason.OTHER_OWNER
    for number in (1, 2, 4, 5):
        admit(ledger, an_ask(f"lab-{number:02}"), NOW)
    refused = decide_booking(ledger, a_booking("lab", seats=5), NOW).refusal
    assert refused
    assert "(lab-01, lab-02, lab-04, …)" in refused.message


@pytest.mark.parametrize("name", ["kurs-01", "kurs-02"])
def test_the_name_of_a_seat_is_taken_for_all_others(name: str) -> None:
    ledger = a_ledger()
    book(ledger)
    assert reason_of(admit(ledger, an_ask(name), NOW)) is RefusalReason.OTHER_OWNER
    assert reason_of(admit(ledger, an_ask(name, booking="another"), NOW)) is RefusalReason.BEING_TORN_DOWN


@pytest.mark.parametrize("name", ["kurs-03", "kurs-1", "kurs", "kurs-001", "kurs-00", "a-kurs-01"])
def test_other_names_are_free(name: str) -> None:
    ledger = a_ledger()
    book(ledger)
    assert admit(ledger, an_ask(name), NOW).host == "one"


def test_standbys_of_warm_pools_give_way_to_a_booking_and_no_more_than_needed() -> None:
    ledger = a_ledger(a_pool(), one=Limits(environments=4))
    for name, ready in (("standby-a", True), ("standby-b", False), ("standby-c", True)):
        hold(ledger, name, ready=ready)
    decision = admit_booking(ledger, a_booking(seats=2), NOW)
    assert decision.displaced == (named("standby-b"),)
    assert environments(ledger) == 4
    assert set(ledger.pools.standbys) == {"standby-a", "standby-c"}


def test_a_refused_booking_displaces_nothing() -> None:
    ledger = a_ledger(a_pool(), one=Limits(environments=4))
    hold(ledger, "standby-a")
    assert admit_booking(ledger, a_booking(seats=5), NOW).refusal
    assert ledger.get("standby-a")


def test_a_seat_counts_once_and_in_no_quota() -> None:
    ledger = a_ledger(one=Limits(environments=2))
    book(ledger)
    none = Quotas(person=Limits(environments=0), team=Limits(environments=0))
    assert admit(ledger, a_seat(1), NOW).host == "one"
    assert environments(ledger) == 2
    assert ledger.reserved("person", "alice@example.com") == Amount()
    assert ledger.reserved("team", "blue") == Amount()
    assert reason_of(admit(ledger, an_ask("other", quotas=none), NOW)) is RefusalReason.OVER_QUOTA


def test_the_place_of_a_seat_that_ends_goes_back_to_the_booking() -> None:
    ledger = a_ledger(one=Limits(environments=2))
    held = book(ledger)
    ask = a_seat(1)
    admit(ledger, ask, NOW)
    assert ledger.seats_left(held, "one") == 1
    release(ledger, ReleaseInput(name=ask.name, life=ask.life), NOW)
    assert ledger.seats_left(held, "one") == 2
    assert reason_of(admit(ledger, an_ask("b"), NOW)) is RefusalReason.NO_ROOM
    assert admit(ledger, a_seat(1, life="again"), NOW).host == "one"


def test_the_place_of_a_seat_that_ends_after_the_booking_is_free() -> None:
    ledger = a_ledger(one=Limits(environments=2))
    held = book(ledger)
    admit(ledger, a_seat(1), NOW)
    del ledger.bookings[held.life]
    assert environments(ledger) == 1
    assert reason_of(admit(ledger, a_seat(2), NOW)) is RefusalReason.BEING_TORN_DOWN
    release(ledger, ReleaseInput(name="kurs-01", life=a_seat(1).life), NOW)
    assert environments(ledger) == 0


def test_a_seat_that_sleeps_keeps_its_room_and_wakes() -> None:
    ledger = a_ledger(one=Limits(environments=9, cpu=2 * SMALL.cpu))
    book(ledger)
    ask = a_seat(1)
    admit(ledger, ask, NOW)
    sleep(ledger, ask.name, ask.life, NOW)
    assert ledger.reserved("host", "one").cpu == 2 * SMALL.cpu
    assert wake(ledger, ask, NOW).host == "one"
    assert ledger.reserved("host", "one").cpu == 2 * SMALL.cpu


def test_a_seat_may_get_another_owner_whatever_that_person_has() -> None:
    ledger = a_ledger()
    book(ledger)
    admit(ledger, a_seat(1), NOW)
    none = Quotas(person=Limits(environments=0))
    assert reassign(ledger, a_seat(1, owner="bob@example.com", quotas=none), NOW).host == "one"
    seat = ledger.get("kurs-01")
    assert seat
    assert (seat.owner, seat.booking) == ("bob@example.com", "life-of-kurs")


def test_standbys_are_wanted_a_quarter_of_an_hour_before_for_the_seats_not_taken() -> None:
    ledger = a_ledger(one=Limits(environments=3))
    held = book(ledger, seats=3)
    begin = held.starts_at - STANDBY_LEAD
    assert booked_pools(ledger, begin - timedelta(seconds=1)) == ()
    assert next_pools_at(ledger, NOW) == begin
    [pool] = booked_pools(ledger, begin)
    assert (pool.policy.ready, pool.key, pool.booking) == (3, held.pool, "kurs")
    assert pool.environment.ttl == held.ends_at - begin
    admit(ledger, a_seat(1), begin)
    put_standby(ledger, held, "standby-a")
    [pool] = booked_pools(ledger, begin)
    assert pool.policy.ready == 2
    assert booked_pools(ledger, held.ends_at) == ()
    assert next_pools_at(ledger, begin) is None
    for number in (2, 3):
        admit(ledger, a_seat(number), begin)
    assert booked_pools(ledger, begin) == ()


def test_the_catalogue_need_not_want_a_pool_for_a_booking_to_have_one() -> None:
    ledger = CapacityLedger([HostCapacity(name="one")])
    held = book(ledger, seats=9)
    ledger.pools.booked = booked_pools(ledger, held.starts_at)
    [pool] = ledger.pools.booked
    assert ledger.pools.missing(pool, held.starts_at) == MAX_MAKING_FOR_BOOKING
    [count] = ledger.pools.counts(held.starts_at).pools
    assert (count.booking, count.wanted) == ("kurs", 9)


def test_a_standby_of_the_booking_uses_its_room_and_a_seat_takes_it_over() -> None:
    ledger = a_ledger(one=Limits(environments=2))
    held = book(ledger)
    put_standby(ledger, held, "standby-a")
    assert environments(ledger) == 2
    decision = admit(ledger, a_seat(1), NOW)
    assert decision.standby == StandbyName(name="standby-a", life="life-of-standby-a")
    assert environments(ledger) == 2
    assert ledger.seats_left(held, "one") == 1


def test_no_other_request_gets_or_displaces_a_standby_of_a_booking() -> None:
    ledger = a_ledger(one=Limits(environments=1))
    put_standby(ledger, book(ledger, seats=1), "standby-a")
    assert reason_of(admit(ledger, an_ask("b"), NOW)) is RefusalReason.NO_ROOM
    assert reason_of(admit_booking(ledger, a_booking("other", seats=1), NOW)) is RefusalReason.NO_ROOM
    assert reason_of(admit(ledger, an_ask("c", pool="k"), NOW)) is RefusalReason.NO_ROOM
    assert ledger.get("standby-a")


def test_a_seat_takes_the_place_of_a_standby_that_is_not_ready() -> None:
    ledger = a_ledger(one=Limits(environments=2))
    held = book(ledger)
    put_standby(ledger, held, "standby-a", ready=False)
    put_standby(ledger, held, "standby-b", ready=False)
    decision = admit(ledger, a_seat(1), NOW)
    assert (decision.host, len(decision.displaced)) == ("one", 1)
    assert environments(ledger) == 2


@pytest.mark.parametrize("is_ready", [True, False], ids=["taken over", "displaced"])
def test_a_standby_that_leaves_is_known_without_room_until_it_is_gone(is_ready: bool) -> None:
    ledger = a_ledger(one=Limits(environments=2))
    held = book(ledger, seats=1)
    put_standby(ledger, held, "standby-a", ready=is_ready)
    admit(ledger, a_seat(1), NOW)
    leaving = ledger.get("standby-a")
    assert leaving
    assert (leaving.booking, leaving.lives) == (held.life, {"life-of-standby-a"})
    assert (environments(ledger), len(ledger), ledger.seats_taken(held)) == (1, 1, 1)
    assert ledger.pools.standbys == {}
    # The room of the seat is its own: the next life of it has it again.
    release(ledger, ReleaseInput(name="kurs-01", life=a_seat(1).life), NOW)
    assert (ledger.seats_left(held, "one"), ledger.seats_taken(held)) == (1, 0)
    assert admit(ledger, a_seat(1, life="again"), NOW).host == "one"
    release(ledger, ReleaseInput(name="standby-a", life="life-of-standby-a"), NOW)
    assert ledger.get("standby-a") is None
    assert environments(ledger) == 1


def test_a_standby_that_leaves_ends_nothing_that_a_refusal_names() -> None:
    ledger = a_ledger(one=Limits(environments=1))
    held = book(ledger, seats=1)
    put_standby(ledger, held, "standby-a")
    admit(ledger, a_seat(1, ends_at=NOW + 9 * HOUR), NOW)
    del ledger.bookings[held.life]
    assert admit(ledger, an_ask("b"), NOW).next_end == NOW + 9 * HOUR


def test_an_audit_that_has_seen_a_standby_before_it_left_hands_it_to_no_seat() -> None:
    ledger = a_ledger(one=Limits(environments=2))
    held = book(ledger)
    put_standby(ledger, held, "standby-a")
    admit(ledger, a_seat(1), NOW)
    seen = FoundStandby(name="standby-a", life="life-of-standby-a", pool=held.pool, is_ready=True)
    found = AuditResult(hosts=tuple(ledger.hosts.values()), standbys=(seen,))
    apply_audit(ledger, found, {"life-of-standby-a"})
    assert admit(ledger, a_seat(2), NOW).standby is None


def test_a_seat_whose_place_is_taken_by_one_that_ends_late_gets_other_room() -> None:
    """A standby that failed holds its place until it is undone."""
    ledger = a_ledger(one=Limits(environments=2))
    held = book(ledger, seats=1)
    put_standby(ledger, held, "standby-a", ready=False)
    ledger.pools.report("standby-a", "life-of-standby-a", "it failed")
    assert admit(ledger, a_seat(1), NOW).host == "one"
    assert environments(ledger) == 2


def test_an_audit_takes_up_and_ends_bookings_but_none_that_has_just_ended() -> None:
    ledger = a_ledger()
    held = book(ledger)
    other = held.model_copy(update={"event": "other", "life": "life-of-other"})
    found = AuditResult(hosts=tuple(ledger.hosts.values()), bookings=(other,), ended_bookings=(held.life,))
    apply_audit(ledger, found, {"life-of-other"})
    assert ledger.bookings == {}
    apply_audit(ledger, found, set())
    assert ledger.bookings == {"life-of-other": other}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_asked_for_no_host_is_overfull_and_every_seat_has_its_place(seed: int) -> None:
    """Bookings, seats, standbys and requests race for the last places; then each seat is asked for."""
    picked = random.Random(seed)
    ledger = a_ledger(one=Limits(environments=7), two=Limits(environments=5))
    hosts = ("one", "two")
    lives: dict[str, str] = {}
    for turn in range(300):
        event = picked.choice(["kurs", "lab"])
        held = ledger.bookings.get(f"life-of-{event}")
        match picked.randrange(6):
            case 0:
                admit_booking(ledger, a_booking(event, picked.randint(1, 8), hosts=hosts), NOW)
            case 1 if held and picked.random() < 0.1:
                del ledger.bookings[held.life]
                for name in [one.name for one in ledger if one.booking == held.life]:
                    ledger.remove(name)
            case 2 if held:
                number = picked.randint(1, held.number)
                ask = a_seat(number, event, life=f"{turn}", owner=f"p{number}@example.com")
                decision = admit(ledger, ask, NOW)
                assert decision.host, decision.refusal
                lives[ask.name] = ask.life
            case 3 if held and (pools := booked_pools(ledger, held.starts_at)):
                if any(pool.key == held.pool for pool in pools) and ledger.seats_left(held, "one"):
                    name = f"standby-{turn}"
                    ledger.put(
                        Reservation(name, "", "", "small", "one", SMALL, 0, ((name, 0),), booking=held.life)
                    )
                    ledger.pools.add(name, Standby(life=name, pool=held.pool, is_ready=picked.random() < 0.5))
            case 4:
                admit(ledger, an_ask(f"e{picked.randrange(12)}", life=f"{turn}", hosts=hosts), NOW)
            case _ if len(ledger):
                one = picked.choice(list(ledger))
                ledger.remove(one.name)
        ledger.pools.keep_only((one.name, one.lives) for one in ledger)
        for host in hosts:
            total = ledger.hosts[host].total.environments
            assert total is not None
            assert environments(ledger, host) <= total
    for held in ledger.bookings.values():
        for name in held.names:
            ask = a_seat(
                int(name[-2:]), held.event, life=lives.get(name, "x"), owner=f"p{int(name[-2:])}@example.com"
            )
            assert decide(ledger, ask, NOW).host


PROBLEMS: dict[str, dict[str, Any]] = {
    "event": {"event": "Kurs"},
    "a long event": {"event": "k" * 28},
    "no seats": {"seats": 0},
    "many seats": {"seats": MAX_SEATS + 1},
    "far ahead": {"starts_at": NOW + MAX_AHEAD + HOUR, "ends_at": NOW + MAX_AHEAD + 2 * HOUR},
    "over": {"starts_at": NOW - 2 * HOUR, "ends_at": NOW - HOUR},
    "short": {"ends_at": NOW + HOUR + timedelta(minutes=1)},
    "backwards": {"ends_at": NOW + timedelta(minutes=30)},
    "long": {"ends_at": NOW + timedelta(days=4)},
}
FIELDS = ["event", "event", "seats", "seats", "from", "until", "until", "until", "until"]


@pytest.mark.parametrize(("what", "field"), list(zip(PROBLEMS, FIELDS, strict=True)))
def test_a_wrong_booking_has_one_sentence_at_its_field(what: str, field: str) -> None:
    good: dict[str, Any] = {
        "event": "k" * 27,
        "seats": MAX_SEATS,
        "starts_at": NOW + HOUR,
        "ends_at": NOW + 9 * HOUR,
        "longest": timedelta(days=3),
        "now": NOW,
    }
    assert booking_problems(**good) == {}
    assert list(booking_problems(**(good | PROBLEMS[what]))) == [field]


def test_the_event_is_in_the_id_of_its_workflow() -> None:
    assert event_of(booking_id("kurs")) == "kurs"


def test_a_booking_does_not_certify_what_it_could_not_read() -> None:
    """Ensures that a seat whose certificate is lost is not "nothing left", unlike one that was never made."""
    status = an_ended()
    assert status.nothing_left
    lost = EndedPlace(name="over-04", remark="its certificate cannot be read any more", is_unproven=True)
    assert not status.model_copy(update={"ended": (*status.ended, lost)}).nothing_left
