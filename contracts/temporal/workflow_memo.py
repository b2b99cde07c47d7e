"""The memo of an environment's run, which can be read without a worker. It is encrypted like payloads."""

from typing import Any

from contracts.capacity.sizes import size_of
from contracts.environment.chart_values import compose_values
from contracts.environment_workflow import EnvironmentStart

#: With it the API recognises a late retry of a request whose life has ended.
REQUEST_ID = "request_id"
#: The people who may use it besides its owner and team.
COLLABORATORS = "collaborators"
#: Since when its owner has left, as ISO 8601; missing while it has an owner.
OWNER_LEFT = "owner_left"
#: What it reserves on its host, in thousandths of a CPU and bytes, so that an audit need not read its
#: history.
SIZE = "size"
#: The name of the standby that it was given; missing without one.
STANDBY = "standby"
#: The life of the booking of which it is a seat or a standby; missing without one.
BOOKING = "booking"
#: The warm pool of a standby.
POOL = "pool"


def build_memo(start: EnvironmentStart) -> dict[str, Any]:
    """Return the memo for the start of a run.

    Raises:
        ValueError: The template's values contain an invalid quantity.
    """
    environment = start.environment
    size = size_of(environment.template.size, compose_values(environment))
    left = start.carried.status.owner_left if start.carried else None
    return {
        **({OWNER_LEFT: left.at.isoformat()} if left else {}),
        **({BOOKING: environment.booking.life} if environment.booking else {}),
        **({STANDBY: environment.standby.name} if environment.standby else {}),
        REQUEST_ID: start.request_id,
        COLLABORATORS: list(environment.collaborators),
        SIZE: [size.cpu, size.memory],
    }
