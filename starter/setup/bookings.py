"""The part that tells of bookings without their room, or without the standbys that are to be ready."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from contracts.booking_workflow import BookingPhase
from contracts.capacity.bookings import BookingHold
from contracts.capacity.models import START_GRACE, HostState, StateInput
from contracts.capacity.refusals import lacking
from contracts.capacity.warm_pools import PoolCount
from starter.bookings.reader import BookingReader
from starter.placement.reservations import Reservations
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well
from starter.setup.temporal import SYSTEM, Temporal
from starter.temporal.errors import NoWorker

#: How long before a booking begins all its standbys are ready: they are made from a quarter of an hour before
#: on, five at a time, and each takes a minute or two at most.
READY_BEFORE = timedelta(minutes=5)
_MAKING = "`moorage pools` shows those in the making; if there are none, see: moorage capacity"


@dataclass(frozen=True)
class Bookings:
    """Checks what the capacity workflow holds and makes for the bookings that are open."""

    temporal: Temporal

    def parts(self, *needs: SetupCheck) -> tuple[SetupCheck, ...]:
        """Return the part."""
        return (SetupCheck(Area.TEMPORAL, SYSTEM, "bookings", "", self._bookings, needs=needs),)

    async def _bookings(self) -> Found:
        client: Client = await self.temporal.client()
        rows = [row for row in await BookingReader(client).list_open() if row.phase is BookingPhase.OPEN]
        if not rows:
            return well("none is open")
        reservations = Reservations(client)
        try:
            held = await reservations.list_bookings()
            pools = await reservations.list_pools()
            state = await reservations.state(StateInput(person="", teams=()))
        except NoWorker:
            return well("no worker answers, so it is not known how they stand")
        if not held.is_known:
            return well("it is not known yet what is held for them")
        now = datetime.now(UTC)
        events = {hold.event for hold in held.bookings}
        found = [_nothing_held(row.event) for row in rows if row.event not in events]
        hosts = {host.capacity.name: host for host in state.hosts}
        for hold in held.bookings:
            found += _room_problems(hold, hosts)
            found += _standby_problems(hold, pools, now)
        if found:
            return Found(Kind.BY_HAND, " ".join(detail for detail, _ in found), found[0][1])
        return well(", ".join(f"{row.event} has {row.taken} of {row.seats} seats taken" for row in rows))


def _nothing_held(event: str) -> tuple[str, str]:
    minutes = int(START_GRACE.total_seconds() / 60)
    remedy = f"wait for the next audit, in {minutes} minutes; if it stays so, see the log of the worker"
    return f"Nothing is held for {event}, so its room may be given to others.", remedy


def _room_problems(hold: BookingHold, hosts: Mapping[str, HostState]) -> Iterator[tuple[str, str]]:
    """Yield a sentence for each host of the booking that cannot have its seats, and what to do."""
    for name, seats in hold.seats.items():
        what = f"{hold.event} has {seats} seats on host {name}"
        host = hosts.get(name)
        if host is None or not host.capacity.known:
            yield f"{what}, and it is not known what that has.", "see how the hosts stand: moorage capacity"
        elif host.capacity.remark:
            yield (
                f"{what}: {host.capacity.remark}",
                f"mend the host {name}: no seat can be made there until then",
            )
        elif few := lacking(host.capacity.total, host.reserved):
            detail = f"{what}, where more is held than there is ({', '.join(few)})."
            yield detail, "give the host more, or end what is not needed: moorage capacity --holdings"


def _standby_problems(
    hold: BookingHold, pools: Sequence[PoolCount], now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield a sentence if standbys of the booking fail, or are not ready in time, and what to do."""
    pool = next((one for one in pools if one.key == hold.pool), None)
    if pool is None:
        return
    if pool.has_stopped:
        detail = f"{hold.event} gets no more standbys, because they fail: {pool.problem}"
        yield detail, f"mend the cause, then: moorage pools --resume {pool.template}"
    elif pool.failures:
        yield f"A standby of {hold.event} has failed: {pool.problem}", _MAKING
    elif pool.ready < pool.wanted and now >= hold.starts_at - READY_BEFORE:
        yield f"{hold.event} has {pool.ready} of {pool.wanted} standbys ready.", _MAKING
