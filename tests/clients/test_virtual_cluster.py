"""The first call with a kubeconfig: the client of the API server inside a vCluster, and real kubectl."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from clients.errors import Denied, NotFound, Rejected, ServerFailed, Throttled
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Chart, Manifest
from clients.host.protocol import Host, VirtualCluster
from clients.virtual_cluster import VirtualClusterApi
from contracts.templates.supported_charts import NEWEST_TESTED
from embedded.faults import CALLS_PATH, Fault, FaultKind
from embedded.host.tls import server_certificate
from tests.support.simulated_host import RunningHost, running_host
from tests.support.stand_ins import control, set_faults
from tests.support.virtual_access import VirtualCaller, new_key, pem_of

CHART = Chart(None, "vcluster", NEWEST_TESTED)
VALUES = {"controlPlane": {"distro": {"k8s": {"version": "v1.35.2"}}}}
LABELS = {"moorage.dev/name": "demo"}

INNER = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "inner", "labels": {"its": "own"}}}
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "config", "namespace": "inner"},
    "data": {"answer": "42"},
}
ROLE = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"}}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.example.com"},
    "spec": {"group": "example.com"},
}
BOAT = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "one"}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    with running_host(tmp_path_factory.mktemp("host")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults_left(running: RunningHost) -> Iterator[None]:
    yield
    set_faults(running.url)


@pytest.fixture
async def host(running: RunningHost) -> AsyncIterator[Host]:
    client = running.client()
    yield client
    await client.close()


async def new_kubeconfig(host: Host, namespace: str | None = None) -> Kubeconfig:
    """Return the kubeconfig of a new vCluster `demo`, in a new namespace unless one is given."""
    if namespace is None:
        namespace = f"moor-{uuid4().hex[:10]}"
        await host.create_namespace(namespace, {}, {})
    await host.install_release(namespace, "demo", CHART, VALUES, {})
    kubeconfig = await host.kubeconfig(namespace, "demo")
    assert kubeconfig is not None
    return kubeconfig


@pytest.fixture
async def kubeconfig(host: Host) -> Kubeconfig:
    return await new_kubeconfig(host)


@pytest.fixture
async def virtual(host: Host, kubeconfig: Kubeconfig) -> AsyncIterator[VirtualCluster]:
    async with host.virtual_cluster(kubeconfig) as virtual:
        yield virtual


async def is_let_in(host: Host, kubeconfig: Kubeconfig) -> bool:
    async with host.virtual_cluster(kubeconfig) as virtual:
        try:
            return await virtual.ready()
        except Denied:
            return False


class TestKubeconfig:
    async def test_shows_nothing_of_its_text(self, kubeconfig: Kubeconfig) -> None:
        token = kubeconfig.current()[1]["token"]
        shown = f"{kubeconfig} {kubeconfig!r}"
        assert token in kubeconfig.text()
        assert token not in shown
        assert "hidden" in shown
        with pytest.raises(TypeError):
            json.dumps(kubeconfig)
        with pytest.raises(TypeError, match="not serialized"):
            kubeconfig.__reduce__()

    async def test_differs_from_others_by_its_fingerprint(self, host: Host, kubeconfig: Kubeconfig) -> None:
        assert re.fullmatch("[0-9a-f]{64}", kubeconfig.fingerprint)
        assert kubeconfig.fingerprint != (await new_kubeconfig(host)).fingerprint
        assert kubeconfig.secret_name == "vc-demo"
        assert kubeconfig.server.startswith("https://127.0.0.1:")

    @pytest.mark.parametrize("text", ["", "a: [", "hidden-text", "current-context: a\ncontexts: []", "[1]"])
    def test_that_is_none_is_refused_without_its_text(self, text: str) -> None:
        with pytest.raises(ValueError, match="Secret vc-demo") as refused:
            Kubeconfig(text, secret_name="vc-demo")
        assert "hidden-text" not in str(refused.value)
        assert refused.value.__context__ is None, "the parser's error shows what it read"

    async def test_of_an_earlier_vcluster_of_the_name_is_refused(self, host: Host) -> None:
        namespace = await host.create_namespace(f"moor-{uuid4().hex[:10]}", {}, {})
        old = await new_kubeconfig(host, namespace.name)
        assert await is_let_in(host, old)
        await host.uninstall_release(namespace.name, "demo")
        assert not await is_let_in(host, old), "deleted did not mean revoked"
        await host.delete_volume(namespace.name, "data-demo-0")
        new = await new_kubeconfig(host, namespace.name)
        assert await is_let_in(host, new)
        assert not await is_let_in(host, old)

    async def test_works_again_when_the_volume_was_left(self, host: Host) -> None:
        namespace = await host.create_namespace(f"moor-{uuid4().hex[:10]}", {}, {})
        old = await new_kubeconfig(host, namespace.name)
        async with host.virtual_cluster(old) as virtual:
            await virtual.apply([INNER], {})
        await host.uninstall_release(namespace.name, "demo")
        new = await new_kubeconfig(host, namespace.name)
        assert new.fingerprint == old.fingerprint
        async with host.virtual_cluster(old) as virtual:
            assert await virtual.find_existing([INNER]) == ["Namespace inner"]


class TestFirstCall:
    async def test_is_answered(self, virtual: VirtualCluster) -> None:
        assert await virtual.ready()
        assert await virtual.version() == "v1.35.2+simulated"

    async def test_with_another_token_is_refused(self, host: Host, kubeconfig: Kubeconfig) -> None:
        token = kubeconfig.current()[1]["token"]
        forged = Kubeconfig(kubeconfig.text().replace(token, "forged"), secret_name="vc-demo")
        async with host.virtual_cluster(forged) as virtual:
            for call in (virtual.ready(), virtual.version(), virtual.apply([INNER], {})):
                with pytest.raises(Denied):
                    await call

    async def test_before_anything_answers_finds_it_not_ready(self) -> None:
        text = {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "a", "user": {"token": "t"}}],
        }
        nowhere = Kubeconfig(yaml.safe_dump(text), secret_name="vc-demo")
        async with VirtualClusterApi(nowhere, timeout=timedelta(seconds=2)) as virtual:
            assert not await virtual.ready()

    async def test_trusts_no_other_authority(
        self, host: Host, kubeconfig: Kubeconfig, tmp_path: Path
    ) -> None:
        server_certificate(tmp_path)  # of another authority
        document = yaml.safe_load(kubeconfig.text())
        authority = base64.b64encode((tmp_path / "ca.pem").read_bytes()).decode()
        document["clusters"][0]["cluster"]["certificate-authority-data"] = authority
        stranger = Kubeconfig(yaml.safe_dump(document), secret_name="vc-demo")
        async with host.virtual_cluster(stranger) as virtual:
            assert not await virtual.ready()

    async def test_may_show_a_client_certificate(
        self, running: RunningHost, kubeconfig: Kubeconfig, tmp_path: Path
    ) -> None:
        key = new_key()
        with VirtualCaller(kubeconfig, running.folder / "ca.pem", tmp_path) as admin:
            certificate = admin.certificate_for(key, "alice@example.com")
        document = yaml.safe_load(kubeconfig.text())
        user = document["users"][0]["user"]
        user["client-certificate-data"] = base64.b64encode(certificate).decode()
        user["client-key-data"] = base64.b64encode(pem_of(key)).decode()
        del user["token"]
        with_certificate = Kubeconfig(yaml.safe_dump(document), secret_name="vc-demo")
        async with VirtualClusterApi(with_certificate, timeout=timedelta(seconds=5)) as virtual:
            assert await virtual.ready()
            with pytest.raises(Denied, match="cannot get resource"):
                await virtual.find_existing([INNER])

        user["client-key-data"] = base64.b64encode(b"hidden-text").decode()
        broken = Kubeconfig(yaml.safe_dump(document), secret_name="vc-demo")
        with pytest.raises(Denied, match="cannot be read") as refused:
            VirtualClusterApi(broken, timeout=timedelta(seconds=5))
        assert refused.value.__context__ is None, "the parser's error shows what it read"


class TestApply:
    async def test_makes_everything_be_there_in_any_order_any_number_of_times(
        self, virtual: VirtualCluster
    ) -> None:
        manifests: list[Manifest] = [CONFIG, INNER, {"apiVersion": "v1", "kind": "List", "items": [ROLE]}]
        assert await virtual.find_existing(manifests) == []
        for _ in range(2):
            await virtual.apply(manifests, LABELS)
            there = ["ConfigMap inner/config", "Namespace inner", "ClusterRole reader"]
            assert await virtual.find_existing(manifests) == there

    async def test_needs_the_namespace_of_an_object(self, virtual: VirtualCluster) -> None:
        with pytest.raises(NotFound, match="inner"):
            await virtual.apply([CONFIG], {})

    @pytest.mark.parametrize(
        "manifest", [{}, {"kind": "Pod"}, {**INNER, "metadata": {}}, {**INNER, "metadata": None}, BOAT]
    )
    async def test_refuses_what_it_does_not_know(
        self, virtual: VirtualCluster, manifest: dict[str, object]
    ) -> None:
        with pytest.raises(Rejected):
            await virtual.apply([manifest], {})

    async def test_is_throttled_by_a_kind_that_was_just_defined(self, virtual: VirtualCluster) -> None:
        with pytest.raises(Throttled, match="does not serve Boat"):
            await virtual.apply([BOAT, DEFINITION], {})
        assert await virtual.find_existing([DEFINITION]) == ["CustomResourceDefinition boats.example.com"]

    async def test_is_struck_by_faults_by_name(self, running: RunningHost, virtual: VirtualCluster) -> None:
        set_faults(
            running.url,
            Fault(operation="virtual.apply", kind=FaultKind.STATUS, status=503, times=1),
            Fault(operation="virtual.version", kind=FaultKind.STATUS, status=503, times=1),
            Fault(operation="virtual.readyz", kind=FaultKind.STATUS, status=503, times=1),
        )
        assert not await virtual.ready()
        with pytest.raises(ServerFailed):
            await virtual.version()
        with pytest.raises(ServerFailed):
            await virtual.apply([INNER], {})
        assert await virtual.find_existing([INNER]) == []
        await virtual.apply([INNER], {})
        assert await virtual.find_existing([INNER]) == ["Namespace inner"]

    async def test_goes_on_where_it_had_to_stop(self, running: RunningHost, virtual: VirtualCluster) -> None:
        manifests = [INNER, CONFIG, ROLE]
        set_faults(
            running.url, Fault(operation="virtual.apply", kind=FaultKind.STATUS, status=503, share=0.5)
        )
        before = control(running.url, "GET", CALLS_PATH).get("virtual.apply", 0)
        failures = 0
        while True:
            try:
                await virtual.apply(manifests, {})
            except ServerFailed:
                failures += 1
            else:
                break
        calls = control(running.url, "GET", CALLS_PATH).get("virtual.apply", 0) - before
        assert calls == len(manifests) + failures, "it has sent again what had been taken"
        set_faults(running.url)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not on the PATH")
class TestKubectl:
    def kubectl(self, folder: Path, kubeconfig: Kubeconfig, *arguments: str) -> str:
        file = folder / "kubeconfig"
        file.write_text(kubeconfig.text())
        command = ["kubectl", "--kubeconfig", str(file), "--cache-dir", str(folder / "cache"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout

    @pytest.mark.slow
    async def test_takes_the_kubeconfig_as_written(
        self, tmp_path: Path, kubeconfig: Kubeconfig, virtual: VirtualCluster
    ) -> None:
        await virtual.apply([INNER, CONFIG], LABELS)
        assert "v1.35.2+simulated" in self.kubectl(tmp_path, kubeconfig, "version")
        names = self.kubectl(tmp_path, kubeconfig, "get", "namespaces", "--output", "name")
        assert names.split() == [
            f"namespace/{name}"
            for name in ("default", "inner", "kube-node-lease", "kube-public", "kube-system")
        ]
        read = self.kubectl(tmp_path, kubeconfig, "get", "cm", "config", "-n", "inner", "--output", "json")
        config = json.loads(read)
        assert (config["data"], config["metadata"]["labels"]) == (CONFIG["data"], LABELS)
        namespace = json.loads(self.kubectl(tmp_path, kubeconfig, "get", "ns", "inner", "-o", "json"))
        assert namespace["metadata"]["labels"] == {"its": "own", **LABELS}, (
            "the labels of the manifest were lost"
        )
