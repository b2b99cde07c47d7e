"""Gauges of Prometheus from the metrics of the contracts."""

from collections.abc import Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from contracts.telemetry.metrics import Metric


def gauge(metric: Metric, value: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return GaugeMetricFamily(metric.name, metric.help, value=float(value))


def labelled(metric: Metric, values: Mapping[Any, float]) -> GaugeMetricFamily:
    """Return a gauge with a value for each tuple of labels."""
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, float(value))
    return family
