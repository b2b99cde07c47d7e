"""What a host is asked before anything is made there: rights, version, and whether it lets namespaces in."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from aiohttp import web

from clients.errors import Denied, Rejected
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.cluster.host_check import OLDEST_MINOR
from clients.kubernetes.cluster.permissions import API_SERVER, CLUSTER_WIDE, DNS, VOLUMES, Permission
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Answer, Server
from tests.clients.kubernetes.test_api import status
from tests.support.stand_ins import CHECKOUT


@pytest.fixture
async def host(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesHost]:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server[1]}"}}],
        "users": [{"name": "c", "user": {"token": "planted-token"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    host = KubernetesHost(
        "h", CredentialSource(path), cast(Helm, None), HostOptions(), timeout=timedelta(seconds=5)
    )
    yield host
    await host.close()


def roles() -> dict[str, set[Permission]]:
    """The rights of each role of deploy/rbac.yaml; those of a Role are in its namespace."""
    documents = yaml.safe_load_all((CHECKOUT / "deploy" / "rbac.yaml").read_text())
    return {
        each["metadata"]["name"]: {
            Permission(verb, resource, group, name, each["metadata"].get("namespace", ""))
            for rule in each["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
        }
        for each in documents
        if each["kind"] in ("ClusterRole", "Role")
    }


def test_what_is_asked_for_is_what_is_shipped() -> None:
    """Ensures that every right of deploy/rbac.yaml is asked for, and none that it does not give."""
    assert set(CLUSTER_WIDE) == roles()["moorage-worker"]
    assert {VOLUMES} == roles()["moorage-volumes"]
    assert set(DNS) == roles()["moorage-dns"]
    assert set(API_SERVER) == roles()["moorage-api-server"]


def test_what_a_namespace_is_made_with_it_has_to_its_end() -> None:
    """Ensures that no role lets our account change a namespace, so that what its making asks for stays so."""
    rights = {right for each in roles().values() for right in each}
    assert Permission("create", "namespaces") in rights, "the rights are not read: this would prove nothing"
    changing = [
        str(right)
        for right in rights
        if right.resource.partition("/")[0] in ("namespaces", "*") and right.verb in ("update", "patch", "*")
    ]
    assert changing == [], "with the worker's account one could take the pod security off a namespace again"


def answering(version: str, *, lacking: str = "") -> Answer:
    """An API server of this version that refuses all on one resource."""

    def answer(request: web.Request) -> web.StreamResponse:
        content: dict[str, Any] = {"gitVersion": version, "items": []}
        if request.path.endswith("selfsubjectreviews"):
            content = {"status": {"userInfo": {"username": "system:serviceaccount:moorage:moorage-worker"}}}
        if request.path.endswith("selfsubjectaccessreviews"):
            asked = json.loads(request._read_bytes or b"")["spec"]["resourceAttributes"]
            content = {"status": {"allowed": asked["resource"] != lacking}}
        if request.path.endswith("/nodes"):
            content = {"items": [{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}
        return web.json_response(content)

    return answer


async def test_missing_rights_are_listed_in_full(server: tuple[Server, int], host: KubernetesHost) -> None:
    """Ensures that each right that is missing is named, and only those."""
    server[0].answer = answering("v1.36.0", lacking="namespaces")
    missing = [f"{verb} namespaces" for verb in ("create", "get", "list", "delete")]
    assert await host.missing_permissions() == missing
    server[0].answer = answering("v1.36.0")
    assert await host.missing_permissions() == []


@pytest.mark.parametrize("version", ["v1.29.9", "v1.9.0"])
async def test_too_old(server: tuple[Server, int], host: KubernetesHost, version: str) -> None:
    """Ensures that a version without admission policies is refused with the oldest that will do."""
    server[0].answer = answering(version)
    with pytest.raises(Rejected, match=rf"{version}.*oldest.*1\.{OLDEST_MINOR}"):
        await host.check()


@pytest.mark.parametrize("version", [f"v1.{OLDEST_MINOR}.0", "v1.36.0+k3s1", "v2.0.0"])
async def test_new_enough(server: tuple[Server, int], host: KubernetesHost, version: str) -> None:
    """Ensures that newer versions, and those of distributions, are taken."""
    server[0].answer = answering(version)
    assert await host.check() == f"Kubernetes {version}, 1 node ready, no default storage class"


async def test_a_host_without_tls_is_warned_about(server: tuple[Server, int], tmp_path: Path) -> None:
    """Ensures that the host can be used, as kubectl uses it, and that the summary says what is at risk."""
    cluster = {"server": "http://api.example.com", "proxy-url": f"http://127.0.0.1:{server[1]}"}
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": {"token": "planted-token"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    host = KubernetesHost(
        "h", CredentialSource(path), cast(Helm, None), HostOptions(), timeout=timedelta(seconds=5)
    )
    server[0].answer = answering("v1.36.0")
    found = await host.check()
    await host.close()
    assert found == (
        "Kubernetes v1.36.0, 1 node ready, no default storage class; warning: its credentials are sent to "
        "http://api.example.com unencrypted: use https:// in the kubeconfig"
    )


async def test_dry_run_creates_nothing(server: tuple[Server, int], host: KubernetesHost) -> None:
    """Ensures that the namespace is asked for dry, with its labels, and that one that is there is as good."""
    server[0].answer = lambda _: web.json_response({})
    await host.dry_run_namespace("mrg-x", {"a": "b"})
    [asked] = server[0].asked
    assert (asked.method, asked.path, asked.query["dryRun"]) == ("POST", "/api/v1/namespaces", "All")
    assert json.loads(asked._read_bytes or b"")["metadata"] == {"name": "mrg-x", "labels": {"a": "b"}}
    server[0].answer = status(409, 'namespaces "mrg-x" already exists', "AlreadyExists")
    await host.dry_run_namespace("mrg-x", {"a": "b"})


async def test_dry_run_reports_denial(server: tuple[Server, int], host: KubernetesHost) -> None:
    """Ensures that the error quotes the message of the admission policy."""
    words = "denied request: not a namespace of the Moorage installation k3x9q0vb"
    server[0].answer = status(403, words, "Forbidden")
    with pytest.raises((Denied, Rejected), match="not a namespace of the Moorage installation k3x9q0vb"):
        await host.dry_run_namespace("mrg-x", {})
