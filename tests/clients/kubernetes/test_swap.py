"""The compare-and-swap of a namespace on a Kubernetes host: what is sent, and what a lost race returns."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clients.errors import Denied, ServerFailed
from clients.host.models import Namespace
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_networks import a_host

SEEN = Namespace("mrg-standby-1", "uid-1", version="7")


@pytest.fixture
async def host(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesHost]:
    client = a_host(tmp_path, server, HostOptions())
    yield client
    await client.close()


def refuse(status: int, message: str, reason: str) -> Any:
    def answer(request: web.Request) -> web.StreamResponse:
        if request.method != "PATCH":
            return web.json_response({})
        return web.json_response({"message": message, "reason": reason}, status=status)

    return answer


async def test_it_sends_a_merge_patch_with_the_uid_and_version_seen(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    assert await host.swap_namespace(SEEN, {"a": "b"}, {"gone": None, "there": "yes"})
    [patch] = [each for each in server[0].asked if each.method == "PATCH"]
    assert patch.path == "/api/v1/namespaces/mrg-standby-1"
    assert patch.content_type == "application/merge-patch+json"
    assert json.loads(patch._read_bytes or b"") == {
        "metadata": {
            "uid": "uid-1",
            "resourceVersion": "7",
            "labels": {"a": "b"},
            "annotations": {"gone": None, "there": "yes"},
        }
    }


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (409, 'Operation cannot be fulfilled on namespaces "x": the object has been modified', "Conflict"),
        (404, 'namespaces "x" not found', "NotFound"),
    ],
)
async def test_a_lost_race_is_no_error(
    host: KubernetesHost, server: tuple[Server, int], status: int, message: str, reason: str
) -> None:
    server[0].answer = refuse(status, message, reason)
    assert await host.swap_namespace(SEEN, {}, {}) is False


async def test_a_failure_is_in_doubt_and_a_missing_right_is_named(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    server[0].answer = refuse(500, "etcd", "InternalError")
    with pytest.raises(ServerFailed) as failed:
        await host.swap_namespace(SEEN, {}, {})
    assert failed.value.ambiguous
    message = 'namespaces "x" is forbidden: User "w" cannot patch resource "namespaces" in API group ""'
    server[0].answer = refuse(403, message, "Forbidden")
    with pytest.raises(Denied, match="patch namespaces"):
        await host.swap_namespace(SEEN, {}, {})


@pytest.mark.parametrize("allowed", [True, False])
async def test_the_right_to_swap_is_asked_for_in_the_namespace(
    host: KubernetesHost, server: tuple[Server, int], allowed: bool
) -> None:
    server[0].answer = lambda _: web.json_response({"status": {"allowed": allowed}})
    if allowed:
        await host.require_swap_permission("mrg-standby-1")
    else:
        with pytest.raises(
            Denied, match="lacks the right to patch namespaces in the namespace mrg-standby-1"
        ):
            await host.require_swap_permission("mrg-standby-1")
    [asked] = server[0].asked
    assert json.loads(asked._read_bytes or b"")["spec"]["resourceAttributes"] == {
        "verb": "patch", "resource": "namespaces", "group": "", "name": "mrg-standby-1",
        "namespace": "mrg-standby-1",
    }  # fmt: skip
