"""Ensures that a request that its chart refuses is rejected, and that a repository outage rejects none."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from clients.errors import Rejected, Unreachable
from clients.host.models import Chart
from contracts.environment.models import Environment, Spec
from contracts.templates.supported_charts import NEWEST_TESTED
from contracts.templates.template import Size, Template, fields_below_minimum
from contracts.types.naming import OwnerMark
from starter.placement import chart_check
from starter.placement.chart_check import ChartCheck
from starter.request_errors import InvalidRequest
from tests.support.deadline import HANG


class Asked:
    """A host that answers each check with the given error, and records the values."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[Mapping[str, Any]] = []

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        return {"exportKubeConfig": {"server": f"https://{release}.{namespace}.svc"}}

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        self.asked.append(values)
        if self.error is not None:
            raise self.error


def environment() -> Environment:
    template = Template.model_validate(
        {
            "name": "small",
            "version": 1,
            "description": "for a test",
            "chart": {"version": NEWEST_TESTED},
            "kubernetes": "v1.36.0",
            "size": {"cpu": "1", "memory": "1Gi", "storage": "1Gi", "pods": 5},
            "ttl": {"default": "1h", "maximum": "2h"},
        }
    )
    return Environment(
        mark=OwnerMark.for_request("k3x9q0vb", "demo", "r"),
        prefix="mrg",
        owner="a@example.com",
        spec=Spec(template="small", team="blue"),
        template=template,
        ttl=timedelta(hours=1),
        host="main",
        has_identity_provider=False,
    )


async def test_what_fits_is_asked_once() -> None:
    """Ensures that the values are those of template and host, and that a second request costs nothing."""
    host = Asked()
    door = ChartCheck({"main": host})  # type: ignore[dict-item]
    values = await door.values(environment())
    assert values["exportKubeConfig"]["server"] == "https://mrg-demo.mrg-demo.svc"
    assert values["policies"]["resourceQuota"] == {"enabled": False}
    assert await door.values(environment()) == values
    assert host.asked == [values]


async def test_what_the_chart_refuses() -> None:
    """Ensures that the error has the field, the template and the chart's own words."""
    door = ChartCheck({"main": Asked(Rejected("host", "check", "size: got number"))})  # type: ignore[dict-item]
    with pytest.raises(InvalidRequest) as error:
        await door.values(environment())
    assert [(one.field, one.message) for one in error.value.problems] == [
        ("template", '"small" cannot be made on main: size: got number')
    ]


async def test_a_repository_that_cannot_be_asked() -> None:
    """Ensures that the request goes on: the worker checks again before it makes the namespace."""
    door = ChartCheck({"main": Asked(Unreachable("host", "check", "away"))})  # type: ignore[dict-item]
    assert (await door.values(environment()))["telemetry"] == {"enabled": False}


async def test_a_repository_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that callers wait briefly, for one shared call, and that its late answer is kept."""
    monkeypatch.setattr(chart_check, "TIMEOUT_SECONDS", 0.05)
    answered = asyncio.Event()

    class Silent(Asked):
        async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
            await super().check_release(chart, values)
            await answered.wait()

    host = Silent()
    door = ChartCheck({"main": host})  # type: ignore[dict-item]
    async with asyncio.timeout(HANG):
        await asyncio.gather(*(door.values(environment()) for _ in range(5)))
        await door.values(environment())
    assert len(host.asked) == 1, "the host was asked again while a call was under way"
    answered.set()
    await asyncio.sleep(0)
    await door.values(environment())
    assert len(host.asked) == 1, "what was answered late was not remembered"


def test_the_floor() -> None:
    """Ensures that each field below the floor is named, and nothing at it or above."""
    assert fields_below_minimum(Size(cpu="300m", memory="256Mi", storage="1Gi", pods=3)) == {}
    assert set(fields_below_minimum(Size(cpu="0.2", memory="100Mi", storage="1G", pods=2))) == {
        "cpu",
        "memory",
        "storage",
        "pods",
    }
