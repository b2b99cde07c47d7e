"""What of a template can be changed under an environment in use."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.environment.chart_values import ETCD
from contracts.environment.models import Environment
from contracts.environment.template_change import in_place_problems, term_problem
from tests.workflows.conftest import a_start

VOLUME = ("controlPlane", "statefulSet", "persistence", "volumeClaim")
BEFORE = a_start("a").environment


def after(**template: Any) -> Environment:
    content = BEFORE.template.model_dump() | {"kubernetes": "v1.36.1"} | template
    changed = type(BEFORE.template).model_validate(content)
    return BEFORE.model_copy(update={"template": changed})


def values(*path: str, value: Any) -> dict[str, Any]:
    found = value
    for key in reversed(path):
        found = {key: found}
    return dict(found)


@pytest.mark.parametrize(
    "template",
    [
        {},
        {"name": "medium", "version": 9, "description": "more"},
        {"size": {"cpu": "8", "memory": "8Gi", "storage": "1Gi", "pods": 99}},
        {"kubernetes": "v1.37.0"},
        {"chart": {"version": "0.99.0"}},
        {"chart": {"repository": "https://charts.example.com", "version": BEFORE.template.chart.version}},
        {"ttl": {"default": "1h", "maximum": "9d"}, "teams": ("blue",)},
        {"values": values("controlPlane", "statefulSet", "highAvailability", "replicas", value=3)},
        {"values": values("sync", "toHost", "ingresses", "enabled", value=True)},
    ],
    ids=range(9),
)  # fmt: skip
def test_what_can_change(template: dict[str, Any]) -> None:
    assert not list(in_place_problems(BEFORE, after(**template)))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"kubernetes": "v1.35.9"}, "cannot become the older v1.35.9"),
        ({"kubernetes": "v1.38.0"}, "one minor version at a time"),
        ({"chart": {"version": "0.1.0"}}, "cannot become the older 0.1.0"),
        ({"chart": {"name": "other", "version": "9.0.0"}}, "the chart vcluster cannot become other"),
        ({"role": "ADMIN"}, "(role) is set once"),
        ({"blueprint": "other"}, "(blueprint) is set once"),
        ({"network": {"internet": False}}, "(network) is set once"),
        ({"pod_security": "restricted"}, "(pod_security) is set once"),
        (
            {"values": values(*ETCD, "enabled", value=True)},
            "where the vCluster keeps its state (controlPlane.backingStore) is set once",
        ),
        (
            {"values": values(*VOLUME, "size", value="9Gi")},
            "the volume of the vCluster (controlPlane.statefulSet.persistence) is set once",
        ),
        ({"values": values("exportKubeConfig", "context", value="x")}, "exportKubeConfig"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_cannot_change(template: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in in_place_problems(BEFORE, after(**template)))


@pytest.mark.parametrize(
    ("name", "longest", "left", "is_refused"),
    [
        ("large", timedelta(hours=4), timedelta(hours=4), False),
        ("large", timedelta(hours=4), timedelta(hours=4, minutes=1), True),
        ("large", timedelta(days=30), timedelta(days=20), False),
        # Its newer version: the end was granted.
        ("", timedelta(hours=4), timedelta(days=20), False),
    ],
)
def test_another_template_does_not_keep_an_end_that_it_would_not_grant(
    name: str, longest: timedelta, left: timedelta, is_refused: bool
) -> None:
    """Ensures that who asks for a small one for a month does not have a large one for a month."""
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    before = BEFORE.template
    ttl = before.ttl.model_copy(update={"maximum": longest})
    new = before.model_copy(update={"name": name or before.name, "ttl": ttl})
    problem = term_problem(before, new, now + left, now)
    assert bool(problem) is is_refused
    assert not problem or "large lasts at most 4h" in problem
