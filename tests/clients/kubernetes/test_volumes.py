"""PersistentVolumes as the client reads and gives them up, and rights that are taken again."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from aiohttp import web

from clients.errors import Denied
from clients.host.models import PersistentVolume
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Server

VOLUME = PersistentVolume("pv", "u", True, True, datetime(2026, 1, 2, tzinfo=UTC))
FORBIDDEN = 'User "w" cannot list resource "pods" in API group ""'


@pytest.fixture
async def host(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesHost]:
    path = tmp_path / "kubeconfig"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server[1]}"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(document))
    never = cast(Helm, None)
    host = KubernetesHost("h", CredentialSource(path), never, HostOptions(), timeout=timedelta(seconds=5))
    yield host
    await host.close()


def volume(name: str, namespace: str | None, policy: str = "Retain", phase: str = "Released") -> Any:
    claim = {"claimRef": {"namespace": namespace, "name": "data"}} if namespace else {}
    return {
        "metadata": {"name": name, "uid": f"u-{name}", "creationTimestamp": "2026-01-02T00:00:00Z"},
        "spec": {"persistentVolumeReclaimPolicy": policy, **claim},
        "status": {"phase": phase},
    }


async def test_volumes_are_found_by_the_namespace_of_their_claim(
    host: KubernetesHost,
    server: tuple[Server, int],
) -> None:
    items = [
        volume("a", "mrg-x"),
        volume("b", "mrg-x", "Delete", "Bound"),
        volume("c", "mrg-y"),
        volume("d", None),
    ]
    server[0].answer = lambda _: web.json_response({"items": items})
    made = datetime(2026, 1, 2, tzinfo=UTC)
    assert await host.persistent_volumes("mrg-x") == [
        PersistentVolume("a", "u-a", retained=True, released=True, made_at=made),
        PersistentVolume("b", "u-b", retained=False, released=False, made_at=made),
    ]


async def test_a_volume_is_given_up_by_its_policy_and_only_that_very_one(
    host: KubernetesHost,
    server: tuple[Server, int],
) -> None:
    await host.delete_retained_volume(VOLUME)
    [asked] = server[0].asked
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/persistentvolumes/pv")
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert json.loads(await asked.text()) == {
        "metadata": {"uid": "u"},
        "spec": {"persistentVolumeReclaimPolicy": "Delete"},
    }


async def test_the_right_to_volumes_is_named_when_it_is_missing(
    host: KubernetesHost,
    server: tuple[Server, int],
) -> None:
    server[0].answer = lambda _: web.json_response({"status": {"allowed": True}})
    await host.require_volume_permission()
    server[0].answer = lambda _: web.json_response({"status": {"allowed": False}})
    with pytest.raises(Denied, match=r"moorage-volumes .* may not patch persistentvolumes"):
        await host.require_volume_permission()


def answers(bound: bool, refusals: int) -> Callable[[web.Request], web.StreamResponse]:
    """Of an API server whose authorizer learns of a binding only after a few questions."""
    left = [refusals]

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response(text="ok")
        if request.path.endswith("/selfsubjectreviews"):
            return web.json_response({"status": {"userInfo": {"username": "w"}}})
        if request.path.endswith("/rolebindings"):
            return web.json_response({"reason": "AlreadyExists"}, status=409 if bound else 201)
        if left[0]:
            left[0] -= 1
            return web.json_response({"message": FORBIDDEN, "reason": "Forbidden"}, status=403)
        return web.json_response({"items": []})

    return answer


@pytest.mark.parametrize("bound", [True, False], ids=["still-there", "removed"])
async def test_rights_are_taken_again_where_they_were_removed(
    host: KubernetesHost,
    server: tuple[Server, int],
    bound: bool,
) -> None:
    server[0].answer = answers(bound, refusals=3)
    await host.ensure_role_binding("mrg-x", {"mark": "ours"})
    paths = [(each.method, each.path) for each in server[0].asked if each.path != "/readyz"]
    made = [each for each in server[0].asked if each.method == "POST" and each.path.endswith("/rolebindings")]
    assert [json.loads(await each.text())["metadata"]["labels"] for each in made] == [{"mark": "ours"}]
    used = paths[-1] == ("GET", "/api/v1/namespaces/mrg-x/pods")
    assert used is not bound, "after a new binding, and only then, it waits until it is good for something"
