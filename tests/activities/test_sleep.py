"""Sleep and waking on a host: what ends, what stays, what is refused, and what is only slow."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from activities.changes.sleep import Sleep
from contracts.activities.vcluster import SleepInput
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from tests.activities.activity_runs import Running
from tests.activities.conftest import OTHER_INSTALLATION, Bench, an_environment, fresh

METHODS = ("pause", "resume")


def changing(
    bench: Bench, method: str, environment: Environment, *, settle: float = 60, **more: Any
) -> Running:
    sleep = Sleep(bench.clients.hosts, settle_time=timedelta(seconds=settle))
    activity: Callable[..., Any] = getattr(sleep, method)
    return Running(activity, SleepInput(environment=environment), **more)


async def made(bench: Bench, **fields: Any) -> Environment:
    environment = an_environment(fresh(), **fields)
    for step in (StepName.NAMESPACE, StepName.VCLUSTER, StepName.KUBECONFIG):
        await bench.ensure(step, environment)
    return environment


async def test_its_pods_end_and_all_else_stays(bench: Bench) -> None:
    environment = await made(bench)
    before = bench.systems.counts(environment)
    for _ in range(2):
        await changing(bench, "pause", environment).result()
        assert bench.systems.counts(environment) == {k: n for k, n in before.items() if k != "pod"}
    for attempt in (1, 2):
        await changing(bench, "resume", environment, attempt=attempt).result()
        assert bench.systems.counts(environment) == before
    # With one kubeconfig before and after.
    assert await bench.ensure(StepName.KUBECONFIG, environment)


@pytest.mark.parametrize("method", METHODS)
async def test_what_is_not_ours_is_not_touched(bench: Bench, method: str) -> None:
    environment = await made(bench)
    before = bench.systems.rows(environment.derived_name)
    theirs = an_environment(environment.name, installation=OTHER_INSTALLATION)
    error = await changing(bench, method, theirs).failure()
    assert error.type == ErrorType.CONFLICT
    assert bench.systems.rows(environment.derived_name) == before


@pytest.mark.parametrize("method", METHODS)
async def test_without_a_vcluster_it_says_so(bench: Bench, method: str) -> None:
    environment = an_environment(fresh())
    await bench.ensure(StepName.NAMESPACE, environment)
    error = await changing(bench, method, environment).failure()
    assert (error.type, error.non_retryable) == (ErrorType.NOT_YET, False)
    assert "is not to be found on host one" in error.message


async def test_a_start_that_an_earlier_event_calls_failed_goes_on(bench: Bench) -> None:
    """Ensures that only a failure that lasts ends the waking."""
    environment = await made(bench)
    await changing(bench, "pause", environment).result()
    bench.systems.hold_starts(environment, "its pod", failed="pod not admitted: exceeded quota")
    waking = changing(bench, "resume", environment)
    await waking.says("exceeded quota")
    bench.systems.clear()
    await waking.result()


async def test_a_start_that_has_failed_for_good_ends_the_waking(bench: Bench) -> None:
    environment = await made(bench)
    await changing(bench, "pause", environment).result()
    bench.systems.hold_starts(environment, "an image", failed="image pull back-off: no such tag")
    error = await changing(bench, "resume", environment, settle=0).failure()
    assert (error.type, error.non_retryable) == (ErrorType.NEVER_READY, True)
    assert "no such tag" in error.message


async def test_one_that_does_not_start_in_its_time_says_what_it_waits_for(bench: Bench) -> None:
    environment = await made(bench)
    await changing(bench, "pause", environment).result()
    bench.systems.hold_starts(environment, "pod pending: 0/1 nodes have 2 CPU free")
    error = await changing(bench, "resume", environment, limit=1).failure()
    assert error.type == ErrorType.NOT_YET
    assert "2 CPU free" in error.message
