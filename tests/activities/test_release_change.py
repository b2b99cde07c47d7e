"""The vCluster step in place: upgraded once, never replaced, whatever a killed Helm has left."""

from datetime import timedelta

import pytest

from activities.parts import release_change
from activities.parts.release_change import release_labels
from clients.simulated_host.host import SimulatedHost
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from contracts.types.naming import LABEL_REVISION
from tests.activities.conftest import Bench, an_environment

CHANGED = {"sync": {"toHost": {"ingresses": {"enabled": True}}}}


def changed(environment: Environment) -> Environment:
    template = environment.template.model_copy(update={"name": "medium", "values": CHANGED})
    return environment.model_copy(update={"template": template})


async def test_an_upgrade_keeps_the_volume(bench: Bench, environment: Environment) -> None:
    """Ensures that chart values change, that the data stays, and that a repeat changes nothing."""
    await bench.make(environment, before=StepName.KUBECONFIG)
    name = environment.derived_name
    [volume] = bench.systems.rows(name)["volume"]
    await bench.ensure(StepName.VCLUSTER, changed(environment), in_place=True)
    [release] = bench.systems.rows(name)["release"]
    assert '"ingresses"' in "".join(release)
    assert bench.systems.rows(name)["volume"] == [volume]
    again = bench.systems.rows(name)
    await bench.ensure(StepName.VCLUSTER, changed(environment), in_place=True)
    assert bench.systems.rows(name) == again, "it was upgraded again"
    await bench.ensure(StepName.VCLUSTER, environment, in_place=True)
    [release] = bench.systems.rows(name)["release"]
    assert '"ingresses"' not in "".join(release)


@pytest.mark.parametrize("status", ["pending", "failed", "deployed"])
async def test_what_a_killed_helm_left_is_upgraded_and_not_replaced(
    bench: Bench, environment: Environment, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_change, "PENDING_TIMEOUT", timedelta(seconds=0.2))
    await bench.make(environment, before=StepName.KUBECONFIG)
    name = environment.derived_name
    volumes = bench.systems.rows(name)["volume"]
    bench.systems.leave_release(environment, status)
    await bench.ensure(StepName.VCLUSTER, changed(environment), in_place=True)
    [release] = bench.systems.rows(name)["release"]
    assert "deployed" in release
    assert bench.systems.rows(name)["volume"] == volumes


async def test_a_release_that_is_gone_is_not_made_again(bench: Bench, environment: Environment) -> None:
    """Ensures that no empty vCluster takes the place of one that had data."""
    await bench.make(environment, before=StepName.VCLUSTER)
    failure = await bench.ensuring(StepName.VCLUSTER, environment, in_place=True).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.NEVER_READY.value, True)
    assert "release" not in bench.systems.counts(environment)


async def test_a_release_of_another_owner_is_left_alone(bench: Bench, environment: Environment) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    other = an_environment(environment.name, life="request-2")
    rows = bench.systems.rows(environment.derived_name)
    failure = await bench.ensuring(StepName.VCLUSTER, changed(other), in_place=True).failure()
    assert failure.type == ErrorType.CONFLICT.value
    assert bench.systems.rows(environment.derived_name) == rows


async def test_a_change_that_cannot_start_says_why(bench: Bench, environment: Environment) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    bench.systems.hold_starts(environment, "its image", failed="image pull back-off: no such tag")
    failure = await bench.ensuring(StepName.VCLUSTER, changed(environment), in_place=True).failure()
    assert failure.type == ErrorType.NEVER_READY.value
    assert (
        failure.message
        == "The changed vCluster on host one will not start: image pull back-off: no such tag."
    )


async def test_what_runs_beyond_a_smaller_template_refuses_the_change(
    bench: Bench, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that pods of a large template do not go on under the reservation of a small one."""
    monkeypatch.setattr(release_change, "EXCESS_TIMEOUT", timedelta(seconds=0.2))
    await bench.make(environment, before=StepName.KUBECONFIG)
    usage = {"limits.cpu": ("8500m", "8"), "pods": ("40", "14"), "limits.memory": ("4096Mi", "4Gi")}
    usage["secrets"] = ("999", "100")

    async def quota_usage(self: SimulatedHost, namespace: str) -> dict[str, tuple[str, str]]:
        return usage

    monkeypatch.setattr(SimulatedHost, "quota_usage", quota_usage)
    failure = await bench.ensuring(StepName.VCLUSTER, changed(environment), in_place=True).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.NEVER_READY.value, True)
    assert "than the template allows: limits.cpu: 8500m of 8, pods: 40 of 14." in failure.message
    usage |= {"limits.cpu": ("8", "8"), "pods": ("14", "14")}
    await bench.ensure(StepName.VCLUSTER, changed(environment), in_place=True)


def test_the_revision_is_that_of_chart_and_values() -> None:
    """Ensures that every difference is an upgrade, and none without one."""
    environment = an_environment("demo")
    values = compose_values(environment)
    revision = release_labels(environment, values)[LABEL_REVISION]
    assert release_labels(environment, dict(reversed(values.items())))[LABEL_REVISION] == revision
    assert (
        release_labels(changed(environment), compose_values(changed(environment)))[LABEL_REVISION] != revision
    )
    chart = environment.template.chart.model_copy(update={"version": "9.9.9"})
    template = environment.template.model_copy(update={"chart": chart})
    newer = environment.model_copy(update={"template": template})
    assert release_labels(newer, values)[LABEL_REVISION] != revision
