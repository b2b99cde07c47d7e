"""What doctor says of warm pools."""

from typing import Any

import pytest

from contracts.capacity.warm_pools import PoolCount
from contracts.templates.warm_pool import WarmPool
from starter.setup import warm_pools
from starter.setup.check import Kind
from starter.setup.warm_pools import WarmPools
from starter.temporal.errors import NoWorker
from tests.workflows.conftest import a_start

COLD = a_start("a").environment.template
WARM = COLD.model_copy(update={"warm": WarmPool(ready=3)})


class Connected:
    """A connection to Temporal; `None` would fail the part."""

    async def client(self) -> Any:
        return object()


def a_count(**fields: Any) -> PoolCount:
    policy = WarmPool(ready=3)
    given = {
        "template": "small",
        "key": "k",
        "policy": policy,
        "hosts": (),
        "ready": 2,
        "making": 1,
        "wanted": 3,
    }
    return PoolCount(**given | fields)


async def found(monkeypatch: pytest.MonkeyPatch, templates: list[Any], answer: Any) -> Any:
    class Answering:
        def __init__(self, _: Any) -> None:
            pass

        async def list_pools(self) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(warm_pools, "Reservations", Answering)
    [part] = WarmPools(Connected(), lambda: templates).parts()  # type: ignore[arg-type]
    return await part.check()


async def test_without_a_warm_template_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    what = await found(monkeypatch, [COLD], AssertionError("it was asked"))
    assert what.detail == "no template keeps one"


async def test_a_pool_says_how_full_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    what = await found(monkeypatch, [WARM], (a_count(),))
    assert what.detail == "small has 2 of 3 ready"


async def test_a_pool_that_has_stopped_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    what = await found(monkeypatch, [WARM], (a_count(failures=3, problem="No such image."),))
    assert (what.kind, what.detail) == (Kind.BY_HAND, "small has stopped: No such image.")


async def test_the_pool_of_a_booking_is_reported_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    of_booking = a_count(booking="kurs", failures=3, problem="No such image.")
    what = await found(monkeypatch, [WARM], (a_count(), of_booking))
    assert (what.kind, what.detail) == (Kind.WELL, "small has 2 of 3 ready")


async def test_other_parts_report_a_missing_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    what = await found(monkeypatch, [WARM], NoWorker())
    assert what.kind is Kind.WELL
