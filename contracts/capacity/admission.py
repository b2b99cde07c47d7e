"""The rules that decide which life gets a place, and on which host.

Pure: `decide` is a function of a ledger, a request and a moment. The capacity workflow makes no other
decisions.
"""

from dataclasses import replace
from datetime import datetime

from contracts.capacity.booking_admission import decide_seat, name_refusal, place_left
from contracts.capacity.ledger import CapacityLedger, to_epoch_seconds
from contracts.capacity.models import (
    Amount,
    HostCapacity,
    Limits,
    PlacementDecision,
    Quotas,
    ReleaseInput,
    Reservation,
    ReservationRequest,
    ResizedInput,
    ResizeInput,
    StandbyName,
)
from contracts.capacity.refusals import capacity_refusal, lacking, quota_refusal
from contracts.errors import Refusal, RefusalReason


def admit(ledger: CapacityLedger, request: ReservationRequest, now: datetime) -> PlacementDecision:
    """Decide, and record the decision in the ledger; the same life always gets the same place."""
    decision = decide(ledger, request, now)
    _make_way(ledger, decision)
    if decision.host:
        if decision.standby and decision.standby.name in ledger.pools.standbys:
            ledger.retire(decision.standby.name)
            ledger.pools.give(request.name, request.life, decision.standby, now)
        shared = _current_reservation(ledger, request, now)
        if shared is None and not decision.standby:
            ledger.pools.miss(request.pool, now)
        claims = tuple(claim for claim in shared.claims if claim[0] != request.life) if shared else ()
        ledger.put(
            Reservation(
                name=request.name,
                owner=request.owner,
                team=request.team,
                template=request.template,
                host=decision.host,
                size=request.size,
                ends=max(to_epoch_seconds(request.ends_at), shared.ends if shared else 0),
                claims=(*claims, (request.life, to_epoch_seconds(now))),
                booking=request.booking,
            )
        )
    return decision


def _make_way(ledger: CapacityLedger, decision: PlacementDecision) -> None:
    """Take the places of the standbys that give way."""
    for displaced in decision.displaced:
        ledger.retire(displaced.name)
        ledger.pools.standbys.pop(displaced.name, None)


def decide(ledger: CapacityLedger, request: ReservationRequest, now: datetime) -> PlacementDecision:
    """Return whether there is a place, and where. Changes nothing.

    All lives of one owner under one name share one reservation. For a new name, the quotas of person and team
    are checked. Then it gets a standby of its pool, if one is ready. Otherwise, of the hosts on which it
    fits, the host with the most left is chosen. If it fits on none, standbys give way. A seat of a booking
    takes the place that the booking holds.
    """
    if refusal := name_refusal(ledger, request):
        return PlacementDecision(refusal=refusal)
    if shared := _current_reservation(ledger, request, now):
        if refusal := _sharing_refusal(shared, request):
            return PlacementDecision(refusal=refusal)
        decision = _decide_again(ledger, request, shared, now)
        standby = ledger.pools.given_to(request.name, request.life)
        return decision.model_copy(update={"standby": standby}) if decision.host and standby else decision
    replaced = ledger.get(request.name)
    if refused := quota_refusal(ledger, request, replaced, now):
        return refused
    if standby_decision := _decide_standby(ledger, request):
        return standby_decision
    if request.booking and (seat := decide_seat(ledger, request)):
        return seat
    return _decide_host(ledger, request, replaced, now)


def decide_standby_place(ledger: CapacityLedger, request: ReservationRequest, now: datetime) -> str:
    """Return the host with room for a new standby; "" if there is none. No other standby gives way to it."""
    if request.booking:
        hold = ledger.bookings.get(request.booking)
        return place_left(ledger, hold, answers=True) if hold else ""
    names = tuple(name for name in request.hosts if (host := ledger.hosts.get(name)) and not host.remark)
    return _decide_host(ledger, request.model_copy(update={"hosts": names}), None, now, displaces=False).host


def _decide_standby(ledger: CapacityLedger, request: ReservationRequest) -> PlacementDecision | None:
    """Return the oldest ready standby of the request's pool, on a host that answers; None without one."""
    if not request.pool:
        return None
    for name, standby in ledger.pools.standbys.items():
        place = ledger.get(name)
        if place is None or standby.pool != request.pool or not standby.is_ready:
            continue
        host = ledger.hosts.get(place.host)
        if place.host in request.hosts and host and host.known and not host.remark:
            return PlacementDecision(host=place.host, standby=StandbyName(name=name, life=standby.life))
    return None


def _decide_host(
    ledger: CapacityLedger,
    request: ReservationRequest,
    replaced: Reservation | None,
    now: datetime,
    *,
    displaces: bool = True,
) -> PlacementDecision:
    """Return the host with the most left, or the refusal; standbys give way if it fits on none."""
    fitting = [
        (_rate_host(capacity, request.size, held), -held.environments, name)
        for name in request.hosts
        if (capacity := ledger.hosts.get(name)) and capacity.known
        for held in [ledger.reserved("host", name, without=replaced)]
        if not lacking(capacity.total.without(held), request.size)
    ]
    if not fitting:
        if displaces and (displacing := _displace_standbys(ledger, request, replaced)):
            return displacing
        return capacity_refusal(ledger, request, replaced, now)
    # Of equal hosts, `max` takes the first in the order of the settings.
    most = max(fitting, key=lambda candidate: candidate[:2])
    return PlacementDecision(host=most[2])


