"""The client of the simulated host against the real process: what each host has to do."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from clients.errors import AlreadyExists, Denied, NotFound, Rejected, ServerFailed, Unreachable
from clients.host.models import LABEL_POD_SECURITY, Chart, Namespace, ReleaseStatus
from clients.host.protocol import Host
from contracts.templates.supported_charts import NEWEST_TESTED
from embedded.faults import Fault, FaultKind
from tests.support.deadline import HANG
from tests.support.simulated_host import RunningHost, running_host
from tests.support.stand_ins import control, set_faults

T = TypeVar("T")

CHART = Chart("https://charts.example.com", "vcluster", NEWEST_TESTED)
LABELS = {"moorage.dev/name": "demo", "moorage.dev/life": "0123456789abcdef0123"}
QUOTA = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "size"}, "spec": {}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    # Long enough that what is under way is seen, short enough to wait for.
    with running_host(tmp_path_factory.mktemp("host"), start=0.5, stop=0.4) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults_left(running: RunningHost) -> Iterator[None]:
    yield
    set_faults(running.url)
    control(running.url, "DELETE", "/-/trouble")


@pytest.fixture
async def host(running: RunningHost) -> AsyncIterator[Host]:
    client = running.client()
    yield client
    await client.close()


@pytest.fixture
async def namespace(host: Host) -> Namespace:
    return await host.create_namespace(f"moor-{uuid4().hex[:10]}", LABELS, {})


async def until(read: Callable[[], Awaitable[T]], wanted: Callable[[T], object], seconds: float = HANG) -> T:
    """What `read` gives once it is as wanted; fails with the last of it after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not wanted(value := await read()):
        assert asyncio.get_running_loop().time() < deadline, f"after {seconds:g} s it is still {value!r}"
        await asyncio.sleep(0.05)
    return value


