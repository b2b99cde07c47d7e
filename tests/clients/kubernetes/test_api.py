"""Answers and refusals of an API server, as the errors of our clients; over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from clients.errors import (
    AlreadyExists,
    ClientError,
    DeadlineExceeded,
    Denied,
    MalformedAnswer,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)
from clients.kubernetes.api.client import APPLY, KubernetesApi
from clients.kubernetes.api.refusals import missing_right
from clients.kubernetes.auth.credentials import CredentialSource
from clients.transport.write_deadline import set_deadline_check
from tests.clients.kubernetes.conftest import Answer, Server
from tests.clients.kubernetes.test_access import HANGS, gives, plugin_of
from tests.support.deadline import HANG, soon

FORBIDDEN = (
    'namespaces "x" is forbidden: User "system:serviceaccount:moorage:moorage-worker" cannot delete resource '
    '"namespaces" in API group "" in the namespace "x"'
)
QUOTA = (
    'services "x" is forbidden: exceeded quota: moorage, requested: services.nodeports=1, used: 1, limited: 1'
)
LIMITS = 'pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is 2'
WEBHOOK = 'admission webhook "policy.example" denied the request: Unauthorized registry'
POLICY = "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"
GRANTS = (
    'roles.rbac.authorization.k8s.io "x" is forbidden: user "a" (groups=["b"]) is attempting to grant RBAC '
    'permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'
)
UNREADY = 'pods "x" is forbidden: not yet ready to handle request'
NO_COUNT = 'pods "x" is forbidden: status unknown for quota: moorage, resources: pods'
MODIFIED = (
    'Operation cannot be fulfilled on resourcequotas "moorage": the object '
    "has been modified; please apply your "
    "changes to the latest version and try again"
)
ENDING = "unable to create new content in namespace x because it is being terminated"


def api_at(
    port: int, folder: Path, *, seconds: float = 5, user: dict[str, object] | None = None
) -> KubernetesApi:
    path = folder / "kubeconfig"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "c", "user": user or {"token": "planted-token"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return KubernetesApi("host cluster h", CredentialSource(path), timeout=timedelta(seconds=seconds))


@pytest.fixture
async def api(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    api = api_at(server[1], tmp_path)
    yield api
    await api.close()


def status(code: int, message: str, reason: str = "", **headers: str) -> Answer:
    body = {"kind": "Status", "message": message, "reason": reason}
    return lambda _: web.json_response(body, status=code, headers=headers)


def but_ready(answer: Answer) -> Answer:
    """The answer, from an API server that says of itself that it is ready."""
    return lambda request: web.Response(text="ok") if request.path == "/readyz" else answer(request)


async def test_call(api: KubernetesApi, server: tuple[Server, int]) -> None:
    """Ensures that the credentials, the query and the body arrive as they should."""
    server[0].answer = lambda _: web.json_response({"kind": "Thing"})
    body = {"kind": "Thing", "metadata": {"name": "x"}}
    got = await api.call("PATCH", "/things/x", "apply", query={"fieldManager": "m"}, body=body, content=APPLY)
    asked = server[0].asked[0]
    assert got == {"kind": "Thing"}
    assert asked.headers["Authorization"] == "Bearer planted-token"
    assert asked.headers["Content-Type"] == "application/apply-patch+yaml"
    assert asked.query["fieldManager"] == "m"
    assert json.loads(await asked.text()) == body


@pytest.mark.parametrize(
    ("answer", "kind", "words", "ambiguous"),
    [
        (status(409, "exists", "AlreadyExists"), AlreadyExists, "exists", False),
        (status(409, "the UID is another", "Conflict"), Rejected, "UID", False),
        (status(404, "not found", "NotFound"), NotFound, "not found", False),
        (
            status(403, FORBIDDEN, "Forbidden"),
            Denied,
            "lacks the right to delete namespaces",
            False,
        ),
        (status(403, QUOTA, "Forbidden"), Rejected, "exceeded quota", False),
        (status(403, ENDING, "Forbidden"), Rejected, "being terminated", False),
        (status(422, "invalid", "Invalid"), Rejected, "invalid", False),
        (status(403, LIMITS, "Forbidden"), Rejected, "maximum cpu usage", False),
        (status(403, WEBHOOK, "Forbidden"), Rejected, 'webhook "policy.example"', False),
        (status(401, WEBHOOK, "Unauthorized"), Rejected, 'webhook "policy.example"', False),
        (status(401, POLICY, "Unauthorized"), Rejected, "ValidatingAdmissionPolicy 'p'", False),
        (status(403, GRANTS, "Forbidden"), Denied, "not currently held", False),
        (status(403, 'forbidden: User "a" cannot get path "/x"', "Forbidden"), Denied, "cannot get", False),
        (status(403, UNREADY, "Forbidden"), ServerFailed, "not yet ready", False),
        (status(403, NO_COUNT, "Forbidden"), ServerFailed, "status unknown", False),
        (lambda _: web.Response(text="<html>no</html>", status=403), Denied, "a proxy before it may", False),
        (status(409, MODIFIED, "Conflict"), ServerFailed, "has been modified", False),
        (status(410, "too old", "Expired"), ServerFailed, "too old", False),
        (status(500, "etcd is gone"), ServerFailed, "etcd is gone", True),
        (lambda _: web.Response(text="<html>proxy</html>"), MalformedAnswer, "not JSON", True),
        (lambda _: web.Response(text="<html>proxy</html>", status=502), ServerFailed, "502", True),
    ],
)
async def test_refusals(
    api: KubernetesApi,
    server: tuple[Server, int],
    answer: Answer,
    kind: type[ClientError],
    words: str,
    ambiguous: bool,
) -> None:
    """Ensures that each refusal has its class, its words, and says whether something may have been done."""
    server[0].answer = but_ready(answer)
    with pytest.raises(kind) as error:
        await api.call("POST", "/things", "make a thing", body={})
    assert isinstance(error.value, kind)
    assert words in error.value.detail
    assert error.value.ambiguous is ambiguous
    with pytest.raises(kind) as error:
        await api.call("GET", "/things", "read things")
    assert not error.value.ambiguous


async def test_no_change_is_sent_after_its_deadline(api: KubernetesApi, server: tuple[Server, int]) -> None:
    """Ensures that a change past its deadline is not sent, and that reads still are."""
    server[0].answer = lambda _: web.json_response({})

    async def late() -> None:
        set_deadline_check(lambda: True)
        with pytest.raises(DeadlineExceeded):
            await api.call("POST", "/api/v1/namespaces", "create namespace x", body={})
        await api.get("/version", "read version")

    await asyncio.create_task(late())
    assert [asked.method for asked in server[0].asked] == ["GET"]


async def test_throttled(api: KubernetesApi, server: tuple[Server, int]) -> None:
    """Ensures that the delay that is asked for is carried along."""
    server[0].answer = status(429, "slow down", **{"Retry-After": "7"})
    with pytest.raises(Throttled) as error:
        await api.call("GET", "/things", "read things")
    assert error.value.retry_after == timedelta(seconds=7)


async def test_credentials_that_ran_out(
    api: KubernetesApi, server: tuple[Server, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a refused credential is loaded again once, unless it was loaded just before."""
    server[0].answer = but_ready(status(401, "Unauthorized"))
    with pytest.raises(Denied):
        await api.call("GET", "/things", "read things")
    assert [asked.path for asked in server[0].asked] == ["/things", "/readyz", "/things"]
    monkeypatch.setattr("clients.kubernetes.api.client.RELOAD_AFTER", timedelta(0))
    refused = iter([True])
    server[0].answer = lambda request: (
        status(401, "Unauthorized")(request) if next(refused, False) else web.json_response({"kind": "Thing"})
    )
    assert await api.call("POST", "/things", "make a thing", body={}) == {"kind": "Thing"}


