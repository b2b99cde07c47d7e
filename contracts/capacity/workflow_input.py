"""The argument of the capacity workflow, and what one of its runs hands to the next."""

from datetime import datetime, timedelta

from contracts.capacity.bookings import BookingHold
from contracts.capacity.models import HostCapacity, Reservation
from contracts.capacity.warm_pools import PoolState
from contracts.types.models import Frozen


class CarriedCapacity(Frozen):
    """The state that one run of the capacity workflow hands to the next.

    `ended` is when lives have given their places back. Lists may still show these lives as open. `pools` is
    None if there has never been a warm pool.
    """

    reservations: tuple[Reservation, ...]
    hosts: tuple[HostCapacity, ...]
    audited_at: datetime
    next_audit: datetime
    ended: dict[str, datetime] = {}
    pools: PoolState | None = None
    bookings: tuple[BookingHold, ...] = ()


class CapacityStart(Frozen):
    """The workflow's argument. `first_audit_delay` is how long a new workflow waits before its first audit.

    Visibility may be late by moments, and the audit must not miss what started just before.
    """

    first_audit_delay: timedelta = timedelta(seconds=2)
    carried: CarriedCapacity | None = None
