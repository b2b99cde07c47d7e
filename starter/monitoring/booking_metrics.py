"""The seats and the standbys of bookings as gauges, summed up by template."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily

from contracts.capacity.warm_pools import PoolCount
from contracts.telemetry import metrics
from starter.monitoring.gauges import labelled


@dataclass(frozen=True)
class BookingState:
    """The seats of the bookings that are open, by template and state ("taken" or "free"), and their pools.

    `pools` is None where no worker says how they stand.
    """

    seats: Mapping[tuple[str, str], int] = field(default_factory=dict)
    pools: tuple[PoolCount, ...] | None = ()


def booking_gauges(state: BookingState) -> Iterator[GaugeMetricFamily]:
    """Yield the gauges: none without a booking, and none of standbys if it is not known how they stand."""
    if not state.seats:
        return
    yield labelled(metrics.BOOKING_SEATS, state.seats)
    if state.pools is None:
        return
    # A booking that begins later has no pool yet, and no standby is wanted for it.
    templates = sorted({template for template, _ in state.seats})
    standbys = Counter({(template, each): 0 for template in templates for each in ("ready", "making")})
    wanted = Counter({(template,): 0 for template in templates})
    stopped = Counter(wanted)
    for pool in state.pools:
        standbys[pool.template, "ready"] += pool.ready
        standbys[pool.template, "making"] += pool.making
        wanted[(pool.template,)] += pool.wanted
        stopped[(pool.template,)] += pool.has_stopped
    yield labelled(metrics.BOOKING_STANDBYS, standbys)
    yield labelled(metrics.BOOKING_STANDBYS_WANTED, wanted)
    yield labelled(metrics.BOOKING_STANDBYS_STOPPED, stopped)