def rows_of(running: RunningHost, namespace: str) -> dict[str, int]:
    """How many rows each table has of this namespace."""
    with closing(sqlite3.connect(running.database)) as rows:
        tables = [name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        column = {table: "name" if table == "namespaces" else "namespace" for table in tables}
        count = "SELECT count(*) FROM {} WHERE {} = ?"
        return {
            table: rows.execute(count.format(table, column[table]), (namespace,)).fetchone()[0]
            for table in tables
        }


async def test_its_version_says_that_it_is_simulated_to_a_caller_with_the_token(
    running: RunningHost, host: Host
) -> None:
    assert (await host.check()).endswith("+simulated")
    stranger = running.client(token="another-token")
    with pytest.raises(Denied) as refused:
        await stranger.check()
    await stranger.close()
    assert "another-token" not in str(refused.value), "the error shows the token"


class TestNamespaces:
    async def test_are_created_once_and_read_as_created(self, host: Host) -> None:
        name = f"moor-{uuid4().hex[:10]}"
        assert await host.get_namespace(name) is None
        created = await host.create_namespace(name, LABELS, {"moorage.dev/owner": "x/y/z"})
        assert (created.labels, created.annotations) == (LABELS, {"moorage.dev/owner": "x/y/z"})
        assert await host.get_namespace(name) == created
        with pytest.raises(AlreadyExists):
            await host.create_namespace(name, {"other": "labels"}, {})
        assert await host.get_namespace(name) == created, "the second create changed the first one's"

    @pytest.mark.parametrize("name", ["Upper", "-a", "a-", "a.b", "", "a" * 64])
    async def test_of_impossible_names_are_refused(self, host: Host, name: str) -> None:
        with pytest.raises(Rejected, match="name"):
            await host.create_namespace(name, {}, {})

    @pytest.mark.parametrize("labels", [{"a": "x/y"}, {"a": "b" * 64}, {"/a": "b"}, {"a b": "c"}])
    async def test_with_impossible_labels_are_refused(self, host: Host, labels: dict[str, str]) -> None:
        with pytest.raises(Rejected, match="labels"):
            await host.create_namespace("moor-labels", labels, {})

    async def test_are_swapped_by_who_has_seen_them_as_they_are(
        self, host: Host, namespace: Namespace
    ) -> None:
        assert await host.swap_namespace(namespace, {"a": "b"}, {"note": "first"})
        assert not await host.swap_namespace(namespace, {"a": "c"}, {"note": "second"})
        there = await host.get_namespace(namespace.name)
        assert there
        assert (there.labels, there.annotations) == ({**LABELS, "a": "b"}, {"note": "first"})
        assert not await host.swap_namespace(replace(there, uid="another-uid"), {}, {})
        assert await host.swap_namespace(there, {}, {"note": None})
        again = await host.get_namespace(namespace.name)
        assert again
        assert again.annotations == {}
        assert not await host.swap_namespace(Namespace("moor-missing", "uid", version="1"), {}, {})

    async def test_go_by_their_uid_in_their_time(
        self, running: RunningHost, host: Host, namespace: Namespace
    ) -> None:
        # It goes when the test has seen all that it wants to see of its end.
        finalizers = f"/-/namespaces/{namespace.name}/finalizers"
        control(running.url, "PUT", finalizers, ["example.com/seen"])
        there = await host.get_namespace(namespace.name)
        with pytest.raises(Rejected, match="UID"):
            await host.delete_namespace(namespace.name, "another-uid")
        assert await host.get_namespace(namespace.name) == there

        for _ in range(2):
            await host.delete_namespace(namespace.name, namespace.uid)
        ending = await host.get_namespace(namespace.name)
        assert ending
        assert ending.terminating
        with pytest.raises(AlreadyExists):
            await host.create_namespace(namespace.name, {}, {})
        with pytest.raises(Rejected, match="terminated"):
            await host.apply(namespace.name, [QUOTA])
        with pytest.raises(Rejected, match="terminated"):
            await host.install_release(namespace.name, "demo", CHART, {}, {})

        control(running.url, "PUT", finalizers, [])
        await until(lambda: host.get_namespace(namespace.name), lambda found: found is None)
        with pytest.raises(NotFound):
            await host.delete_namespace(namespace.name, namespace.uid)
        assert await host.namespace_blockers(namespace.name) == []
        again = await host.create_namespace(namespace.name, {}, {})
        assert again.uid != namespace.uid

    async def test_take_all_that_is_in_them_along(
        self, running: RunningHost, host: Host, namespace: Namespace
    ) -> None:
        await host.apply(namespace.name, [QUOTA])
        await host.install_release(namespace.name, "demo", CHART, {}, LABELS)
        assert rows_of(running, namespace.name)["releases"] == 1
        switch = f"/-/namespaces/{namespace.name}/finalizers"
        control(running.url, "PUT", switch, ["example.com/hold"])
        await host.delete_namespace(namespace.name, namespace.uid)
        assert await host.namespace_blockers(namespace.name)
        control(running.url, "PUT", switch, [])
        await until(lambda: host.get_namespace(namespace.name), lambda found: found is None)
        assert not any(rows_of(running, namespace.name).values())
        assert await host.leftovers(namespace.name, "demo") == []

    async def test_that_are_held_say_by_what(
        self, running: RunningHost, host: Host, namespace: Namespace
    ) -> None:
        switch = f"/-/namespaces/{namespace.name}/finalizers"
        control(running.url, "PUT", switch, ["example.com/hold"])
        await host.delete_namespace(namespace.name, namespace.uid)
        held = ["finalizer example.com/hold"]
        await until(lambda: host.namespace_blockers(namespace.name), lambda found: found == held)
        control(running.url, "PUT", switch, [])
        await until(lambda: host.get_namespace(namespace.name), lambda found: found is None)

    async def test_that_are_not_there_take_no_objects(self, host: Host) -> None:
        with pytest.raises(NotFound):
            await host.apply("moor-nowhere", [QUOTA])


class TestReleases:
    async def test_are_installed_once_and_read_as_installed(self, host: Host, namespace: Namespace) -> None:
        assert await host.get_release(namespace.name, "demo") is None
        await host.install_release(namespace.name, "demo", CHART, {"a": 1}, LABELS)
        release = await host.get_release(namespace.name, "demo")
        assert release
        assert (release.name, release.namespace, release.labels) == ("demo", namespace.name, LABELS)
        assert (release.status, release.chart_version) == (ReleaseStatus.DEPLOYED, NEWEST_TESTED)
        with pytest.raises(AlreadyExists):
            await host.install_release(namespace.name, "demo", CHART, {}, {})

    async def test_left_pending_by_a_killed_helm_are_in_the_way(
        self, running: RunningHost, host: Host, namespace: Namespace
    ) -> None:
        await host.install_release(namespace.name, "demo", CHART, {}, LABELS)
        control(running.url, "PUT", f"/-/namespaces/{namespace.name}/releases/demo/status", "pending")
        release = await host.get_release(namespace.name, "demo")
        assert release
        assert release.status == ReleaseStatus.PENDING
        with pytest.raises(AlreadyExists):
            await host.install_release(namespace.name, "demo", CHART, {}, LABELS)

    @pytest.mark.parametrize(
        ("name", "chart", "labels"),
        [
            ("a" * 54, CHART, {}),
            ("demo", Chart(None, "vcluster", "latest"), {}),
            ("demo", Chart(None, "", NEWEST_TESTED), {}),
            ("demo", CHART, {"owner": "me"}),
        ],
        ids=["long name", "no version", "no chart", "label of Helm's"],
    )
    async def test_that_cannot_be_are_refused(
        self, host: Host, namespace: Namespace, name: str, chart: Chart, labels: dict[str, str]
    ) -> None:
        with pytest.raises(Rejected):
            await host.install_release(namespace.name, name, chart, {}, labels)

    async def test_need_their_namespace(self, host: Host) -> None:
        with pytest.raises(NotFound):
            await host.install_release("moor-nowhere", "demo", CHART, {}, {})

    @pytest.mark.slow
    async def test_start_in_words_and_without_a_kubeconfig(self, tmp_path: Path) -> None:
        # So slow that the first stage is seen on any machine.
        with running_host(tmp_path, start=3600) as slow:
            host = slow.client()
            await host.create_namespace("moor-slow", LABELS, {})
            await host.install_release("moor-slow", "demo", CHART, {}, {})
            first = await host.startup("moor-slow", "demo")
            assert await host.kubeconfig("moor-slow", "demo") is None
            await host.close()
        assert not first.ready
        assert first.failed is None
        assert first.waiting_for == "volume data-demo-0 to be bound (simulated)"

    async def test_get_ready_and_export_the_kubeconfig(self, host: Host, namespace: Namespace) -> None:
        with pytest.raises(NotFound):
            await host.startup(namespace.name, "demo")
        await host.install_release(namespace.name, "demo", CHART, {}, {})
        last = await until(lambda: host.startup(namespace.name, "demo"), lambda startup: startup.ready)
        assert last.waiting_for == ""
        await until(lambda: host.kubeconfig(namespace.name, "demo"), lambda found: found)

    async def test_that_cannot_start_say_why(
        self, running: RunningHost, host: Host, namespace: Namespace
    ) -> None:
        why = "image pull back-off: no such image"
        control(running.url, "PUT", "/-/trouble", {"namespace": namespace.name, "failed": why})
        await host.install_release(namespace.name, "demo", CHART, {}, {})
        startup = await until(lambda: host.startup(namespace.name, "demo"), lambda startup: startup.failed)
        assert (startup.ready, startup.failed) == (False, why)
        assert await host.kubeconfig(namespace.name, "demo") is None

    async def test_leave_their_volumes_until_these_are_deleted(
        self, host: Host, namespace: Namespace
    ) -> None:
        await host.install_release(namespace.name, "demo", CHART, {}, {})
        assert await host.volumes(namespace.name, "demo") == ["data-demo-0"]
        await host.uninstall_release(namespace.name, "demo")
        assert "Pod demo-0" in await host.leftovers(namespace.name, "demo"), "nothing ends in an instant"
        with pytest.raises(NotFound):
            await host.uninstall_release(namespace.name, "demo")
        volume = ["PersistentVolumeClaim data-demo-0"]
        await until(lambda: host.leftovers(namespace.name, "demo"), lambda left: left == volume)

        await host.delete_volume(namespace.name, "data-demo-0")
        assert await host.leftovers(namespace.name, "demo") == []
        with pytest.raises(NotFound):
            await host.delete_volume(namespace.name, "data-demo-0")

    async def test_installed_while_the_last_one_ends_stay(self, host: Host, namespace: Namespace) -> None:
        await host.install_release(namespace.name, "demo", CHART, {}, {})
        await host.uninstall_release(namespace.name, "demo")
        await host.install_release(namespace.name, "demo", CHART, {}, {})
        await asyncio.sleep(0.6)
        await until(lambda: host.startup(namespace.name, "demo"), lambda startup: startup.ready)


class TestTrouble:
    @pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.STATUS_AFTER])
    async def test_after_the_thing_was_done_is_ambiguous_and_the_thing_is_found(
        self, running: RunningHost, host: Host, namespace: Namespace, kind: FaultKind
    ) -> None:
        set_faults(running.url, Fault(operation="release.install", kind=kind, status=504))
        with pytest.raises((Unreachable, ServerFailed)) as failed:
            await host.install_release(namespace.name, "demo", CHART, {}, LABELS)
        assert failed.value.ambiguous
        release = await host.get_release(namespace.name, "demo")
        assert release
        assert release.labels == LABELS

    @pytest.mark.parametrize(
        ("operation", "call"),
        [
            ("host.version", lambda host: host.check()),
            ("namespace.create", lambda host: host.create_namespace("a", {}, {})),
            ("namespace.get", lambda host: host.get_namespace("a")),
            ("namespace.delete", lambda host: host.delete_namespace("a", "uid")),
            ("namespace.blockers", lambda host: host.namespace_blockers("a")),
            ("namespace.apply", lambda host: host.apply("a", [QUOTA])),
            ("release.get", lambda host: host.get_release("a", "demo")),
            ("release.install", lambda host: host.install_release("a", "demo", CHART, {}, {})),
            ("release.uninstall", lambda host: host.uninstall_release("a", "demo")),
            ("startup.get", lambda host: host.startup("a", "demo")),
            ("volume.list", lambda host: host.volumes("a", "demo")),
            ("volume.delete", lambda host: host.delete_volume("a", "data-demo-0")),
            ("namespace.force_delete", lambda host: host.force_delete("a")),
            ("leftovers.get", lambda host: host.leftovers("a", "demo")),
            ("kubeconfig.get", lambda host: host.kubeconfig("a", "demo")),
        ],
    )
    async def test_strikes_the_operation_that_is_named(
        self, running: RunningHost, host: Host, operation: str, call: Callable[[Host], Awaitable[object]]
    ) -> None:
        set_faults(running.url, Fault(operation=operation, kind=FaultKind.STATUS, status=503))
        with pytest.raises(ServerFailed):
            await call(host)


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ({**LABELS, LABEL_POD_SECURITY: "baseline"}, ""),
        ({**LABELS, LABEL_POD_SECURITY: "restricted"}, ""),
        ({**LABELS, LABEL_POD_SECURITY: "privileged"}, "no pod security"),
        (LABELS, "no pod security"),
        ({LABEL_POD_SECURITY: "baseline"}, "no owner label"),
    ],
    ids=["baseline", "restricted", "privileged", "no-pod-security", "no-mark"],
)
async def test_dry_run_requires_what_policies_of_real_hosts_require(
    host: Host, labels: dict[str, str], refused: str
) -> None:
    if refused:
        with pytest.raises(Denied, match=refused):
            await host.dry_run_namespace("moor-dry-run", labels)
    else:
        await host.dry_run_namespace("moor-dry-run", labels)
    assert await host.get_namespace("moor-dry-run") is None, "a dry run has created something"


