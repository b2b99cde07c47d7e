"""How many more environments of one size have room now, on their hosts and in the quotas."""

from collections.abc import Iterable

from contracts.capacity.models import Amount, CapacityState, Limits, Quotas
from contracts.types.models import Frozen


class Room(Frozen):
    """The number of environments that still fit. `by_quota`: the quotas allow fewer than the hosts.

    `count` is None while the hosts have not reported what they have, or where nothing limits it.
    """

    count: int | None
    by_quota: bool = False


def room_for(size: Amount, hosts: Iterable[str], quotas: Quotas, state: CapacityState, team: str) -> Room:
    """Return how many environments of the size fit on the hosts together, and in the quotas.

    The quotas of a template are not counted: how many of one template are open is not in the state.
    """
    wanted = frozenset(hosts)
    known = [host for host in state.hosts if host.capacity.name in wanted and host.capacity.known]
    on_hosts = [_count(host.capacity.total.without(host.reserved), size) for host in known]
    if not known or state.audited_at is None:
        return Room(count=None)
    free = None if None in on_hosts else sum(count or 0 for count in on_hosts)
    team_held = state.teams.get(team, Amount())
    allowed = [
        count
        for limits, held in ((quotas.person, state.person), (quotas.team, team_held))
        if (count := _count(limits.without(held), size)) is not None
    ]
    if allowed and (free is None or min(allowed) < free):
        return Room(count=min(allowed), by_quota=True)
    return Room(count=free)


def _count(left: Limits, size: Amount) -> int | None:
    """Return how often the size fits into the rest; None without a limit."""
    counts = [
        limit // getattr(size, field)
        for field, limit in left.model_dump(exclude_none=True).items()
        if getattr(size, field)
    ]
    return min(counts, default=None)
