"""Which templates have snapshots, and how requests and files of snapshots are named."""

from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.environment.models import KEPT_SNAPSHOTS
from contracts.environment.snapshot_support import request_name, snapshot_obstacle, snapshot_path
from contracts.templates.supported_charts import NEWEST_TESTED
from contracts.templates.template import Chart, Template
from tests.activities.conftest import an_environment

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def template(version: str = NEWEST_TESTED, **control_plane: Any) -> Template:
    values = {"controlPlane": control_plane} if control_plane else {}
    return an_environment("demo", values=values).template.model_copy(update={"chart": Chart(version=version)})


@pytest.mark.parametrize("version", [NEWEST_TESTED, "0.29.0", "v0.37.0-rc.1", "1.2.3", "0.30", "main"])
def test_vclusters_take_snapshots_on_request(version: str) -> None:
    assert snapshot_obstacle(template(version)) == ""


@pytest.mark.parametrize("version", ["0.28.9", "v0.20.0", "0.28", "0.28.0-rc.1"])
def test_an_older_chart_takes_none(version: str) -> None:
    assert snapshot_obstacle(template(version)) == (
        f"its vCluster chart {version} takes none, which 0.29 and later do"
    )


@pytest.mark.parametrize(
    ("control_plane", "cause"),
    [
        ({"backingStore": {"etcd": {"deploy": {"enabled": True}}}}, "a separate etcd"),
        ({"backingStore": {"database": {"external": {"enabled": True}}}}, "a database outside"),
        ({"statefulSet": {"persistence": {"volumeClaim": {"enabled": False}}}}, "no volume"),
        ({"statefulSet": {"highAvailability": {"replicas": 3}}}, "3 replicas"),
    ],
)
def test_a_vcluster_whose_objects_are_elsewhere_takes_none(control_plane: dict[str, Any], cause: str) -> None:
    assert cause in snapshot_obstacle(template(**control_plane))


@pytest.mark.parametrize(
    "control_plane",
    [
        {"backingStore": {"etcd": {"embedded": {"enabled": True}}}},
        {"backingStore": {"etcd": {"deploy": {"enabled": False}}}},
        {"statefulSet": {"persistence": {"volumeClaim": {"enabled": "auto"}}}},
        {"statefulSet": {"highAvailability": {"replicas": 1}}},
        {"statefulSet": "none"},
    ],
)
def test_a_vcluster_with_its_objects_on_its_volume_takes_snapshots(control_plane: dict[str, Any]) -> None:
    assert snapshot_obstacle(template(**control_plane)) == ""


def test_a_snapshot_takes_the_file_of_one_that_is_not_kept_any_more() -> None:
    """Ensures that one which fails half-way has damaged none of those that are kept."""
    numbers = range(1, 12)
    assert len({request_name("mrg-demo", number, NOW) for number in numbers}) == len(numbers)
    files = [snapshot_path(number) for number in numbers]
    assert len(set(files)) == KEPT_SNAPSHOTS + 1
    for place, file in enumerate(files):
        assert file not in files[max(0, place - KEPT_SNAPSHOTS) : place]
    # The vendor lists and deletes only such files; `/data` is the volume of the vCluster.
    assert all(file.startswith("/data/") and file.endswith(".tar.gz") for file in files)