@pytest.mark.slow
async def test_fifty_at_once_come_and_go(host: Host) -> None:
    async def life(number: int) -> None:
        name = f"moor-many-{number}"
        namespace = await host.create_namespace(name, LABELS, {})
        await host.install_release(name, "demo", CHART, {}, LABELS)
        kubeconfig = await until(lambda: host.kubeconfig(name, "demo"), lambda found: found)
        assert kubeconfig
        async with host.virtual_cluster(kubeconfig) as virtual:
            assert await virtual.ready()
        await host.delete_namespace(name, namespace.uid)
        await until(lambda: host.get_namespace(name), lambda found: found is None)

    await asyncio.gather(*(life(number) for number in range(50)))


async def test_a_vcluster_is_paused_and_resumed(
    host: Host, namespace: Namespace, running: RunningHost
) -> None:
    """Ensures that a pause ends all pods and nothing else, and that the same vCluster comes back."""
    name = namespace.name
    await host.install_release(name, "demo", CHART, {}, LABELS)
    await until(lambda: host.startup(name, "demo"), lambda startup: startup.ready)
    before = await until(lambda: host.kubeconfig(name, "demo"), bool)
    assert before
    assert await host.pause_release(name, "demo"), "pods that end take a while"
    await until(lambda: host.pause_release(name, "demo"), lambda waiting_for: not waiting_for)
    assert not (await host.startup(name, "demo")).ready
    left = await host.leftovers(name, "demo")
    assert left == ["Helm release demo", "Secret vc-demo", "PersistentVolumeClaim data-demo-0"]
    kubeconfig = await host.kubeconfig(name, "demo")
    assert kubeconfig
    assert kubeconfig.fingerprint == before.fingerprint
    async with host.virtual_cluster(kubeconfig) as virtual:
        assert not await virtual.ready()
        assert await host.resume_release(name, "demo") == ""
        await until(lambda: host.startup(name, "demo"), lambda startup: startup.ready)
        assert await virtual.ready()
    assert await host.resume_release(name, "demo") == "", "it is not idempotent"


async def test_a_paused_vcluster_is_uninstalled(host: Host, namespace: Namespace) -> None:
    name = namespace.name
    await host.install_release(name, "demo", CHART, {}, LABELS)
    await until(lambda: host.pause_release(name, "demo"), lambda waiting_for: not waiting_for)
    await host.uninstall_release(name, "demo")
    assert await host.leftovers(name, "demo") == ["PersistentVolumeClaim data-demo-0"]


@pytest.mark.parametrize("method", ["pause_release", "resume_release"])
async def test_a_vcluster_that_is_not_there_is_not_paused(
    host: Host, namespace: Namespace, method: str
) -> None:
    with pytest.raises(NotFound):
        await getattr(host, method)(namespace.name, "demo")
