"""What the API tells the capacity workflow of warm pools: nothing where no template has one, nor had one."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from contracts.capacity.warm_pools import PoolsInput, pool_key
from contracts.environment_workflow import LifecycleTimeouts
from contracts.templates.parameters import Parameter
from contracts.templates.template import Template
from contracts.templates.warm_pool import WarmPool
from starter.installation_settings import InstallationConfig
from starter.placement import pools
from starter.placement.pools import PoolSync, wanted_pools
from starter.temporal.errors import NoWorker, TemporalUnavailable
from tests.workflows.conftest import a_start

COLD = a_start("a").environment.template
WARM = COLD.model_copy(update={"warm": WarmPool(ready=2)})
INSTALLATION = InstallationConfig(
    installation="testinstallatio",
    prefix="t",
    hosts={"one": {"zone": "eu"}, "two": {}},
    default_host=None,
    has_identity_provider=True,
    timeouts=LifecycleTimeouts(),
)


class Recorder:
    """Records what the capacity workflow gets."""

    def __init__(self, *pools: str) -> None:
        self.wanted: list[PoolsInput] = []
        self.pools = pools
        self.has_worker = True
        self.asked = 0

    async def list_pools(self) -> tuple[str, ...]:
        self.asked += 1
        if not self.has_worker:
            raise NoWorker
        return self.pools

    async def want_pools(self, wanted: PoolsInput) -> None:
        self.wanted.append(wanted)


def a_sync(recorder: Recorder, templates: list[Template]) -> PoolSync:
    return PoolSync(recorder, lambda: templates, INSTALLATION)  # type: ignore[arg-type]


async def test_without_a_warm_template_nothing_is_called() -> None:
    recorder = Recorder()
    sync = a_sync(recorder, [COLD])
    for _ in range(3):
        await sync.sync()
    assert recorder.wanted == []
    assert recorder.asked == 1


async def test_pools_that_a_former_process_wanted_end_once_it_is_known_that_there_are_some() -> None:
    recorder = Recorder("small")
    recorder.has_worker = False
    sync = a_sync(recorder, [COLD])
    await sync.sync()
    assert recorder.wanted == []
    recorder.has_worker = True
    for _ in range(3):
        await sync.sync()
    assert recorder.wanted == [PoolsInput()]


async def test_with_a_warm_template_nothing_is_asked() -> None:
    recorder = Recorder("small")
    await a_sync(recorder, [WARM]).sync()
    assert recorder.asked == 0
    assert len(recorder.wanted) == 1


async def test_a_change_is_sent_once_and_the_end_of_the_last_pool_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, templates = Recorder(), [COLD]
    sync = a_sync(recorder, templates)
    await sync.sync()
    templates[:] = [WARM]
    for _ in range(3):
        await sync.sync()
    assert len(recorder.wanted) == 1
    templates[:] = [COLD]
    for _ in range(3):
        await sync.sync()
    assert [bool(one.pools) for one in recorder.wanted] == [True, False]


async def test_what_does_not_change_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "RENEW_SECONDS", 0.0)
    recorder = Recorder()
    sync = a_sync(recorder, [WARM])
    await sync.sync()
    await sync.sync()
    assert len(recorder.wanted) == 2


@pytest.mark.parametrize("failure", [TemporalUnavailable("Temporal cannot be reached."), RuntimeError("x")])
async def test_a_failure_does_not_end_the_renewals(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "LOOK_SECONDS", 0.0)
    renewed = asyncio.Event()

    class Failing(Recorder):
        async def want_pools(self, wanted: PoolsInput) -> None:
            if not self.wanted:
                self.wanted.append(wanted)
                raise failure
            renewed.set()

    sync = a_sync(Failing(), [WARM])
    sync.start()
    await renewed.wait()
    await sync.stop()


def test_a_template_of_which_no_environment_can_be_made_has_no_pool() -> None:
    """Ensures that its mistake, which each request tells of, does not hinder the pools of others."""
    limits = {"controlPlane": {"statefulSet": {"resources": {"limits": {"cpu": "much"}}}}}
    wrong = WARM.model_copy(update={"values": limits})
    assert [pool.environment.template for pool in wanted_pools([wrong, WARM], INSTALLATION).pools] == [WARM]


def test_a_pool_is_for_the_hosts_and_the_requests_of_its_template() -> None:
    asked = a_start("demo").environment.model_copy(update={"template": WARM})
    [pool] = wanted_pools([COLD, WARM], INSTALLATION).pools
    assert pool.hosts == ("one", "two")
    assert pool.key == pool_key(asked)
    assert (pool.environment.is_standby, pool.environment.owner, pool.environment.spec.team) == (True, "", "")
    assert pool.environment.ttl == timedelta(days=1)
    eu = WARM.model_copy(update={"hosts": {"zone": "eu"}})
    assert [one.hosts for one in wanted_pools([eu], INSTALLATION).pools] == [("one",)]
    nowhere = WARM.model_copy(update={"hosts": {"zone": "us"}})
    assert wanted_pools([nowhere], INSTALLATION).pools == ()


@pytest.mark.parametrize(("given", "is_same"), [({}, True), ({"size": 1}, True), ({"size": 2}, False)])
def test_only_requests_with_the_defaults_are_served_from_the_pool(
    given: dict[str, Any], is_same: bool
) -> None:
    parameter = Parameter.model_validate({"type": "integer", "description": "x", "default": 1})
    template = WARM.model_copy(
        update={"parameters": {"size": parameter}, "values": {"a": "${parameters.size}"}}
    )
    [pool] = wanted_pools([template], INSTALLATION).pools
    asked = a_start("demo").environment.model_copy(update={"template": template.with_parameters(given)})
    assert (pool.key == pool_key(asked)) is is_same
