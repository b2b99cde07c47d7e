"""Namespace, vCluster and kubeconfig: what they wait for, what they say meanwhile, what they leave."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from activities.ownership import NOTHING_THERE
from activities.parts.forced_deletion import MAX_FORCED_LINES
from activities.parts.release_change import release_labels
from activities.steps import vcluster
from clients.errors import NotYet
from clients.host.models import Chart
from clients.host.protocol import Host
from contracts.activities.steps import InspectInput
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from contracts.templates.supported_charts import NEWEST_TESTED
from contracts.types.naming import ANNOTATION_OWNER
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import LIFE_START, Running, details
from tests.activities.conftest import HOST, Bench, an_environment, fresh
from tests.support.deadline import soon


async def test_a_cancelled_start_ends_within_seconds_and_can_be_undone(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.VCLUSTER)
    bench.systems.hold_starts(environment, "pod pending: 0/1 nodes have 2 CPU free")
    running = await bench.ensuring(StepName.VCLUSTER, environment).says("0/1 nodes have 2 CPU free")
    running.cancel()
    async with soon("a cancelled start is waited for"):
        failure = await running.failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.INTERRUPTED.value, True)
    assert "0/1 nodes" in failure.message
    await bench.remove(StepName.VCLUSTER, environment)
    assert await bench.inspect(StepName.VCLUSTER, environment) == ()


async def test_a_cancellation_in_the_middle_of_a_call_gives_the_receipt(
    bench: Bench, environment: Environment
) -> None:
    bench.systems.faults(Fault(operation="project.create", kind=FaultKind.DELAY_AFTER, seconds=0.5, times=1))
    running = bench.ensuring(StepName.PROJECT, environment)
    while "project" not in bench.systems.counts(environment):  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.01)
    running.cancel()
    assert (await running.result()).name == environment.derived_name


async def test_a_start_that_has_failed_says_why_and_is_not_tried_again(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.VCLUSTER)
    bench.systems.hold_starts(environment, "an image", failed="image pull back-off: no such tag")
    failure = await bench.ensuring(StepName.VCLUSTER, environment).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.NEVER_READY.value, True)
    assert failure.message == "The vCluster on host one will not start: image pull back-off: no such tag."


@pytest.mark.slow
async def test_a_start_whose_time_is_over_says_what_it_waited_for(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.VCLUSTER)
    bench.systems.hold_starts(environment, "PVC pending: no storage class")
    failure = await bench.ensuring(StepName.VCLUSTER, environment, limit=10).failure()
    assert failure.type == ErrorType.NOT_YET.value
    assert "PVC pending: no storage class" in failure.message


@pytest.mark.parametrize("status", ["pending", "failed", "uninstalling"])
async def test_a_release_of_ours_that_a_killed_helm_left_is_installed_again(
    bench: Bench, environment: Environment, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vcluster, "PENDING_RELEASE_TIMEOUT", timedelta(seconds=0.2))
    await bench.make(environment, before=StepName.KUBECONFIG)
    [old] = bench.systems.rows(environment.derived_name)["volume"]
    bench.systems.leave_release(environment, status)
    await bench.ensure(StepName.VCLUSTER, environment)
    [release] = bench.systems.rows(environment.derived_name)["release"]
    assert "deployed" in release
    [new] = bench.systems.rows(environment.derived_name)["volume"]
    assert new != old, "it came up on the old volume, so that old credentials open it"


async def test_a_pending_release_whose_helm_still_works_is_waited_for(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    rows = bench.systems.rows(environment.derived_name)
    bench.systems.leave_release(environment, "pending")
    running = await bench.ensuring(StepName.VCLUSTER, environment).says("an earlier Helm call")
    bench.systems.leave_release(environment, "deployed")
    await running.result()
    assert bench.systems.rows(environment.derived_name) == rows, "it was installed again"


@pytest.mark.parametrize("status", ["pending", "failed"])
async def test_a_broken_release_of_another_owner_is_left_alone(
    bench: Bench, environment: Environment, status: str
) -> None:
    await bench.make(environment, before=StepName.VCLUSTER)
    name = environment.derived_name
    await bench.clients.hosts[HOST].install_release(
        name, name, Chart(None, "vcluster", NEWEST_TESTED), {}, {}
    )
    bench.systems.leave_release(environment, status)
    rows = bench.systems.rows(name)
    failure = await bench.ensuring(StepName.VCLUSTER, environment).failure()
    assert failure.type == ErrorType.CONFLICT.value
    assert bench.systems.rows(name) == rows


async def test_volumes_that_an_earlier_uninstall_left_are_removed(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    name = environment.derived_name
    await bench.clients.hosts[HOST].uninstall_release(name, name)
    assert await bench.inspect(StepName.VCLUSTER, environment), "the volume is still there"
    await bench.remove(StepName.VCLUSTER, environment)
    assert "volume" not in bench.systems.counts(environment)


async def test_nothing_is_installed_in_a_namespace_that_is_not_ours(
    bench: Bench, environment: Environment
) -> None:
    await bench.clients.hosts[HOST].create_namespace(environment.derived_name, {}, {})
    failure = await bench.ensuring(StepName.VCLUSTER, environment).failure()
    assert failure.type == ErrorType.CONFLICT.value
    assert bench.systems.counts(environment) == {"namespace": 1}


async def test_the_release_gets_the_values_of_the_template_and_the_mark(bench: Bench) -> None:
    environment = an_environment(fresh(), values={"sync": {"toHost": {"ingresses": {"enabled": True}}}})
    await bench.make(environment, before=StepName.KUBECONFIG)
    [[_, _, _, version, labels, _, values]] = bench.systems.rows(environment.derived_name)["release"]
    assert version == NEWEST_TESTED
    assert json.loads(labels) == release_labels(environment, json.loads(values))
    assert environment.mark.matches_labels(json.loads(labels))
    assert json.loads(values)["sync"] == {"toHost": {"ingresses": {"enabled": True}}}
    assert json.loads(values)["policies"]["resourceQuota"] == {"enabled": False}


async def test_the_namespace_and_all_in_it_bear_the_mark(bench: Bench, environment: Environment) -> None:
    await bench.ensure(StepName.NAMESPACE, environment)
    namespace = await bench.clients.hosts[HOST].get_namespace(environment.derived_name)
    assert namespace
    assert environment.mark.matches_labels(namespace.labels)
    assert namespace.annotations[ANNOTATION_OWNER] == environment.mark.text
    assert namespace.labels["pod-security.kubernetes.io/enforce"] == "baseline"
    for _, _, name, document in bench.systems.rows(environment.derived_name)["object"]:
        labels = json.loads(document)["metadata"]["labels"]
        assert labels == environment.mark.labels, f"{name} bears another mark"


async def test_a_namespace_with_half_a_mark_is_not_ours(bench: Bench, environment: Environment) -> None:
    host, mark = bench.clients.hosts[HOST], environment.mark
    await host.create_namespace(environment.derived_name, mark.labels, {})
    failure = await bench.ensuring(StepName.NAMESPACE, environment).failure()
    assert failure.type == ErrorType.CONFLICT.value
    await bench.remove(StepName.NAMESPACE, environment)
    assert bench.systems.counts(environment) == {"namespace": 1}


async def test_a_namespace_of_ours_that_is_going_is_waited_for(
    bench: Bench, environment: Environment
) -> None:
    await bench.ensure(StepName.NAMESPACE, environment)
    bench.systems.hold_namespace(environment, "example.com/slow")
    namespace = await bench.clients.hosts[HOST].get_namespace(environment.derived_name)
    assert namespace
    await bench.clients.hosts[HOST].delete_namespace(namespace.name, namespace.uid)
    failure = await bench.ensuring(StepName.NAMESPACE, environment).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.NOT_YET.value, False)
    bench.systems.hold_namespace(environment)


async def test_what_holds_a_namespace_is_reported_while_it_waits_and_in_the_failure(
    bench: Bench, environment: Environment
) -> None:
    await bench.ensure(StepName.NAMESPACE, environment)
    bench.systems.hold_namespace(environment, "example.com/stuck")
    running = await bench.removing(StepName.NAMESPACE, environment, limit=2).says("example.com/stuck")
    failure = await running.failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.NOT_YET.value, False)
    assert "example.com/stuck" in failure.message
    bench.systems.hold_namespace(environment)
    await bench.remove(StepName.NAMESPACE, environment, attempt=2)
    assert bench.systems.counts(environment) == {}


async def test_pods_that_do_not_end_are_killed_and_reported(bench: Bench, environment: Environment) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    bench.systems.be_stubborn(environment, "stays-x-default-x-moor")
    removed = await bench.remove(StepName.VCLUSTER, environment)
    assert removed.forced == ("Pod stays-x-default-x-moor was killed: it wanted 86400 s to end",)
    assert await bench.inspect(StepName.VCLUSTER, environment) == ()


async def test_pods_killed_by_an_earlier_attempt_are_reported_by_the_one_that_succeeds(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    bench.systems.be_stubborn(environment, "b")
    earlier = "Pod a was killed: it wanted 86400 s to end"
    running = bench.removing(StepName.VCLUSTER, environment, attempt=2, kept=earlier)
    removed = await running.result()
    assert removed.forced == (earlier, "Pod b was killed: it wanted 86400 s to end")
    assert running.beats[-1].checkpoint.splitlines() == list(removed.forced)


async def test_what_a_release_did_not_leave_is_ended_before_its_namespace_is_deleted(
    bench: Bench, environment: Environment
) -> None:
    await bench.ensure(StepName.NAMESPACE, environment)
    bench.systems.be_stubborn(environment, *(f"stays-{number}" for number in range(30)))
    removed = await bench.remove(StepName.NAMESPACE, environment)
    assert len(removed.forced) == MAX_FORCED_LINES + 1
    assert removed.forced[-1] == "and 10 more"
    assert bench.systems.counts(environment) == {}


async def test_nothing_is_ended_by_force_in_a_namespace_that_is_not_ours(
    bench: Bench, environment: Environment
) -> None:
    host, name = bench.clients.hosts[HOST], environment.derived_name
    await host.create_namespace(name, {}, {})
    await host.install_release(name, name, Chart(None, "vcluster", "0.30.0"), {}, environment.mark.labels)
    bench.systems.be_stubborn(environment, "theirs")
    failure = await bench.removing(StepName.VCLUSTER, environment, limit=2).failure()
    assert failure.type == ErrorType.NOT_YET.value
    assert bench.systems.counts(environment)["stubborn pod"] == 1
    bench.systems.be_stubborn(environment)
    await bench.remove(StepName.VCLUSTER, environment, attempt=2)


async def test_quantities_that_cannot_be_added_up_are_rejected_before_anything_is_made(bench: Bench) -> None:
    limits = {"controlPlane": {"statefulSet": {"resources": {"limits": {"cpu": "plenty"}}}}}
    environment = an_environment(fresh(), values=limits)
    failure = await bench.ensuring(StepName.NAMESPACE, environment).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.INVALID_REQUEST.value, True)
    assert '"plenty"' in failure.message
    assert bench.systems.counts(environment) == {}


async def test_the_kubeconfig_is_waited_for_and_only_referred_to(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    receipt = await bench.ensure(StepName.KUBECONFIG, environment)
    kubeconfig = await bench.clients.hosts[HOST].kubeconfig(
        environment.derived_name, environment.derived_name
    )
    assert kubeconfig
    assert (receipt.name, receipt.reference) == (kubeconfig.secret_name, kubeconfig.server)
    assert receipt.fingerprint == kubeconfig.fingerprint
    token = kubeconfig.current()[1]["token"]
    assert token not in receipt.model_dump_json(), "the receipt holds the credential"


async def test_a_virtual_api_server_that_is_not_ready_yet_is_waited_for(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    bench.systems.faults(Fault(operation="virtual.readyz", kind=FaultKind.STATUS, status=503, times=3))
    running = bench.ensuring(StepName.KUBECONFIG, environment)
    await running.result()
    assert any("virtual API server" in wait for wait in running.waits)


async def test_a_refused_kubeconfig_is_a_permanent_error(bench: Bench, environment: Environment) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    bench.systems.faults(Fault(operation="virtual.readyz", kind=FaultKind.STATUS, status=401))
    failure = await bench.ensuring(StepName.KUBECONFIG, environment).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.ACCESS_DENIED.value, True)


@pytest.mark.parametrize("step", [StepName.NAMESPACE, StepName.VCLUSTER, StepName.KUBECONFIG])
async def test_a_host_that_the_settings_do_not_name_is_a_permanent_error(
    bench: Bench, step: StepName
) -> None:
    environment = an_environment(fresh(), host="elsewhere")
    failure = await bench.ensuring(step, environment).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.INVALID_REQUEST.value, True)
    assert "elsewhere" in failure.message
    assert "settings" in details(failure).remedy


async def test_nothing_is_ours_in_a_namespace_of_another_owner_that_we_may_not_read(
    bench: Bench, environment: Environment
) -> None:
    """Our namespace and its role binding were deleted by hand; another team created one of that name."""
    await bench.clients.hosts[HOST].create_namespace(environment.derived_name, {"team": "red"}, {})
    bench.systems.faults(Fault(operation="release.get", kind=FaultKind.STATUS, status=403))
    assert (await bench.remove(StepName.VCLUSTER, environment)).note == NOTHING_THERE
    assert await bench.inspect(StepName.VCLUSTER, environment) == ()
    assert bench.systems.counts(environment) == {"namespace": 1}


async def test_what_ends_in_a_namespace_of_another_owner_is_not_waited_for(
    bench: Bench, environment: Environment
) -> None:
    class Ending:
        """The host, which says of a release in a namespace that ends that one may not look any more."""

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.clients.hosts[HOST], name)

        async def get_release(self, namespace: str, name: str) -> None:
            raise NotYet("host one", f"read release {name}", "the namespace is being deleted")

    ending = Bench(bench.systems, replace(bench.clients, hosts={HOST: cast(Host, Ending())}))
    await bench.ensure(StepName.NAMESPACE, environment)
    failure = await ending.removing(StepName.VCLUSTER, environment).failure()
    assert failure.type == ErrorType.NOT_YET.value, "the end of our own is waited for"
    await bench.remove(StepName.NAMESPACE, environment)
    await bench.clients.hosts[HOST].create_namespace(environment.derived_name, {}, {})
    assert (await ending.remove(StepName.VCLUSTER, environment)).note == NOTHING_THERE
    assert await ending.inspect(StepName.VCLUSTER, environment) == ()


@pytest.mark.parametrize("what", ["remove", "inspect"])
async def test_a_refusal_in_our_own_namespace_is_a_failure(
    bench: Bench, environment: Environment, what: str
) -> None:
    await bench.make(environment, before=StepName.KUBECONFIG)
    bench.systems.faults(Fault(operation="release.get", kind=FaultKind.STATUS, status=403))
    step = bench.steps[StepName.VCLUSTER]
    running = (
        bench.removing(StepName.VCLUSTER, environment)
        if what == "remove"
        else Running(step.inspect, InspectInput(environment=environment, life_started_at=LIFE_START))
    )
    failure = await running.failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.ACCESS_DENIED.value, True)


async def test_our_release_is_removed_though_its_namespace_has_lost_its_mark(
    bench: Bench, environment: Environment
) -> None:
    host, name = bench.clients.hosts[HOST], environment.derived_name
    await host.create_namespace(name, {}, {})
    chart = Chart(None, "vcluster", NEWEST_TESTED)
    await host.install_release(name, name, chart, {}, environment.mark.labels)
    assert await bench.inspect(StepName.VCLUSTER, environment), "it does not see its own release"
    await bench.remove(StepName.VCLUSTER, environment)
    assert bench.systems.counts(environment) == {"namespace": 1}
