"""Ensures that a fault in the connection to a host is reported before anything is made there."""

import re
from pathlib import Path
from typing import cast

import pytest
import yaml

from clients.errors import Denied, Unreachable
from clients.helm.chart_store import ChartStore
from clients.host.models import Chart
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.vcluster_options import HostOptions
from embedded.stack.stack import Stack
from starter.catalogue.loader import STARTER_TEMPLATES, load_catalogue
from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments, without_volumes
from tests.e2e.harbour import TIMEOUT
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.stack import unique


@pytest.mark.parametrize("plugin", [False, True], ids=["token", "plugin"])
async def test_what_doctor_finds_on_a_host(
    real: Stack, cluster: Cluster, tmp_path: Path, plugin: bool
) -> None:
    worker = cluster.kubeconfig_of("moorage-worker", tmp_path, plugin=plugin)
    assert re.fullmatch(
        r"Kubernetes v1\.\d+\.\d+\S*, \d+ nodes? ready, volumes of class .+", await _checked(worker)
    )
    # The account of the API may do nothing in the whole cluster.
    api = cluster.kubeconfig_of("moorage-api", tmp_path, plugin=plugin)
    with pytest.raises(
        Denied, match=r"rbac\.yaml is not applied .* create namespaces.*list persistentvolumes"
    ) as lacks:
        await _checked(api)
    assert "moorage-api" in str(lacks.value)


async def test_a_kubeconfig_that_leads_nowhere(real: Stack, cluster: Cluster, tmp_path: Path) -> None:
    path = cluster.kubeconfig_of("moorage-worker", tmp_path)
    document = yaml.safe_load(path.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(Unreachable):
        await _checked(path)


async def test_the_right_to_delete_volumes_is_missed_before_anything_is_made(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name = unique("refused")
    with without_volumes(cluster):
        await alice.request(name, template="volumes-deleted")
        problem = (await alice.until_phase(name, "gone"))["problem"]
    assert problem["step"] == "namespace"
    assert "may not patch persistentvolumes" in problem["cause"]
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}


async def test_the_templates_that_are_shipped_fit_their_chart(cluster: Cluster) -> None:
    charts = ChartStore()
    try:
        for template in load_catalogue(STARTER_TEMPLATES).offered_to([], everything=True):
            repository = cluster.chart_repository or template.chart.repository
            chart = await charts.load("h", Chart(repository, template.chart.name, template.chart.version))
            chart.validate_schema(template.values)
            assert chart.render(template.values, name="x", namespace="x"), template.name
    finally:
        await charts.close()


async def _checked(kubeconfig: Path) -> str:
    """What a host says of itself to whom has this kubeconfig; Helm is not asked."""
    host = _host_of(kubeconfig)
    try:
        return await host.check()
    finally:
        await host.close()


def _host_of(kubeconfig: Path) -> KubernetesHost:
    return KubernetesHost("h", CredentialSource(kubeconfig), cast(Helm, None), HostOptions(), timeout=TIMEOUT)


async def test_the_quota_and_the_limit_range_are_rehearsed(
    real: Stack, cluster: Cluster, tmp_path: Path
) -> None:
    """Ensures that the API server itself accepts both, and that a missing right is named; nothing is made."""
    host = _host_of(cluster.kubeconfig_of("moorage-worker", tmp_path))
    assert await host.find_refused_policies() == []
    await host.close()
    namespace = ("-n", "moorage-dry-run", "-o", "name")
    for kind in ("resourcequotas", "limitranges"):
        assert cluster.run("get", kind, *namespace).strip() == ""
    host = _host_of(cluster.kubeconfig_of("moorage-api", tmp_path))
    refused = await host.find_refused_policies()
    await host.close()
    assert [each.partition(" (")[0] for each in refused] == ["quota", "limit range"]
    assert "lacks the right to create resourcequotas in the namespace moorage-dry-run" in refused[0]
