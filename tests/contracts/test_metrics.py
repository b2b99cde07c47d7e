"""The labels of metrics: their values are closed sets, and every system that a client names has one."""

import re

import pytest

from contracts.errors import ErrorType
from contracts.telemetry import metrics
from contracts.telemetry.metrics import OTHER, SYSTEMS, Metric, cause_label, system_label
from tests.support.metrics_reference import documented
from tests.support.stand_ins import CHECKOUT

ALL = [each for each in vars(metrics).values() if isinstance(each, Metric)]


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_each_metric_is_in_the_reference(metric: Metric) -> None:
    row = documented()[metric.name]
    assert row.labels == metric.labels
    assert (row.type == "histogram") == bool(metric.buckets)
    assert (row.type == "counter") == metric.name.endswith("_total")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")


def test_causes() -> None:
    assert {cause_label(kind) for kind in ErrorType} == set(ErrorType)
    assert cause_label("Timeout") == "Timeout"
    for unforeseen in ("", "KeyError", "alice@example.com"):
        assert cause_label(unforeseen) == OTHER


def test_every_system_of_the_clients_has_a_label() -> None:
    names = {
        name
        for path in (CHECKOUT / "clients").rglob("*.py")
        for name in re.findall(r'(?:\bsystem: str|\b_SYSTEM) = "([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert {"Rafay", "Okta", "mail server"} <= names
    assert not [name for name in names if system_label(name) == OTHER]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("host cluster harbour", "host cluster"),
        ("simulated host local", "host cluster"),
        ("issuer https://login.example.com", "issuer"),
        ("webhook of notices", "notices"),
        ("webhook of accounts", "notices"),
        ("vCluster", "vCluster"),
        ("Temporal", "Temporal"),
        ("identity provider", "identity provider"),
        ("control plane", "control plane"),
        ("alice", OTHER),
        ("", OTHER),
    ],
)
def test_systems(name: str, label: str) -> None:
    assert system_label(name) == label
    assert label in SYSTEMS
