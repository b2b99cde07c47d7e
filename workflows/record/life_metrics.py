"""The metrics of a life: its start, the times from the request to its phases, and its end."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import EnvironmentStatus, Phase
    from contracts.telemetry.metrics import ENDED, REQUEST_TO_READY, REQUEST_TO_USABLE, REQUESTED

from workflows.telemetry import metrics


def count_request(status: EnvironmentStatus) -> None:
    """Count the start of a life."""
    metrics.count(REQUESTED, _labels(status))


def measure_phase(status: EnvironmentStatus) -> None:
    """Measure the time from the request to the phase that was just reached, and count the end of the life.

    No user has asked for a standby, so it does not count.
    """
    if status.environment.is_standby:
        return
    since_request = workflow.now() - status.requested_at
    if status.phase is Phase.USABLE:
        metrics.observe(REQUEST_TO_USABLE, since_request, _labels(status))
    elif status.phase is Phase.READY:
        metrics.observe(REQUEST_TO_READY, since_request, _labels(status))
    elif status.phase is Phase.GONE and status.outcome:
        metrics.count(ENDED, {**_labels(status), "outcome": status.outcome.value})


def _labels(status: EnvironmentStatus) -> dict[str, str]:
    return {"template": status.environment.template.name, "host": status.environment.host}
