"""What an audit of the capacity finds, and how it corrects the ledger. Pure."""

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts.capacity.audit import AuditResult
from contracts.capacity.ledger import CapacityLedger, to_epoch_seconds
from contracts.capacity.models import (
    START_GRACE,
    HostCapacity,
    Reservation,
    Standby,
)

#: Temporal may list an environment as it was so long ago. Lists are late by seconds, and the run of a life
#: closes when its record is archived, which takes two minutes at most.
MAX_LISTING_DELAY = timedelta(minutes=3)


@dataclass(frozen=True)
class LatestLife:
    """The latest life of a name: whether it is open, its host, its owner, and its end in seconds.

    `asleep` is None while it falls asleep or where its phase is not known.
    """

    life: str
    open: bool
    host: str = ""
    owner: str = ""
    ends: int = 0
    asleep: bool | None = None


def sleep_differs(held: Reservation, latest: LatestLife, now: datetime) -> bool:
    """Return whether the life is asleep and its reservation is not, or the other way round.

    A list may be late, so what has changed a moment ago does not count.
    """
    is_settled = held.changed <= to_epoch_seconds(now - MAX_LISTING_DELAY)
    return is_settled and latest.asleep not in (None, held.asleep)


def ended_claims(held: Reservation, latest: LatestLife | None, now: datetime) -> list[tuple[str, str, int]]:
    """Return the claims of a reservation that are over, given the latest life of its name.

    The caller has looked that life up. The claim of the open life stays, and so does a young claim, because
    its life may still start.
    """
    started = latest.life if latest else ""
    is_open = latest is not None and latest.open
    too_old = to_epoch_seconds(now - START_GRACE)
    return [
        (held.name, life, made)
        for life, made in held.claims
        if (life == started and not is_open) or (life != started and made <= too_old)
    ]


def apply_audit(
    ledger: CapacityLedger, found: AuditResult, ended: Set[str], started_at: datetime | None = None
) -> None:
    """Make the ledger agree with the audit, except for changes since the audit started.

    A claim that was made again stays, and so does a booking that asked again after `started_at`. The lives in
    `ended` are over and are not adopted.
    """
    ledger.hosts = {room.name: _last_known(ledger.hosts.get(room.name), room) for room in found.hosts}
    for name, life, made in found.ended_claims:
        if held := ledger.get(name):
            ledger.set_or_remove(name, held.without_claim(life, made))
    for there in found.adopted:
        if there.lives.isdisjoint(ended):
            ledger.put(_merged(ledger.get(there.name), there))
    for life in found.ended_bookings:
        held_for = ledger.bookings.get(life)
        if held_for and (started_at is None or held_for.made_at <= started_at):
            del ledger.bookings[life]
    for hold in found.bookings:
        if hold.life not in ended:
            ledger.bookings.setdefault(hold.life, hold)
    for standby in found.standbys:
        place = ledger.get(standby.name)
        if place and standby.life in place.lives and standby.life not in ended:
            ledger.pools.standbys.setdefault(
                standby.name, Standby(life=standby.life, pool=standby.pool, is_ready=standby.is_ready)
            )
    for name, ends in found.moved_ends:
        if held := ledger.get(name):
            ledger.put(replace(held, ends=ends))
    for name, asleep, changed in found.slept:
        # A reservation that has changed since the audit started knows better.
        if (held := ledger.get(name)) and held.changed == changed:
            ledger.put(replace(held, asleep=asleep))


def _merged(held: Reservation | None, there: Reservation) -> Reservation:
    """Return what is there, with the claims of its owner's lives that may start after it.

    Of the same life, what it holds is known better here: it may sleep, or change its size, since it was read.
    """
    if held is None:
        return there
    if not held.lives.isdisjoint(there.lives):
        there = replace(
            there,
            template=held.template,
            size=held.size,
            asleep=held.asleep,
            changed=held.changed,
            settled=held.settled,
        )
    if (held.owner, held.size) != (there.owner, there.size):
        return there
    return replace(
        there, claims=(*there.claims, *(claim for claim in held.claims if claim[0] not in there.lives))
    )


def _last_known(before: HostCapacity | None, now: HostCapacity) -> HostCapacity:
    """Return the capacity of a host.

    If its cluster does not answer, use its last known values, below the values of the settings.
    """
    if now.known or before is None or not before.known:
        return now
    return now.model_copy(update={"total": now.total.over(before.total), "known": True})
