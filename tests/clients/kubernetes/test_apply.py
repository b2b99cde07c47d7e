"""The apply of objects in a namespace of a Kubernetes host: bindings first, and all else at the same time."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clients.errors import Rejected
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_networks import a_host

NAMESPACE = "mrg-standby-1"


@pytest.fixture
async def host(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesHost]:
    client = a_host(tmp_path, server, HostOptions())
    yield client
    await client.close()


def an_object(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": {"owner": "now"}}}


def existing(request: web.Request) -> web.StreamResponse:
    """Every object is there already."""
    if request.method == "POST":
        return web.json_response({"message": "it exists", "reason": "AlreadyExists"}, status=409)
    return web.json_response({})


async def test_a_binding_that_exists_gets_the_labels_of_its_new_owner(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    server[0].answer = existing
    bindings = ["moorage-environment", "moorage-kubeconfig"]
    await host.apply(NAMESPACE, [an_object("RoleBinding", name) for name in bindings])
    patched = {
        each.path.rpartition("/")[2]: json.loads(each._read_bytes or b"")["metadata"]["labels"]
        for each in server[0].asked
        if each.method == "PATCH"
    }
    assert patched == {key: {"owner": "now"} for key in bindings}


async def test_a_new_binding_is_made_before_all_else(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    objects = [an_object("RoleBinding", "moorage-environment"), an_object("LimitRange", "moorage")]
    await host.apply(NAMESPACE, objects)
    asked = [(each.method, each.path.rpartition("/")[2]) for each in server[0].asked]
    assert [one for one in asked if one[0] != "GET"] == [("POST", "rolebindings"), ("PATCH", "moorage")]


async def test_the_others_are_applied_at_the_same_time(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    names = ["one", "two", "three"]
    asked: set[str] = set()
    all_asked = asyncio.Event()

    async def wait(request: web.Request) -> None:
        asked.add(request.path.rpartition("/")[2])
        if asked == set(names):
            all_asked.set()
        await all_asked.wait()

    server[0].wait = wait
    await host.apply(NAMESPACE, [an_object("NetworkPolicy", name) for name in names])


async def test_one_that_is_refused_is_reported_once_all_calls_are_over(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    is_over = []

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/refused"):
            return web.json_response({"message": "no", "reason": "Invalid"}, status=422)
        is_over.append(True)
        return web.json_response({})

    async def wait(request: web.Request) -> None:
        await asyncio.sleep(0 if request.path.endswith("/refused") else 0.05)

    server[0].answer, server[0].wait = answer, wait
    with pytest.raises(Rejected, match="refused"):
        await host.apply(NAMESPACE, [an_object("NetworkPolicy", name) for name in ("refused", "other")])
    assert is_over
