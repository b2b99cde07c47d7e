"""What workflows count and measure, each event once."""

from collections.abc import Mapping
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.telemetry.metrics import Metric

from workflows.telemetry.replay_detection import is_new_occurrence


def count(metric: Metric, labels: Mapping[str, str], amount: int = 1) -> None:
    """Add to a counter."""
    if _is_new(metric, labels):
        workflow.metric_meter().create_counter(metric.name, metric.help).add(amount, labels)


def observe(metric: Metric, took: timedelta, labels: Mapping[str, str]) -> None:
    """Add a duration to a histogram."""
    if _is_new(metric, labels):
        histogram = workflow.metric_meter().create_histogram_float(metric.name, metric.help)
        # Temporal's time of two tasks may go back, and a histogram takes no negative value.
        histogram.record(max(0.0, took.total_seconds()), labels)


def _is_new(metric: Metric, labels: Mapping[str, str]) -> bool:
    return is_new_occurrence((metric.name, *sorted(labels.items())))
