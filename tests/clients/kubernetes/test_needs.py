"""What a chart needs on a host, held against what the role of deploy/rbac.yaml has."""

from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from aiohttp import web

from clients.errors import Rejected
from clients.host.models import Chart
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.release.chart_permissions import missing_chart_permissions
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.vcluster_options import HostOptions
from clients.safe_yaml import write_yaml
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_api import status
from tests.clients.kubernetes.test_networks import a_host
from tests.clients.test_safe_yaml import bomb, nested
from tests.support.stand_ins import CHECKOUT

ALL = ["create", "delete", "patch", "update", "get", "list", "watch"]


def role(
    group: str, resource: str, verbs: list[str] = ALL, kind: str = "Role", **more: Any
) -> dict[str, Any]:
    rule = {"apiGroups": [group], "resources": [resource], "verbs": verbs, **more}
    return thing(kind, "rbac.authorization.k8s.io/v1", rules=[rule])


def thing(kind: str, version: str = "v1", namespace: str | None = "n", **more: Any) -> dict[str, Any]:
    metadata = {"name": "x", **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def shipped() -> list[dict[str, Any]]:
    """The rules of the role that is bound in the namespaces of environments."""
    documents = yaml.safe_load_all((CHECKOUT / "deploy" / "rbac.yaml").read_text())
    [found] = [
        each["rules"]
        for each in documents
        if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", "moorage-environment")
    ]
    rules: list[dict[str, Any]] = found
    return rules


def rendered(*objects: dict[str, Any]) -> dict[str, str]:
    return {f"templates/{number}.yaml": write_yaml(each) for number, each in enumerate(objects)}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        # What the chart makes as it comes.
        (role("", "pods"), ""),
        (role("", "pods/exec"), ""),
        (role("", "pods/status", ["patch", "update"]), ""),
        (role("apps", "replicasets", ["patch", "update", "get", "list", "watch"]), ""),
        (role("coordination.k8s.io", "leases"), ""),
        (thing("StatefulSet", "apps/v1"), ""),
        (thing("Service"), ""),
        (thing("ServiceAccount", namespace=None), ""),
        # What it makes when values ask for it.
        (role("networking.k8s.io", "ingresses"), "ingresses.networking.k8s.io (sync.toHost.ingresses or"),
        (role("networking.k8s.io", "networkpolicies"), "delete, update, watch networkpolicies"),
        (role("policy", "poddisruptionbudgets"), "poddisruptionbudgets.policy (sync.toHost.podDisruption"),
        (role("", "serviceaccounts"), "watch serviceaccounts (sync.toHost.serviceAccounts)"),
        (role("metrics.k8s.io", "pods", ["get"]), "get pods.metrics.k8s.io (integrations.metricsServer)"),
        (role("example.com", "things"), "things.example.com"),
        (role("", "*"), "create, delete, patch, update, get, list, watch *"),
        (role("", "pods", ["*"]), "* pods"),
        (role("", "nodes", ["get"]), "get nodes"),
        (thing("Ingress", "networking.k8s.io/v1"), "create, get, delete ingresses.networking.k8s.io"),
        (thing("PodDisruptionBudget", "policy/v1"), "create, get, delete poddisruptionbudgets.policy"),
        (thing("ServiceMonitor", "monitoring.coreos.com/v1"), "servicemonitors.monitoring.coreos.com"),
        # Nothing of the whole cluster, and nothing elsewhere.
        (role("", "nodes", kind="ClusterRole"), "ClusterRole x for the whole cluster (sync.fromHost.nodes)"),
        (
            role("scheduling.k8s.io", "priorityclasses", kind="ClusterRole"),
            "ClusterRole x for the whole cluster (sync.toHost.priorityClasses)",
        ),
        (thing("PriorityClass", "scheduling.k8s.io/v1", None), "PriorityClass x for the whole cluster"),
        (role("", "secrets") | {"metadata": {"name": "x", "namespace": "o"}}, "Role x in another namespace"),
    ],
)
def test_what_the_role_that_is_shipped_lacks(made: dict[str, Any], words: str) -> None:
    """Ensures that what is lacking is named with the values that ask for it, and nothing else."""
    found = missing_chart_permissions(rendered(made), shipped(), "n")
    assert bool(found) is bool(words), found
    assert words in "; ".join(found)


@pytest.mark.parametrize(
    ("names", "held_names", "is_held"),
    [(["a"], ["a", "b"], True), (["a"], None, True), (["a", "c"], ["a", "b"], False), (None, ["a"], False)],
)
def test_a_right_to_things_by_name(
    names: list[str] | None, held_names: list[str] | None, is_held: bool
) -> None:
    """Ensures that a right to some is none to others, nor to all."""

    def rule(some: list[str] | None) -> dict[str, Any]:
        more = {"resourceNames": some} if some else {}
        return {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], **more}

    held = [*shipped()[5:], rule(held_names)]
    held = [each for each in held if "secrets" not in each["resources"] or each == rule(held_names)]
    held.append({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["*"]})
    made = thing("Role", "rbac.authorization.k8s.io/v1", rules=[rule(names)])
    assert (missing_chart_permissions(rendered(made), held, "n") == []) is is_held