def _displace_standbys(
    ledger: CapacityLedger, request: ReservationRequest, replaced: Reservation | None
) -> PlacementDecision | None:
    """Return the host on which the request fits if the fewest standbys give way; None if it fits on none."""
    places = [
        (place, StandbyName(name=name, life=standby.life))
        # Those that are not ready go first: less work is lost.
        for name, standby in sorted(ledger.pools.standbys.items(), key=lambda item: item[1].is_ready)
        if (place := ledger.get(name)) and not place.booking
    ]
    found: list[PlacementDecision] = []
    for host in request.hosts if places else ():
        capacity = ledger.hosts.get(host)
        if capacity is None or not capacity.known:
            continue
        held, displaced = ledger.reserved("host", host, without=replaced), []
        for place, standby in places:
            if place.host != host:
                continue
            held = held.plus(place.held, -1)
            displaced.append(standby)
            if not lacking(capacity.total.without(held), request.size):
                found.append(PlacementDecision(host=host, displaced=tuple(displaced)))
                break
    return min(found, key=lambda decision: len(decision.displaced), default=None)


def reassign(ledger: CapacityLedger, request: ReservationRequest, now: datetime) -> PlacementDecision:
    """Give the place of an open life to the owner of the request, and record it, if their limits allow it."""
    decision = decide_reassignment(ledger, request, now)
    held = ledger.get(request.name)
    if decision.refusal is None and held and request.life in held.lives:
        # The claims of the former owner's other lives are not the new owner's.
        claims = tuple(claim for claim in held.claims if claim[0] == request.life)
        ledger.put(replace(held, owner=request.owner, claims=claims))
    return decision


def decide_reassignment(
    ledger: CapacityLedger, request: ReservationRequest, now: datetime
) -> PlacementDecision:
    """Return whether the owner of the request may have the place of the open life. Changes nothing.

    The team stays, so only the limits of the person count. A life that has no place yet, because the next
    audit adopts it, is judged in the same way.
    """
    held = ledger.get(request.name)
    current = held if held and request.life in held.lives else None
    if current and (current.owner == request.owner or current.booking):
        return PlacementDecision(host=current.host)
    limits = request.quotas.model_copy(update={"team": Limits(), "template_team": Limits()})
    asked = request.model_copy(update={"quotas": limits, "size": current.held if current else request.size})
    refused = quota_refusal(ledger, asked, current, now, person=f"{request.owner} has")
    return refused or PlacementDecision(host=current.host if current else "")


def wake(ledger: CapacityLedger, request: ReservationRequest, now: datetime) -> PlacementDecision:
    """Give an open life its CPU and memory on its host again, and record it, if there is room."""
    decision = decide_wake(ledger, request, now)
    _make_way(ledger, decision)
    if decision.host:
        seconds = to_epoch_seconds(now)
        current = _reservation_of(ledger, request)
        awake = current or Reservation(
            name=request.name,
            owner=request.owner,
            team=request.team,
            template=request.template,
            host=decision.host,
            size=request.size,
            ends=to_epoch_seconds(request.ends_at),
            claims=((request.life, seconds),),
        )
        # Also if it is awake: an audit in progress may have seen it asleep.
        ledger.put(replace(awake, asleep=False, changed=seconds))
    return decision


def decide_wake(ledger: CapacityLedger, request: ReservationRequest, now: datetime) -> PlacementDecision:
    """Return whether there is room to wake an open life. Changes nothing.

    It must be on its host, where its volumes are. A life that has no reservation yet, because the next audit
    adopts it, is judged as one that is asleep.
    """
    current = _reservation_of(ledger, request)
    person = f"{request.owner} has"
    if current:
        asked = request.model_copy(update={"hosts": (current.host,), "size": current.size})
        return _decide_again(ledger, asked, current, now, person=person)
    [host] = request.hosts
    return _without_room(ledger, request, None, now, person=person) or PlacementDecision(host=host)


def release(ledger: CapacityLedger, released: ReleaseInput, now: datetime) -> None:
    """Take the place of a life back. Does nothing if the life holds none."""
    held = ledger.get(released.name)
    if held is None or released.life not in held.lives:
        return
    left = (
        held.after_life(released.life, to_epoch_seconds(now))
        if released.was_open
        else held.without_claim(released.life)
    )
    ledger.set_or_remove(released.name, left)


def sleep(ledger: CapacityLedger, name: str, life: str, now: datetime) -> None:
    """Take CPU and memory of a life back. Does nothing if the life has no place."""
    held = ledger.get(name)
    if held and life in held.lives:
        ledger.put(replace(held, asleep=True, changed=to_epoch_seconds(now)))


def _reservation_of(ledger: CapacityLedger, request: ReservationRequest) -> Reservation | None:
    held = ledger.get(request.name)
    return held if held and request.life in held.lives else None