@pytest.fixture
async def with_plugin(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    """An API whose kubeconfig has a plugin, the one in `tmp_path`, which hangs."""
    user: dict[str, object] = {"exec": plugin_of(tmp_path, HANGS)}
    api = api_at(server[1], tmp_path, user=user)
    yield api
    await api.close()


async def test_a_plugin_that_hangs_blocks_no_call_for_long(
    with_plugin: KubernetesApi, server: tuple[Server, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that all waiting calls fail at the same time, and that the next call gets credentials."""
    monkeypatch.setattr("clients.kubernetes.auth.credentials.LOAD_TIMEOUT", timedelta(seconds=1))
    plugin_of(tmp_path, f'echo run >> "$0.runs"\n{HANGS}')
    async with soon("a plugin that hangs is waited for without a limit"):
        calls = (with_plugin.call("POST", "/things", "make a thing", body={}) for _ in range(5))
        errors = await asyncio.gather(*calls, return_exceptions=True)
    runs = tmp_path / "plugin.runs"
    assert not runs.exists() or runs.read_text() == "run\n", "it is tried again for each who waits"
    for error in errors:
        assert isinstance(error, Unreachable), f"a plugin that hangs ends in {error!r}"
        assert "gave no credentials within 1 s" in error.detail
        assert not error.ambiguous
    assert server[0].asked == []
    plugin_of(tmp_path, gives(token="planted-token"))
    monkeypatch.setattr("clients.kubernetes.auth.credentials.LOAD_TIMEOUT", timedelta(seconds=HANG))
    async with soon("after one that hung no plugin is run any more"):
        await with_plugin.call("GET", "/things", "read things")
    assert server[0].asked[0].headers["Authorization"] == "Bearer planted-token"


async def test_a_plugin_that_hangs_when_its_token_has_run_out(
    with_plugin: KubernetesApi, server: tuple[Server, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that the error names the plugin, and that nothing is in doubt: the call was refused."""
    plugin_of(tmp_path, gives(token="planted-token"))
    await with_plugin.call("GET", "/things", "read things")
    plugin_of(tmp_path, HANGS)
    monkeypatch.setattr("clients.kubernetes.auth.credentials.LOAD_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr("clients.kubernetes.api.client.RELOAD_AFTER", timedelta(0))
    server[0].answer = status(401, "Unauthorized")
    async with soon("a plugin that hangs is waited for without a limit"):
        with pytest.raises(Unreachable, match="gave no credentials within 1 s") as error:
            await with_plugin.call("POST", "/things", "make a thing", body={})
    assert not error.value.ambiguous


async def test_who_is_cancelled_leaves_the_others_their_credentials(
    with_plugin: KubernetesApi, tmp_path: Path
) -> None:
    """Ensures that the plugin goes on for those who wait."""
    plugin_of(tmp_path, f'while [ ! -e "$0.goes-on" ]; do sleep 0.05; done\n{gives(token="planted-token")}')
    first = asyncio.create_task(with_plugin.call("GET", "/things", "read things"))
    other = asyncio.create_task(with_plugin.call("GET", "/things", "read things"))
    await asyncio.sleep(0.2)
    first.cancel()
    await asyncio.wait({first}, timeout=HANG)
    assert first.cancelled(), "it waits for the plugin all the same"
    (tmp_path / "plugin.goes-on").touch()
    async with soon("who is cancelled takes the plugin along"):
        assert await other == {}


async def test_an_api_server_that_is_starting_refuses_no_call_for_good(
    api: KubernetesApi, server: tuple[Server, int]
) -> None:
    """Ensures that a refusal counts only from an API server that is ready: before, it knows no rights."""
    server[0].answer = status(403, FORBIDDEN, "Forbidden")
    with pytest.raises(ServerFailed, match="it is starting") as error:
        await api.call("DELETE", "/things/x", "delete a thing")
    assert not error.value.ambiguous


async def test_no_server_listens(tmp_path: Path) -> None:
    """Ensures that a connection that was never made leaves nothing in doubt."""
    api = api_at(1, tmp_path)
    with pytest.raises(Unreachable, match=r"cannot connect to 127\.0\.0\.1:1") as error:
        await api.call("POST", "/things", "make a thing", body={})
    assert not error.value.ambiguous
    await api.close()


@pytest.mark.parametrize(("method", "ambiguous"), [("POST", True), ("GET", False)])
async def test_no_answer(method: str, ambiguous: bool, tmp_path: Path) -> None:
    """Ensures that a call whose answer never came is in doubt if it changes something."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    api = api_at(server.sockets[0].getsockname()[1], tmp_path, seconds=2)
    with pytest.raises(Unreachable, match=r"no answer within 2 s") as error:
        await api.call(method, "/things", "make a thing")
    assert error.value.ambiguous is ambiguous
    await api.close()
    server.close()


async def test_lists_are_read_to_their_end(api: KubernetesApi, server: tuple[Server, int]) -> None:
    """Ensures that a list in several pages is whole."""
    pages: dict[str, dict[str, Any]] = {
        "": {"items": [1, 2], "metadata": {"continue": "more"}},
        "more": {"items": [3], "metadata": {}},
    }
    server[0].answer = lambda request: web.json_response(pages[request.query.get("continue", "")])
    assert await api.list("/things", "list things", labels="a=b") == [1, 2, 3]
    assert {asked.query["labelSelector"] for asked in server[0].asked} == {"a=b"}


async def test_a_list_that_expires_on_its_way_is_read_again(
    api: KubernetesApi, server: tuple[Server, int]
) -> None:
    """Ensures that it is whole all the same: in pages, and then in one piece, which cannot expire."""

    def answer(request: web.Request) -> web.StreamResponse:
        if "continue" in request.query:
            return status(410, "The provided continue parameter is too old", "Expired")(request)
        if "limit" in request.query:
            return web.json_response({"items": [1, 2], "metadata": {"continue": "more"}})
        return web.json_response({"items": [1, 2, 3], "metadata": {}})

    server[0].answer = answer
    assert await api.list("/things", "list things", labels="a=b") == [1, 2, 3]
    assert {asked.query["labelSelector"] for asked in server[0].asked} == {"a=b"}
    assert len(server[0].asked) == 3


async def test_what_others_have_changed_meanwhile_is_tried_again(
    api: KubernetesApi, server: tuple[Server, int]
) -> None:
    refused = iter([True, True])
    server[0].answer = lambda request: (
        status(409, MODIFIED, "Conflict")(request) if next(refused, False) else web.json_response({"a": 1})
    )
    assert await api.call("POST", "/things", "make a thing", body={}) == {"a": 1}
    server[0].answer = status(409, "Precondition failed: UID in precondition: a, UID in object meta: b")
    server[0].asked.clear()
    with pytest.raises(Rejected, match="Precondition failed"):
        await api.call("DELETE", "/things", "delete a thing")
    assert len(server[0].asked) == 1, "the UID is not one that trying again would change"


def test_missing_right() -> None:
    """Ensures that verb, resource, group and place of a missing right are named, also when Helm quotes it."""
    text = 'create: failed: User "a" cannot create resource "roles" in API group "rbac.authorization.k8s.io"'
    assert missing_right(text) == (
        "the account a lacks the right to create roles.rbac.authorization.k8s.io in the whole cluster"
    )
    assert missing_right("exceeded quota") == ""
