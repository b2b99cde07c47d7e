"""The rules of bookings in the capacity: whether there is room for one, and where its seats and standbys go.

Pure, as `contracts.capacity.admission` is.
"""

from collections.abc import Iterable
from datetime import datetime

from contracts.bookings import STANDBY_LEAD, seat_names
from contracts.capacity.bookings import BookingDecision, BookingHold, BookingRequest
from contracts.capacity.ledger import CapacityLedger
from contracts.capacity.models import (
    START_GRACE,
    Amount,
    Limits,
    PlacementDecision,
    ReservationRequest,
    StandbyName,
)
from contracts.capacity.warm_pools import WantedPool
from contracts.errors import Refusal, RefusalReason
from contracts.expiry import format_utc
from contracts.templates.warm_pool import WarmPool

#: Names of seats in a refusal: with one of them, a person finds the others.
MAX_NAMES = 3
#: The room of a booking that has not started so long after it was held is given back: by the audit after the
#: one in which it may still start, two minutes later by default.
GIVEN_BACK_AFTER = 2 * START_GRACE
#: Standbys of one booking that are made at the same time: all must be there within the quarter of an hour
#: before it begins.
MAX_MAKING_FOR_BOOKING = 5


def admit_booking(ledger: CapacityLedger, request: BookingRequest, now: datetime) -> BookingDecision:
    """Decide, and record the decision in the ledger; the same life always holds the same seats."""
    decision = decide_booking(ledger, request, now)
    for displaced in decision.displaced:
        ledger.retire(displaced.name)
        ledger.pools.standbys.pop(displaced.name, None)
    if decision.hold:
        ledger.bookings[request.life] = decision.hold
    return decision


def decide_booking(ledger: CapacityLedger, request: BookingRequest, now: datetime) -> BookingDecision:
    """Return which hosts hold how many of the seats: all of them, or none. Changes nothing.

    Standbys of warm pools give way to seats; environments and other bookings do not.
    """
    if held := ledger.bookings.get(request.life):
        # It is about to start again, and the audit waits for that.
        return BookingDecision(hold=held.model_copy(update={"made_at": now}))
    if other := next((hold for hold in ledger.bookings.values() if hold.event == request.event), None):
        return _refused(RefusalReason.OTHER_OWNER, _booked_sentence(other, now))
    if taken := [name for name in seat_names(request.event, request.seats) if ledger.get(name)]:
        names = ", ".join(taken[:MAX_NAMES]) + (", …" if taken[MAX_NAMES:] else "")
        message = (
            f"{request.event} cannot be booked, because its seats would have the names of environments "
            f"that are there ({names}): choose another name for the event."
        )
        return _refused(RefusalReason.OTHER_OWNER, message)
    rooms, displaced = _rooms(ledger, request)
    if sum(rooms.values()) < request.seats:
        return _room_refusal(ledger, request, rooms)
    hold = BookingHold(
        event=request.event,
        life=request.life,
        owner=request.owner,
        seats=_spread(ledger, rooms, request.seats),
        starts_at=request.starts_at,
        ends_at=request.ends_at,
        made_at=now,
        environment=request.environment,
        size=request.size,
    )
    return BookingDecision(hold=hold, displaced=displaced)


def _rooms(ledger: CapacityLedger, request: BookingRequest) -> tuple[dict[str, int], tuple[StandbyName, ...]]:
    """Return how many seats fit on each host when standbys give way, and these: no more than needed."""
    held = {name: ledger.reserved("host", name) for name in _known_hosts(ledger, request.hosts)}

    def rooms() -> dict[str, int]:
        return {
            name: _count_fitting(ledger.hosts[name].total.without(held[name]), request.size, request.seats)
            for name in held
        }

    displaced: list[StandbyName] = []
    places = [
        (place, StandbyName(name=name, life=standby.life))
        for name, standby in sorted(ledger.pools.standbys.items(), key=lambda item: item[1].is_ready)
        if (place := ledger.get(name)) and place.host in held and not place.booking
    ]
    found = rooms()
    for place, standby in places:
        if sum(found.values()) >= request.seats:
            break
        held[place.host] = held[place.host].plus(place.held, -1)
        displaced.append(standby)
        found = rooms()
    return found, tuple(displaced)


def _known_hosts(ledger: CapacityLedger, hosts: Iterable[str]) -> list[str]:
    return [name for name in hosts if (host := ledger.hosts.get(name)) and host.known]


def _count_fitting(left: Limits, size: Amount, most: int) -> int:
    """Return how many of this size fit, up to `most`."""
    numbers = [
        amount // each
        for field, each in size.model_dump().items()
        if each and (amount := getattr(left, field)) is not None
    ]
    return int(min([*numbers, most]))


