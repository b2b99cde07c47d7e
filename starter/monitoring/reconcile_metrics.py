"""Reads what the last reconcile sweep found, for the metrics of the installation."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from temporalio.client import Client

from contracts.reconcile.models import RECONCILE_COMPLETED, RECONCILE_SCHEDULE, ReconcileResult
from contracts.reconcile.outcomes import count_outcomes
from contracts.telemetry import metrics
from starter.monitoring.gauges import gauge, labelled
from starter.monitoring.warnings import last_sweep_start
from starter.temporal.errors import CALL_TIMEOUT
from worker.codec import DecodeError

#: The latest sweeps among which one is looked for that could look: a day of them.
MAX_SWEEPS = 50


@dataclass(frozen=True)
class ReconcileState:
    """The last sweep: when it was started and completed, and its result. None where there is none."""

    started_at: datetime | None = None
    completed_at: datetime | None = None
    result: ReconcileResult | None = None


class ReconcileSweepReader:
    """Reads the sweeps. A result is read once, because it does not change."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._results: dict[str, ReconcileResult | None] = {}

    async def read(self) -> ReconcileState:
        """Return the last sweep that could look; raise RPCError if Temporal does not answer."""
        start = await last_sweep_start(self._client, RECONCILE_SCHEDULE)
        started_at = start.at if start else None
        known: dict[str, ReconcileResult | None] = {}
        state = ReconcileState(started_at)
        runs = self._client.list_workflows(
            RECONCILE_COMPLETED, limit=MAX_SWEEPS, page_size=MAX_SWEEPS, rpc_timeout=CALL_TIMEOUT
        )
        # The newest one is first.
        async for run in runs:
            if run.run_id not in self._results:
                self._results[run.run_id] = await self._result(run.id, run.run_id)
            result = known[run.run_id] = self._results[run.run_id]
            if result is None or not result.problem:
                state = ReconcileState(started_at, run.close_time, result)
                break
        self._results = known
        return state

    async def _result(self, id: str, run_id: str) -> ReconcileResult | None:
        """Return a result; None if its key is missing, which the command that shows the sweep reports."""
        handle = self._client.get_workflow_handle(id, run_id=run_id, result_type=ReconcileResult)
        try:
            result: ReconcileResult = await handle.result(rpc_timeout=CALL_TIMEOUT)
        except DecodeError:
            return None
        return result


def reconcile_gauges(state: ReconcileState) -> Iterator[GaugeMetricFamily]:
    """Yield what is known of the last sweep."""
    if state.started_at is not None:
        yield gauge(metrics.RECONCILE_STARTED, state.started_at.timestamp())
    if state.completed_at is not None:
        yield gauge(metrics.RECONCILE_COMPLETED, state.completed_at.timestamp())
    if state.result is None:
        return
    counts = count_outcomes(state.result)
    yield labelled(metrics.RECONCILE_FOUND, {(one.value,): count for one, count in counts.items()})
    yield labelled(
        metrics.RECONCILE_SKIPPED,
        {(one.system.value, one.host): one.skipped for one in state.result.systems},
    )