class Rendering:
    """In place of Helm: it takes every value, and renders the given objects."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = objects
        self.calls = 0
        self.checked: list[dict[str, Any]] = []

    async def check(self, _chart: Chart, values: dict[str, Any]) -> None:
        self.checked.append(values)
        if "refused" in values:
            raise Rejected("helm", "check", "the schema does not allow it")

    async def render(self, namespace: str, *_: Any) -> dict[str, str]:
        self.calls += 1
        return rendered(
            *(each | {"metadata": {**each["metadata"], "namespace": namespace}} for each in self.objects)
        )


def host_with(helm: Rendering, tmp_path: Path, server: tuple[Server, int]) -> KubernetesHost:
    return a_host(tmp_path, server, HostOptions(), cast(Helm, helm))


@pytest.mark.parametrize(
    "scalar",
    [
        "0000-00-00",
        "2023-02-30",
        "2019-01-01T00:00:00Z",
        "=",
        "22:30",
        "0o17",
        "1e3",
        "1_000",
        "<<",
        "~",
    ],
)
def test_any_scalar_that_helm_renders_is_read(scalar: str) -> None:
    """Ensures that a scalar which YAML 1.1 takes for a time, or for nothing at all, hides no object."""
    text = f"{write_yaml(role('policy', 'poddisruptionbudgets'))}more: {scalar}\n"
    [missing] = missing_chart_permissions({"a.yaml": f"---\n{text}---\n# no more\n"}, shipped(), "n")
    assert "poddisruptionbudgets.policy" in missing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(14), "the rendered chart holds aliases that add more than 1048576 characters"),
        (nested(100_000), "the rendered chart is nested in more than 100 levels"),
        ("a: .inf", "the rendered chart holds a number that JSON does not have"),
        ("a: [", "the rendered chart is not YAML"),
    ],
    ids=["aliases", "depth", "infinite", "no-yaml"],
)
async def test_a_chart_that_kubernetes_would_not_read_is_refused(
    tmp_path: Path, server: tuple[Server, int], text: str, words: str
) -> None:
    """Ensures that the chart is named as the cause, before it holds the process or ends it."""

    class Raw(Rendering):
        async def render(self, namespace: str, *_: Any) -> dict[str, str]:
            return {"a.yaml": text}

    host = host_with(Raw(), tmp_path, server)
    server[0].answer = lambda _: web.json_response({"rules": shipped()})
    with pytest.raises(Rejected) as refused:
        await host.check_release(Chart(None, "c", "1"), {})
    assert words in str(refused.value)
    await host.close()


async def test_values_that_a_chart_has_accepted_are_checked_once(
    tmp_path: Path, server: tuple[Server, int]
) -> None:
    """Ensures that other values and another version are, and that a refusal is not remembered."""
    helm = Rendering()
    host = host_with(helm, tmp_path, server)
    server[0].answer = lambda _: web.json_response({"rules": shipped()})
    for version, values in (("1", {}), ("1", {}), ("1", {"a": 1}), ("2", {}), ("2", {})):
        await host.check_release(Chart(None, "c", version), values)
    assert helm.checked == [{}, {"a": 1}, {}]
    for _ in range(2):
        with pytest.raises(Rejected, match="the schema does not allow it"):
            await host.check_release(Chart(None, "c", "1"), {"refused": True})
    assert len(helm.checked) == 5
    await host.close()


async def test_a_chart_that_needs_more_is_refused_before_anything_is_made(
    tmp_path: Path, server: tuple[Server, int]
) -> None:
    """Ensures that the role is read, the sentence says what to do, and a second time renders nothing."""
    helm = Rendering(role("policy", "poddisruptionbudgets"))
    host = host_with(helm, tmp_path, server)
    server[0].answer = lambda _: web.json_response({"rules": shipped()})
    for name in ("one", "other"):
        values = {"exportKubeConfig": {"server": name}, "controlPlane": {"proxy": {"extraSANs": [name]}}}
        with pytest.raises(Rejected, match=r"poddisruptionbudgets\.policy .*deploy/rbac\.yaml"):
            await host.check_release(Chart(None, "c", "1"), values)
    assert helm.calls == 1
    # Once it is allowed, it is.
    more = {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ALL}
    server[0].answer = lambda _: web.json_response({"rules": [*shipped(), more]})
    await host.check_release(Chart(None, "c", "1"), {})
    await host.close()


@pytest.mark.parametrize(
    "answer",
    [
        status(404, "not found", "NotFound"),
        status(403, 'User "w" cannot get resource "clusterroles" in API group "x"', "Forbidden"),
    ],
    ids=["no-such-role", "not-ours-to-read"],
)
async def test_a_release_is_not_refused_where_the_role_cannot_be_read(
    tmp_path: Path, server: tuple[Server, int], answer: Any
) -> None:
    """Ensures that an unreadable role refuses nothing: the install reports a missing permission."""
    host = host_with(Rendering(role("policy", "poddisruptionbudgets")), tmp_path, server)
    server[0].answer = lambda request: (
        web.Response(text="ok") if request.path == "/readyz" else answer(request)
    )
    await host.check_release(Chart(None, "c", "1"), {})
    await host.close()
