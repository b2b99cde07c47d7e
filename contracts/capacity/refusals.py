"""The refusals of requests for a place, in words: a quota is used up, or no host has room. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime

from contracts.capacity.ledger import CapacityLedger, to_epoch_seconds
from contracts.capacity.models import Amount, Key, Limits, PlacementDecision, Reservation, ReservationRequest
from contracts.errors import Refusal, RefusalReason
from contracts.types.quantities import format_cpu, format_memory


def lacking(capacity: Limits, size: Amount) -> list[str]:
    """Return the fields of which less is left than `size` needs."""
    wanted = size.model_dump()
    return [field for field, left in capacity.model_dump(exclude_none=True).items() if wanted[field] > left]


def quota_refusal(
    ledger: CapacityLedger,
    request: ReservationRequest,
    replaced: Reservation | None,
    now: datetime,
    *,
    person: str = "you have",
) -> PlacementDecision | None:
    """Return the refusal if a quota of person or team does not allow the request; None if all do."""
    template = f" from {request.template}"
    quotas = (
        (request.quotas.template_person, ("person", request.owner, request.template), person, template),
        (
            request.quotas.template_team,
            ("team", request.team, request.template),
            f"team {request.team} has",
            template,
        ),
        (request.quotas.person, ("person", request.owner), person, ""),
        (request.quotas.team, ("team", request.team), f"team {request.team} has", ""),
    )
    for limits, key, who, of_what in quotas:
        left = limits.without(ledger.reserved(*key, without=replaced))
        if short := lacking(left, request.size):
            available = _format_left(limits, left, short, of_what)
            message = f"{request.name} asks for {_format_amounts(request.size, short)}; {who} {available}"
            return _refused(ledger, message, key, RefusalReason.OVER_QUOTA, now)
    return None


def capacity_refusal(
    ledger: CapacityLedger, request: ReservationRequest, replaced: Reservation | None, now: datetime
) -> PlacementDecision:
    """Return the refusal of a request that fits on none of its hosts."""
    silent = [name for name in request.hosts if name not in ledger.hosts or not ledger.hosts[name].known]
    asked: list[str] = []
    reports = []
    for name in request.hosts:
        if name in silent:
            reports.append(f"host {name} has not reported yet what it has")
            continue
        total = ledger.hosts[name].total
        left = total.without(ledger.reserved("host", name, without=replaced))
        short = lacking(left, request.size)
        asked += [field for field in short if field not in asked]
        reports.append(f"host {name} has {_format_left(total, left, short)}")
    wants = f"asks for {_format_amounts(request.size, asked)}" if asked else "has no place"
    message = f"{request.name} {wants}; {', '.join(reports)}"
    keys = tuple(name for name in request.hosts if name not in silent)
    # An unknown capacity is known soon, so it is no reason to ask for less.
    reason = RefusalReason.NO_ROOM if keys else RefusalReason.NOT_KNOWN
    return _refused(ledger, message, ("host", *keys), reason, now)


def _refused(
    ledger: CapacityLedger, message: str, key: Key, reason: RefusalReason, now: datetime
) -> PlacementDecision:
    kind, *names = key
    if kind == "host":
        ends = [one.ends for one in ledger if one.host in names and one.held.environments]
        bookings = ledger.bookings.values()
        ends += [
            to_epoch_seconds(hold.ends_at) for hold in bookings if not hold.seats.keys().isdisjoint(names)
        ]
    else:
        ends = [reservation.ends for reservation in ledger if key in reservation.keys]
    # An environment whose end has passed is ending, or is kept for its grace: the best known answer is "now".
    next_end = max(min(ends), to_epoch_seconds(now)) if ends else None
    return PlacementDecision(
        refusal=Refusal(reason=reason, message=f"{message}."),
        next_end=datetime.fromtimestamp(next_end, UTC) if next_end else None,
    )


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
