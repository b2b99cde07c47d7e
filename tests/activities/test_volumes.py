"""PersistentVolumes that outlive their claims: deleted, or kept and named, as the template says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.ownership import NOTHING_THERE
from activities.parts.retained_volumes import MAX_CLOCK_SKEW
from clients.errors import Denied
from clients.host.models import PersistentVolume
from clients.host.protocol import Host
from contracts.activities.steps import InspectInput, InspectResult, RemoveInput
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from contracts.templates.template import RetainedVolumes
from tests.activities.activity_runs import LIFE_START, Running
from tests.activities.conftest import HOST, Bench, Systems

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class WithVolumes:
    """The simulated host, and beside it PersistentVolumes, which it does not have."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.there: dict[str, PersistentVolume] = {}
        self.allowed = True
        self.regained: list[str] = []
        #: Claims that nothing of the chart's labels and names tells to be the release's.
        self.claims: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def has(self, name: str, *, retained: bool = True, released: bool = True, age: int = 0) -> None:
        """There is a volume, made so many seconds before the namespace."""
        made = MADE - timedelta(seconds=age)
        self.there[name] = PersistentVolume(name, f"uid-{name}", retained, released, made)

    async def get_namespace(self, name: str) -> Any:
        found = await self._host.get_namespace(name)
        return found and replace(found, made_at=MADE)

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:
        return list(self.there.values())

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        return [*await self._host.volumes(namespace, release), *(self.claims if every_claim else ())]

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        others = (f"PersistentVolumeClaim {each}" for each in (self.claims if every_claim else ()))
        return [*await self._host.leftovers(namespace, release), *others]

    async def delete_volume(self, namespace: str, name: str) -> None:
        if name not in self.claims:
            await self._host.delete_volume(namespace, name)
            return
        # As of a real one: with its claim goes what it has bound.
        self.claims.remove(name)
        self.there.pop(f"of-{name}", None)

    async def delete_retained_volume(self, volume: PersistentVolume) -> None:
        del self.there[volume.name]

    async def require_volume_permission(self) -> None:
        if not self.allowed:
            raise Denied("host cluster one", "have volumes deleted", "the role is not bound")

    async def ensure_role_binding(self, namespace: str, labels: Any) -> None:
        self.regained.append(namespace)


@pytest.fixture
def host(bench: Bench) -> WithVolumes:
    return WithVolumes(bench.clients.hosts[HOST])


@pytest.fixture
def bench_there(systems: Systems, bench: Bench, host: WithVolumes) -> Bench:
    """All steps on that host."""
    return Bench(systems, replace(bench.clients, hosts={HOST: host}))


def retaining(what: RetainedVolumes, environment: Environment) -> Environment:
    template = environment.template.model_copy(update={"retained_volumes": what})
    return environment.model_copy(update={"template": template})


async def look(
    bench: Bench, environment: Environment, life_started_at: datetime = LIFE_START
) -> InspectResult:
    step = bench.steps[StepName.VCLUSTER]
    input = InspectInput(environment=environment, life_started_at=life_started_at)
    result = await Running(step.inspect, input).result()
    assert isinstance(result, InspectResult)
    return result


