"""What the memo of an environment's run tells without a worker. It is encrypted, as payloads are.

What a run of an earlier version lacks is taken from where it was before: the record, or the history.
"""

from typing import Any

from contracts.capacity.models import size_of
from contracts.chart_values import compose
from contracts.environment_workflow import EnvironmentStart

#: By which the API recognises a late retry of a finished life's request.
REQUEST_ID = "request_id"
#: Who may use it beside its owner and team.
COLLABORATORS = "collaborators"
#: What it holds of its host, in thousandths of a CPU and bytes: an audit need not read its history.
SIZE = "size"


def memo_of(start: EnvironmentStart) -> dict[str, Any]:
    """The memo that a run is started with. ValueError if the template's values are no quantities."""
    environment = start.environment
    size = size_of(environment.template.size, compose(environment))
    return {
        REQUEST_ID: start.request_id,
        COLLABORATORS: list(environment.spec.collaborators),
        SIZE: [size.cpu, size.memory],
    }
