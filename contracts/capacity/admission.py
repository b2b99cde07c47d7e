"""The rules that decide which life gets a place, and on which host.

Pure: `decide` is a function of a ledger, a request and a moment. The capacity workflow makes no other
decisions.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from contracts.capacity.ledger import CapacityLedger, Key, Reservation, in_seconds
from contracts.capacity.models import (
    Amount,
    HostCapacity,
    Limits,
    PlacementDecision,
    ReservationRequest,
)
from contracts.errors import Refusal, RefusalReason
from contracts.quantities import format_cpu, format_memory


def admit(book: CapacityLedger, ask: ReservationRequest, now: datetime) -> PlacementDecision:
    """Decide, and record the decision in the ledger; the same life always gets the same place."""
    verdict = decide(book, ask, now)
    if verdict.host:
        shared = _still_there(book, ask, now)
        claims = tuple(claim for claim in shared.claims if claim[0] != ask.life) if shared else ()
        book.put(
            Reservation(
                name=ask.name,
                owner=ask.owner,
                team=ask.team,
                template=ask.template,
                host=verdict.host,
                size=ask.size,
                ends=max(in_seconds(ask.ends_at), shared.ends if shared else 0),
                claims=(*claims, (ask.life, in_seconds(now))),
            )
        )
    return verdict


def decide(book: CapacityLedger, ask: ReservationRequest, now: datetime) -> PlacementDecision:
    """Return whether there is a place, and where. Changes nothing.

    All lives of one owner under one name share one reservation. For a new name, the quotas of person and team
    are checked. Then, of the hosts on which it fits, the host with the most left is chosen.
    """
    if shared := _still_there(book, ask, now):
        refusal = _not_shared(shared, ask)
        return PlacementDecision(refusal=refusal) if refusal else PlacementDecision(host=shared.host)
    gone = book.of(ask.name)
    if verdict := _beyond_quota(book, ask, gone, now):
        return verdict
    fitting = [
        (_spare(room, ask.size, held), -held.environments, name)
        for name in ask.hosts
        if (room := book.hosts.get(name)) and room.known
        for held in [book.held("host", name, without=gone)]
        if not lacking(room.total.without(held), ask.size)
    ]
    if not fitting:
        return _no_capacity(book, ask, gone, now)
    # Of equal hosts, `max` takes the first in the order of the settings.
    most = max(fitting, key=lambda candidate: candidate[:2])
    return PlacementDecision(host=most[2])


def lacking(room: Limits, size: Amount) -> list[str]:
    """Return the fields of which less is left than `size` needs."""
    wanted = size.model_dump()
    return [field for field, left in room.model_dump(exclude_none=True).items() if wanted[field] > left]


def _still_there(book: CapacityLedger, ask: ReservationRequest, now: datetime) -> Reservation | None:
    """Return the reservation of the name, without a life that is known to be over."""
    there = book.of(ask.name)
    return there.after(ask.over, in_seconds(now)) if there and ask.over in there.lives else there


def _not_shared(there: Reservation, ask: ReservationRequest) -> Refusal | None:
    if there.owner != ask.owner:
        return Refusal.taken(ask.name)
    differing = [field for field in ("template", "team") if getattr(there, field) != getattr(ask, field)]
    if not differing and there.size != ask.size:
        differing = ["template"]
    if there.host not in ask.hosts:
        differing.append("host")
    return Refusal.other_spec(ask.name, tuple(differing)) if differing else None


def _beyond_quota(
    book: CapacityLedger, ask: ReservationRequest, gone: Reservation | None, now: datetime
) -> PlacementDecision | None:
    template = f" from {ask.template}"
    quotas = (
        (ask.quotas.template_person, ("person", ask.owner, ask.template), "you have", template),
        (ask.quotas.template_team, ("team", ask.team, ask.template), f"team {ask.team} has", template),
        (ask.quotas.person, ("person", ask.owner), "you have", ""),
        (ask.quotas.team, ("team", ask.team), f"team {ask.team} has", ""),
    )
    for limits, key, who, of_what in quotas:
        left = limits.without(book.held(*key, without=gone))
        if short := lacking(left, ask.size):
            available = _format_left(limits, left, short, of_what)
            message = f"{ask.name} asks for {_format_amounts(ask.size, short)}; {who} {available}"
            return _refused(book, message, key, RefusalReason.OVER_QUOTA, now)
    return None


def _no_capacity(
    book: CapacityLedger, ask: ReservationRequest, gone: Reservation | None, now: datetime
) -> PlacementDecision:
    silent = [name for name in ask.hosts if name not in book.hosts or not book.hosts[name].known]
    asked: list[str] = []
    reports = []
    for name in ask.hosts:
        if name in silent:
            reports.append(f"host {name} has not told yet what it has")
            continue
        total = book.hosts[name].total
        left = total.without(book.held("host", name, without=gone))
        short = lacking(left, ask.size)
        asked += [field for field in short if field not in asked]
        reports.append(f"host {name} has {_format_left(total, left, short)}")
    wants = f"asks for {_format_amounts(ask.size, asked)}" if asked else "has no place"
    message = f"{ask.name} {wants}; {', '.join(reports)}"
    keys = tuple(name for name in ask.hosts if name not in silent)
    # An unknown capacity is known soon, so it is no reason to ask for less.
    reason = RefusalReason.NO_ROOM if keys else RefusalReason.NOT_KNOWN
    return _refused(book, message, ("host", *keys), reason, now)


def _refused(
    book: CapacityLedger, message: str, key: Key, reason: RefusalReason, now: datetime
) -> PlacementDecision:
    kind, *names = key
    if kind == "host":
        ends = [reservation.ends for reservation in book if reservation.host in names]
    else:
        ends = [reservation.ends for reservation in book if key in reservation.keys]
    # An environment whose end has passed is ending, or is kept for its grace: the best known answer is "now".
    next_end = max(min(ends), in_seconds(now)) if ends else None
    return PlacementDecision(
        refusal=Refusal(reason=reason, message=f"{message}."),
        next_end=datetime.fromtimestamp(next_end, UTC) if next_end else None,
    )


def _spare(room: HostCapacity, size: Amount, held: Amount) -> tuple[bool, float]:
    """Return how good a host is for this size; larger is better.

    Hosts that answer come first, then the host with more left of its scarcest resource.
    """
    shares = [
        1 - (getattr(held, field) + getattr(size, field)) / total
        for field, total in room.total.model_dump(exclude_none=True).items()
        if total
    ]
    return not room.remark, min(shares, default=1.0)


def _format_amounts(size: Amount, fields: Iterable[str]) -> str:
    return " and ".join(_format_amount(field, getattr(size, field)) for field in fields)


def _format_left(limits: Limits, left: Limits, fields: Iterable[str], of_what: str = "") -> str:
    parts = []
    for field in fields:
        total, rest = getattr(limits, field), getattr(left, field)
        parts.append(f"{_format_number(field, rest)} of {_format_amount(field, total)}{of_what} left")
    return " and ".join(parts)


def _format_amount(field: str, amount: int) -> str:
    if field == "environments":
        return f"{amount} environment{'' if amount == 1 else 's'}"
    return f"{_format_number(field, amount)} {'CPU' if field == 'cpu' else 'of memory'}"


def _format_number(field: str, amount: int) -> str:
    return {"cpu": format_cpu, "memory": format_memory}.get(field, str)(amount)