def _decide_again(
    ledger: CapacityLedger,
    request: ReservationRequest,
    current: Reservation,
    now: datetime,
    *,
    person: str = "you have",
) -> PlacementDecision:
    """Return the host of a reservation; if it is asleep, only if there is room to wake it."""
    is_resting = current.asleep and not current.booking
    other = _without_room(ledger, request, current, now, person=person) if is_resting else None
    return other or PlacementDecision(host=current.host)


def _without_room(
    ledger: CapacityLedger,
    request: ReservationRequest,
    current: Reservation | None,
    now: datetime,
    *,
    person: str,
) -> PlacementDecision | None:
    """Return what to do if the request has no room on its host beside all others; None if it has room.

    That is a refusal, or the standbys that give way.
    """
    if decision := quota_refusal(ledger, request, current, now, person=person):
        return decision
    name = current.host if current else request.hosts[0]
    capacity = ledger.hosts.get(name)
    held = ledger.reserved("host", name, without=current)
    if capacity and capacity.known and not lacking(capacity.total.without(held), request.size):
        return None
    asked = request.model_copy(update={"hosts": (name,)})
    return _displace_standbys(ledger, asked, current) or capacity_refusal(ledger, asked, current, now)


def resize(ledger: CapacityLedger, ask: ResizeInput, now: datetime) -> PlacementDecision:
    """Give an open life the size of the request at its place, and record it, if the limits allow it.

    Until the change is settled, the life holds the larger of both sizes.
    """
    decision = decide_resize(ledger, ask, now)
    _make_way(ledger, decision)
    request = ask.request
    held = ledger.get(request.name)
    if decision.host and held:
        ledger.put(replace(held, template=request.template, size=held.size.at_least(request.size)))
    return decision


def settle(ledger: CapacityLedger, settled: ResizedInput) -> None:
    """Record what a life holds after a change of its template. Does nothing if the life has no place."""
    held = ledger.get(settled.name)
    moment = _milliseconds(settled.settled_at)
    if held and settled.life in held.lives and moment > held.settled:
        ledger.put(replace(held, template=settled.template, size=settled.size, settled=moment))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def decide_resize(ledger: CapacityLedger, ask: ResizeInput, now: datetime) -> PlacementDecision:
    """Return whether an open life may have the size of the request at its place. Changes nothing.

    Only what becomes more is checked: the size of a smaller template always fits.
    """
    request = ask.request
    held = ledger.get(request.name)
    if held and _milliseconds(ask.asked_at) < held.settled:
        message = f"The change of {request.name} for which this asks is over: ask again."
        return PlacementDecision(refusal=Refusal(reason=RefusalReason.NOT_KNOWN, message=message))
    if held is None or request.life not in held.lives:
        message = f"It is not known yet what {request.name} holds: ask again in a moment."
        return PlacementDecision(refusal=Refusal(reason=RefusalReason.NOT_KNOWN, message=message))
    is_growing = held.size.at_least(request.size) != held.size
    is_other = held.template != request.template
    quotas = request.quotas
    checked = Quotas(
        person=quotas.person if is_growing else Limits(),
        team=quotas.team if is_growing else Limits(),
        template_person=quotas.template_person if is_other else Limits(),
        template_team=quotas.template_team if is_other else Limits(),
    )
    at_place = request.model_copy(update={"hosts": (held.host,), "quotas": checked})
    if refused := quota_refusal(ledger, at_place, held, now):
        return refused
    capacity = ledger.hosts.get(held.host)
    left = ledger.reserved("host", held.host, without=held)
    is_known = capacity is not None and capacity.known
    if is_growing and (not is_known or (capacity and lacking(capacity.total.without(left), request.size))):
        displacing = _displace_standbys(ledger, at_place, held)
        return displacing or capacity_refusal(ledger, at_place, held, now)
    return PlacementDecision(host=held.host)


def _current_reservation(
    ledger: CapacityLedger, request: ReservationRequest, now: datetime
) -> Reservation | None:
    """Return the reservation of the name, without a life that is known to be over."""
    current = ledger.get(request.name)
    return (
        current.after_life(request.ended_life, to_epoch_seconds(now))
        if current and request.ended_life in current.lives
        else current
    )


def _sharing_refusal(current: Reservation, request: ReservationRequest) -> Refusal | None:
    if current.owner != request.owner:
        return Refusal.taken(request.name)
    differing = [
        field for field in ("template", "team") if getattr(current, field) != getattr(request, field)
    ]
    if not differing and current.size != request.size:
        differing = ["template"]
    if current.host not in request.hosts:
        differing.append("host")
    return Refusal.other_spec(request.name, tuple(differing)) if differing else None


def _rate_host(capacity: HostCapacity, size: Amount, held: Amount) -> tuple[bool, float]:
    """Return how good a host is for this size; larger is better.

    Hosts that answer come first, then the host with more left of its scarcest resource.
    """
    shares = [
        1 - (getattr(held, field) + getattr(size, field)) / total
        for field, total in capacity.total.model_dump(exclude_none=True).items()
        if total
    ]
    return not capacity.remark, min(shares, default=1.0)