def _spread(ledger: CapacityLedger, rooms: dict[str, int], seats: int) -> dict[str, int]:
    """Give each seat to the host with the most room left; hosts that do not answer come last."""
    found: dict[str, int] = {}
    for _ in range(seats):
        open_hosts = [name for name in rooms if rooms[name] > found.get(name, 0)]
        best = max(
            open_hosts, key=lambda name: (not ledger.hosts[name].remark, rooms[name] - found.get(name, 0))
        )
        found[best] = found.get(best, 0) + 1
    return found


def _room_refusal(ledger: CapacityLedger, request: BookingRequest, rooms: dict[str, int]) -> BookingDecision:
    """Say how many seats were asked for, how many fit on which host, and what bookings hold there."""
    parts = [
        f"host {name} has " + (f"room for {rooms[name]}" if name in rooms else "not reported yet what it has")
        for name in request.hosts
    ]
    held = [
        f"{hold.event} holds {hold.number} until {format_utc(hold.ends_at)}"
        for hold in sorted(ledger.bookings.values(), key=lambda hold: hold.ends_at)
        if not set(request.hosts).isdisjoint(hold.seats)
    ]
    template = request.environment.template.name
    message = f"{request.event} asks for {request.seats} seats from {template}; {', '.join(parts)}."
    message += f" Of the bookings there, {', '.join(held)}." if held else ""
    return _refused(RefusalReason.NO_ROOM if rooms else RefusalReason.NOT_KNOWN, message)


def _booked_sentence(hold: BookingHold, now: datetime) -> str:
    """Say that the event is booked, or when it can be if the request that holds it was cut off."""
    given_back = hold.made_at + GIVEN_BACK_AFTER
    if now < given_back:
        return (
            f"{hold.event} is held by another request for a booking: choose another name for the event, or "
            f"try again after {format_utc(given_back)}, when its room is free if that request was cut off."
        )
    return f"{hold.event} is booked already: choose another name for the event."


def _refused(reason: RefusalReason, message: str) -> BookingDecision:
    return BookingDecision(refusal=Refusal(reason=reason, message=message))


def name_refusal(ledger: CapacityLedger, request: ReservationRequest) -> Refusal | None:
    """Return the refusal of a seat whose booking is over, or of another request for the name of a seat."""
    if request.booking and request.booking not in ledger.bookings:
        message = f"{request.name} is a seat of a booking that is over."
        return Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)
    hold = ledger.booking_of(request.name)
    return Refusal.taken(request.name) if hold and hold.life != request.booking else None


def decide_seat(ledger: CapacityLedger, request: ReservationRequest) -> PlacementDecision | None:
    """Return a place out of what the booking holds; its own standbys give way. None if it has no place left.

    Until its standbys are ready, they may hold all the places that are left.
    """
    hold = ledger.bookings[request.booking]
    if host := place_left(ledger, hold):
        return PlacementDecision(host=host)
    for name, standby in sorted(ledger.pools.standbys.items(), key=lambda item: item[1].is_ready):
        place = ledger.get(name)
        if place and place.booking == hold.life and place.host in request.hosts:
            displaced = StandbyName(name=name, life=standby.life)
            return PlacementDecision(host=place.host, displaced=(displaced,))
    return None


def place_left(ledger: CapacityLedger, hold: BookingHold, *, answers: bool = False) -> str:
    """Return the host with the most seats left, one that `answers` first, or only such a one; or ""."""
    left = {name: ledger.seats_left(hold, name) for name in _known_hosts(ledger, hold.seats)}
    ranked = [
        (not ledger.hosts[name].remark, number, name)
        for name, number in left.items()
        if number and not (answers and ledger.hosts[name].remark)
    ]
    return max(ranked, key=lambda one: one[:2], default=(True, 0, ""))[2]


def booked_pools(ledger: CapacityLedger, now: datetime) -> tuple[WantedPool, ...]:
    """Return the pools of the bookings that begin soon or have started: a standby for each seat not taken."""
    pools = []
    for hold in ledger.bookings.values():
        wanted = hold.number - ledger.seats_taken(hold)
        if wanted > 0 and hold.starts_at - STANDBY_LEAD <= now < hold.ends_at:
            environment = hold.environment.model_copy(update={"ttl": hold.ends_at - now})
            pools.append(
                WantedPool(
                    key=hold.pool,
                    policy=WarmPool(ready=wanted),
                    environment=environment,
                    hosts=tuple(hold.seats),
                    size=hold.size,
                    booking=hold.event,
                    most_making=MAX_MAKING_FOR_BOOKING,
                )
            )
    return tuple(pools)


def next_pools_at(ledger: CapacityLedger, now: datetime) -> datetime | None:
    """Return when standbys of a booking are to be made next; None if no booking waits for that."""
    starts = (hold.starts_at - STANDBY_LEAD for hold in ledger.bookings.values())
    return min((start for start in starts if start > now), default=None)
