"""Ensures that guards are read with one call for each kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from clients.errors import Denied
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.cluster.account import Account
from clients.kubernetes.namespace.apply import ObjectApplier
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_api import api_at, but_ready, status


@pytest.fixture
async def api(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    api = api_at(server[1], tmp_path)
    yield api
    await api.close()


async def test_every_kind_is_listed_once(api: KubernetesApi, server: tuple[Server, int]) -> None:
    """Ensures that the objects have their kinds, which the items of a list do not."""
    server[0].answer = lambda request: web.json_response({"items": [{"metadata": {"name": request.path}}]})
    found = await ObjectApplier(api, Account(api)).list_guards("mrg-a")
    assert [request.path for request in server[0].asked] == [
        "/api/v1/namespaces/mrg-a/resourcequotas",
        "/api/v1/namespaces/mrg-a/limitranges",
        "/apis/networking.k8s.io/v1/namespaces/mrg-a/networkpolicies",
    ]
    assert [each["kind"] for each in found] == ["ResourceQuota", "LimitRange", "NetworkPolicy"]


async def test_a_list_that_is_refused_is_never_taken_for_empty(
    api: KubernetesApi, server: tuple[Server, int]
) -> None:
    message = 'resourcequotas is forbidden: User "w" cannot list resource "resourcequotas" in API group ""'
    server[0].answer = but_ready(status(403, message, "Forbidden"))
    with pytest.raises(Denied, match="resourcequotas"):
        await ObjectApplier(api, Account(api)).list_guards("mrg-a")
