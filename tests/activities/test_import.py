"""The import: what is applied inside, what "ready" means, and how a cluster is deregistered."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import yaml

from activities.errors import NotAccepted
from activities.parts import manifest_validation as bootstrap_module
from activities.parts.manifest_validation import PARSE_IN_THREAD_FROM, BootstrapManifest
from activities.steps import cluster_import
from activities.steps.cluster_import import ImportStep
from clients.errors import CUT, Rejected
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Manifest
from clients.safe_yaml import read_all_yaml
from clients.simulated_host.host import SimulatedHost
from contracts.activities.steps import EnsureInput
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import Running
from tests.activities.conftest import HOST, TIMEOUT, TOKEN, Bench, an_environment, fresh
from tests.clients.test_safe_yaml import bomb
from tests.support.deadline import HANG, soon

SECRET = "agent-token-0123456789abcdef"


@pytest.fixture
async def made(bench: Bench) -> Environment:
    """An environment that is usable, and not imported yet."""
    environment = an_environment(fresh())
    await bench.make(environment, before=StepName.IMPORT)
    return environment


async def test_what_is_applied_inside_bears_the_mark(bench: Bench, made: Environment) -> None:
    await bench.ensure(StepName.IMPORT, made)
    documents = [yaml.safe_load(row[-1]) for row in bench.systems.rows(made.derived_name)["inner object"]]
    assert len(documents) == 6
    for document in documents:
        assert made.mark.matches_labels(document["metadata"]["labels"]), (
            f"{document['kind']} has no owner label"
        )


async def test_the_record_bears_the_mark(bench: Bench, made: Environment) -> None:
    receipt = await bench.ensure(StepName.IMPORT, made)
    [[id, labels, _]] = bench.systems.rows(made.derived_name)["cluster"]
    assert receipt.reference == id
    assert yaml.safe_load(labels) == made.mark.labels


async def test_a_bootstrap_manifest_that_is_not_there_yet_is_waited_for(
    bench: Bench, made: Environment
) -> None:
    bench.systems.switch(bootstrap_misses=3)
    running = bench.ensuring(StepName.IMPORT, made)
    receipt = await running.result()
    assert not receipt.in_doubt
    assert any("bootstrap manifest" in wait for wait in running.waits)


async def test_a_failed_registration_says_why_and_is_not_tried_again(bench: Bench, made: Environment) -> None:
    bench.systems.faults(Fault(operation="agent.checkin", kind=FaultKind.STATUS, status=503))
    running = await bench.ensuring(StepName.IMPORT, made).says("ClusterRegister")
    bench.systems.fail_import(made, "ClusterCheckIn", "clock is wrong")
    failure = await running.failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.NEVER_READY.value, True)
    assert "ClusterCheckIn failed: clock is wrong" in failure.message


async def test_a_cluster_of_that_name_in_another_project_is_a_conflict(
    bench: Bench, made: Environment
) -> None:
    elsewhere = await bench.clients.rafay.create_project(fresh(), "made by hand")
    await bench.clients.rafay.create_cluster(elsewhere.id, made.derived_name, {}, "minimal")
    failure = await bench.ensuring(StepName.IMPORT, made).failure()
    assert failure.type == ErrorType.CONFLICT.value
    assert "another project" in failure.message
    await bench.remove(StepName.IMPORT, made, force=True)
    assert bench.systems.counts(made)["cluster"] == 1, "it has removed a stranger's"


async def test_a_cancelled_import_ends_within_seconds_and_can_be_undone(
    bench: Bench, made: Environment
) -> None:
    bench.systems.faults(Fault(operation="agent.checkin", kind=FaultKind.STATUS, status=503))
    running = await bench.ensuring(StepName.IMPORT, made).says("ClusterRegister")
    running.cancel()
    async with soon("a cancelled import is waited for"):
        assert (await running.failure()).type == ErrorType.INTERRUPTED.value
    await bench.remove(StepName.IMPORT, made)
    assert "cluster" not in bench.systems.counts(made)


async def test_a_cluster_whose_agent_answers_is_deregistered_by_it(bench: Bench, made: Environment) -> None:
    await bench.ensure(StepName.IMPORT, made)
    result = await bench.remove(StepName.IMPORT, made)
    assert result.note == f"deregistered cluster {made.derived_name}"


async def test_a_cluster_whose_agent_never_reported_is_deregistered_by_force(
    bench: Bench, environment: Environment
) -> None:
    project = await bench.clients.rafay.create_project(environment.derived_name, environment.mark.text)
    mark = environment.mark.labels
    await bench.clients.rafay.create_cluster(project.id, environment.derived_name, mark, "minimal")
    result = await bench.remove(StepName.IMPORT, environment)
    assert result.note == f"deregistered cluster {environment.derived_name} by force"


async def test_an_agent_that_does_not_answer_is_given_its_time_and_then_force(
    bench: Bench, made: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_import, "AGENT_TIMEOUT", timedelta(seconds=1))
    await bench.ensure(StepName.IMPORT, made)
    bench.systems.faults(Fault(operation="agent.*", kind=FaultKind.STATUS, status=503))
    running = bench.removing(StepName.IMPORT, made)
    failure = await running.failure()
    assert failure.type == ErrorType.NOT_YET.value
    assert "the agent's answer" in failure.message
    assert failure.non_retryable, "it would hold up the pass in which its vCluster goes"
    await bench.remove(StepName.IMPORT, made, force=True)
    assert "cluster" not in bench.systems.counts(made)


class _Refusing:
    """A virtual cluster that refuses what it is given and quotes all of it."""

    async def apply(self, manifests: Sequence[Manifest], labels: Mapping[str, str]) -> None:
        raise Rejected("vCluster", "apply Secret agent", f"invalid: {manifests}")


class _RefusingHost(SimulatedHost):
    @asynccontextmanager
    async def virtual_cluster(self, kubeconfig: Kubeconfig) -> AsyncIterator[Any]:  # type: ignore[override]
        yield _Refusing()


async def test_what_a_virtual_cluster_quotes_of_a_manifest_is_hidden(bench: Bench, made: Environment) -> None:
    host = _RefusingHost(HOST, bench.systems.host, TOKEN, timeout=TIMEOUT)
    step = ImportStep(bench.clients.rafay, {HOST: host})
    failure = await Running(step.ensure, EnsureInput(environment=made)).failure()
    await host.close()
    assert (failure.type, failure.non_retryable) == (ErrorType.INVALID_REQUEST.value, True)
    assert "apply Secret agent" in failure.message
    [[token]] = bench.systems.query(
        "rafay.sqlite", "SELECT token FROM clusters WHERE name = :name", made.derived_name
    )
    for length in (len(token), 8):
        assert token[:length] not in failure.message, "the agent's token is in the error"


def a_manifest(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "agent"}, **more}


def test_a_manifest_of_expected_kinds_is_accepted() -> None:
    own_kind = {
        "apiVersion": "cluster.rafay.dev/v2",
        "kind": "Cluster",
        "metadata": {"name": "x"},
    }
    bootstrap = BootstrapManifest(yaml.safe_dump_all([a_manifest(), None, own_kind]))
    assert [manifest["kind"] for manifest in bootstrap.manifests()] == ["Secret", "Cluster"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("---\n---\n", "empty"),
        (f"token: {SECRET}\n  - : {{", "not YAML"),
        pytest.param("[" * 200_000, "is nested in more than 100 levels", id="nested without an end"),
        pytest.param(bomb(14), "holds aliases that add more than", id="aliases without an end"),
        (f"!!python/object/apply:os.system ['{SECRET}']", "no Kubernetes object"),
        (SECRET, "no Kubernetes object"),
        (yaml.safe_dump({"kind": "Secret", "token": SECRET}), "lacks apiVersion"),
        (yaml.safe_dump(a_manifest(metadata={"token": SECRET})), "metadata.name"),
        (yaml.safe_dump(a_manifest(kind="Pod", token=SECRET)), "Pod of v1"),
        (yaml.safe_dump(a_manifest(kind="Cluster", apiVersion="evil-rafay.dev/v1")), "Cluster of evil"),
    ],
)
def test_a_manifest_that_is_not_what_it_should_be_is_refused_without_being_quoted(
    text: str, why: str
) -> None:
    with pytest.raises(NotAccepted, match=why) as refusal:
        BootstrapManifest(text)
    seen: BaseException | None = refusal.value
    while seen:
        assert SECRET not in str(seen), "the manifest is quoted"
        seen = seen.__context__


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML was built without its loader in C")
def test_a_manifest_is_not_read_with_the_slow_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> None:
        pytest.fail("it is read with the loader in Python, which takes ten times as long")

    text = yaml.safe_dump(a_manifest())
    monkeypatch.setattr(yaml.scanner.Scanner, "__init__", slow)
    assert len(BootstrapManifest(text).manifests()) == 1


async def test_other_steps_go_on_while_a_large_manifest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    began, seen = threading.Event(), threading.Event()
    read = read_all_yaml

    def slowly(text: str) -> list[Any]:
        began.set()
        # The event loop lets it go on; one that stands still cannot.
        assert seen.wait(HANG), "all other steps stand still while a large manifest is read"
        return read(text)

    monkeypatch.setattr(bootstrap_module, "read_all_yaml", slowly)
    large = yaml.safe_dump(a_manifest(stringData={"certificate": "x" * PARSE_IN_THREAD_FROM}))
    reading = asyncio.create_task(BootstrapManifest.read(large))
    while not began.is_set():  # noqa: ASYNC110 - it is set by a thread
        await asyncio.sleep(0.01)
    seen.set()
    assert len((await reading).manifests()) == 1


async def test_a_large_manifest_is_refused_like_a_small_one() -> None:
    with pytest.raises(NotAccepted, match="Pod of v1"):
        await BootstrapManifest.read(yaml.safe_dump(a_manifest(kind="Pod", token="x" * PARSE_IN_THREAD_FROM)))


@pytest.mark.parametrize(
    ("written", "is_read"),
    [
        ("2019-01-01T00:00:00Z", "2019-01-01T00:00:00Z"),
        ("2024-05-01", "2024-05-01"),
        ("0000-00-00", "0000-00-00"),
        ("22:30", "22:30"),
        ("0o17", 15),
        ("1e3", 1000),
        ("y", True),
    ],
)
def test_a_manifest_is_read_as_kubernetes_reads_it(written: str, is_read: object) -> None:
    """Ensures that all of it can be sent, and is what kubectl would send."""
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n"
    [manifest] = BootstrapManifest(
        f"{head}  creationTimestamp: {written}\ndata: {{window: {written}}}"
    ).manifests()
    assert json.loads(json.dumps(manifest))["data"] == {"window": is_read}


def test_a_manifest_shows_nothing_of_itself() -> None:
    bootstrap = BootstrapManifest(yaml.safe_dump(a_manifest(stringData={"token": SECRET})))
    assert SECRET not in repr(bootstrap)
    assert SECRET not in str(bootstrap)


def test_words_of_a_manifest_are_hidden_also_where_a_text_was_cut() -> None:
    bootstrap = BootstrapManifest(
        yaml.safe_dump(a_manifest(stringData={"certificate": f"BEGIN\n{SECRET}\nEND"}))
    )
    assert bootstrap.hide(f"invalid: BEGIN {SECRET} END") == "invalid: BEGIN (hidden) END"
    half = len(SECRET) // 2
    for cut in (f"invalid: {SECRET[:half]}{CUT}the end", f"invalid: x{CUT}{SECRET[half:]} the end"):
        hidden = bootstrap.hide(cut)
        assert SECRET[:half] not in hidden
        assert SECRET[half:] not in hidden
        assert hidden == "invalid: (hidden) end" if SECRET[:half] in cut else "invalid: (hidden) the end"
