"""Reads what the metrics say of bookings."""

from collections import Counter
from collections.abc import Awaitable, Callable

from contracts.booking_workflow import BookingPhase
from contracts.capacity.warm_pools import PoolCount
from starter.bookings.reader import BookingReader
from starter.monitoring.booking_metrics import BookingState
from starter.temporal.errors import NoWorker


async def read_booking_state(
    reader: BookingReader, pools: Callable[[], Awaitable[tuple[PoolCount, ...]]]
) -> BookingState:
    """Return how the open bookings stand; ask no worker where there is none.

    Raises:
        TemporalUnavailable: Temporal does not answer, or refuses the call.
    """
    seats: Counter[tuple[str, str]] = Counter()
    for row in await reader.list_open():
        if row.phase is BookingPhase.OPEN:
            seats[row.template, "taken"] += row.taken
            seats[row.template, "free"] += row.seats - row.taken
    if not seats:
        return BookingState()
    try:
        return BookingState(seats, tuple(pool for pool in await pools() if pool.booking))
    except NoWorker:
        return BookingState(seats, None)