async def test_retained_volumes_stay_and_are_named_but_do_not_count_as_left(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    await bench_there.make(environment, before=StepName.KUBECONFIG)
    host.has("pv-1")
    removed = await bench_there.remove(StepName.VCLUSTER, environment)
    assert removed.note.endswith("; kept, as the template says: PersistentVolume pv-1")
    assert await look(bench_there, environment) == InspectResult(kept=("PersistentVolume pv-1",))
    await bench_there.remove(StepName.NAMESPACE, environment)
    assert await look(bench_there, environment) == InspectResult(kept=("PersistentVolume pv-1",))


async def test_retained_volumes_are_deleted_where_the_template_says_so(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    environment = retaining(RetainedVolumes.DELETE, environment)
    await bench_there.make(environment, before=StepName.KUBECONFIG)
    host.has("ours")
    host.has("of-an-earlier-life", age=60)
    await bench_there.remove(StepName.VCLUSTER, environment)
    assert list(host.there) == ["of-an-earlier-life"], (
        "an earlier life may have been configured to keep its volumes"
    )
    kept = ("PersistentVolume of-an-earlier-life (older than this environment)",)
    assert await look(bench_there, environment) == InspectResult(kept=kept)


async def test_a_volume_whose_release_was_removed_before_is_deleted_by_the_next_try(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    environment = retaining(RetainedVolumes.DELETE, environment)
    await bench_there.make(environment, before=StepName.KUBECONFIG)
    await bench_there.remove(StepName.VCLUSTER, environment)
    host.has("late")
    assert (await look(bench_there, environment)).left == ("PersistentVolume late",)
    await bench_there.remove(StepName.VCLUSTER, environment)
    assert not host.there


@pytest.mark.slow
@pytest.mark.parametrize(
    ("retained", "released"), [(False, True), (True, False)], ids=["goes-with-its-claim", "not-released-yet"]
)
async def test_a_volume_that_does_not_go_is_waited_for_and_named(
    bench_there: Bench, host: WithVolumes, environment: Environment, retained: bool, released: bool
) -> None:
    environment = retaining(RetainedVolumes.DELETE, environment)
    await bench_there.make(environment, before=StepName.KUBECONFIG)
    host.has("stuck", retained=retained, released=released)
    failure = await bench_there.removing(StepName.VCLUSTER, environment, limit=2).failure()
    assert failure.type == ErrorType.NOT_YET.value
    assert "PersistentVolume stuck" in failure.message
    assert "stuck" in host.there, "only a released volume that is retained is given up"


@pytest.mark.parametrize("what", RetainedVolumes)
async def test_a_volume_of_an_earlier_namespace_that_cannot_go_is_left_alone_and_named(
    bench_there: Bench, host: WithVolumes, environment: Environment, what: RetainedVolumes
) -> None:
    environment = retaining(what, environment)
    await bench_there.make(environment, before=StepName.KUBECONFIG)
    host.has("stuck", retained=False, released=False, age=3600)
    removed = await bench_there.remove(StepName.VCLUSTER, environment)
    assert "stuck (older than this environment)" in removed.note
    named = InspectResult(kept=("PersistentVolume stuck (older than this environment)",))
    assert await look(bench_there, environment, MADE) == named
    # Without a namespace there is only the life to tell ages by.
    await bench_there.remove(StepName.NAMESPACE, environment)
    assert await look(bench_there, environment, MADE) == named, "the teardown would never end"
    step = bench_there.steps[StepName.VCLUSTER]
    input = RemoveInput(environment=environment, life_started_at=MADE)
    assert (await Running(step.remove, input).result()).note == NOTHING_THERE
    assert "stuck" in host.there


@pytest.mark.parametrize(
    ("age", "life_started_at"),
    [(-5, MADE), (MAX_CLOCK_SKEW.seconds - 1, MADE)],
    ids=["younger", "clocks-apart"],
)
async def test_a_volume_that_may_be_ours_is_waited_for_though_the_namespace_is_gone(
    bench_there: Bench,
    host: WithVolumes,
    environment: Environment,
    age: int,
    life_started_at: datetime,
) -> None:
    host.has("going", retained=False, age=age)
    assert (await look(bench_there, environment, life_started_at)).left == ("PersistentVolume going",)
    step = bench_there.steps[StepName.VCLUSTER]
    input = RemoveInput(environment=environment, life_started_at=life_started_at)
    failure = await Running(step.remove, input, limit=2).failure()
    assert failure.type == ErrorType.NOT_YET.value
    assert "PersistentVolume going" in failure.message


async def test_a_missing_right_to_delete_volumes_is_reported_before_anything_is_made(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    environment = retaining(RetainedVolumes.DELETE, environment)
    host.allowed = False
    failure = await bench_there.ensuring(StepName.NAMESPACE, environment).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.ACCESS_DENIED.value, True)
    assert "namespace" not in bench_there.systems.counts(environment)


async def test_rights_are_taken_again_before_a_release_is_removed(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    await bench_there.make(environment, before=StepName.KUBECONFIG)
    await bench_there.remove(StepName.VCLUSTER, environment)
    assert host.regained == [environment.derived_name]


async def test_volumes_of_a_namespace_that_is_not_ours_are_not_looked_at(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    await bench_there.clients.hosts[HOST].create_namespace(environment.derived_name, {}, {})
    host.has("theirs", retained=False)
    assert await look(bench_there, environment) == InspectResult()
    assert host.regained == [], "no role binding is created in a namespace of another owner"


async def test_every_claim_of_our_namespace_goes_whatever_its_chart_calls_it(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    """Ensures that its volume goes with it, and no teardown waits for that for ever."""
    await bench_there.make(environment, before=StepName.KUBECONFIG)
    host.claims = ["data-mrg-etcd-0", "state-of-something"]
    for claim in host.claims:
        host.has(f"of-{claim}", retained=False, released=False, age=-5)
    left = (await look(bench_there, environment)).left
    assert "PersistentVolumeClaim data-mrg-etcd-0" in left
    await bench_there.remove(StepName.VCLUSTER, environment)
    assert host.claims == []
    assert (await look(bench_there, environment)).left == ()


async def test_claims_of_a_namespace_that_is_not_ours_are_not_touched(
    bench_there: Bench, host: WithVolumes, environment: Environment
) -> None:
    await bench_there.clients.hosts[HOST].create_namespace(environment.derived_name, {}, {})
    host.claims = ["theirs"]
    await bench_there.remove(StepName.VCLUSTER, environment)
    assert host.claims == ["theirs"]
