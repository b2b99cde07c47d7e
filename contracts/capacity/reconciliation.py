"""What an audit of the capacity finds out, and what follows from it for what is held. Pure."""

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime

from contracts.capacity.ledger import START_GRACE, CapacityLedger, Reservation, in_seconds, unpack
from contracts.capacity.models import AuditResult, HostCapacity


@dataclass(frozen=True)
class LatestLife:
    """The latest life of a name: whether it is open, where it is, and when it ends, in seconds."""

    life: str
    open: bool
    host: str = ""
    ends: int = 0


def claims_over(held: Reservation, latest: LatestLife | None, now: datetime) -> list[tuple[str, str, int]]:
    """The claims of a holding that are over, given the latest life of its name, which has been asked for.

    That of the open life stays, and so does one that is young: it may begin yet.
    """
    begun = latest.life if latest else ""
    is_open = latest is not None and latest.open
    too_old = in_seconds(now - START_GRACE)
    return [
        (held.name, life, made)
        for life, made in held.claims
        if (life == begun and not is_open) or (life != begun and made <= too_old)
    ]


def correct(book: CapacityLedger, found: AuditResult, ended: Set[str]) -> None:
    """Make the book agree with what was found, but for what has changed since the audit began.

    A claim that was made anew stays; the lives in `ended` are over by now, and are not taken up.
    """
    book.hosts = {room.name: _last_known(book.hosts.get(room.name), room) for room in found.hosts}
    for name, life, made in found.over:
        if held := book.of(name):
            book.set_or_remove(name, held.less(life, made))
    for there in unpack(found.adopted):
        if there.lives.isdisjoint(ended):
            book.put(_merged(book.of(there.name), there))
    for name, ends in found.ends:
        if held := book.of(name):
            book.put(replace(held, ends=ends))


def _merged(held: Reservation | None, there: Reservation) -> Reservation:
    """What is there, with the claims of those of its owner's lives that may begin after it."""
    if held is None or (held.owner, held.size) != (there.owner, there.size):
        return there
    return replace(there, claims=(*there.claims, *(one for one in held.claims if one[0] not in there.lives)))


def _last_known(before: HostCapacity | None, now: HostCapacity) -> HostCapacity:
    """What a host has: when it does not answer, what it last said, under what the settings say."""
    if now.known or before is None or not before.known:
        return now
    return now.model_copy(update={"total": now.total.over(before.total), "known": True})
