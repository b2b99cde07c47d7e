"""Certificates of a vCluster: requested, approved, fetched, and their requests deleted, whatever happens."""

import base64
from datetime import timedelta
from typing import Any, cast

import pytest

from clients.errors import ClientError, MalformedAnswer, NotYet, Rejected, Unreachable
from clients.transport.http import HttpSystem
from clients.virtual_cluster import certificates
from clients.virtual_cluster.certificates import SIGNER, Certificates

LABELS = {"moorage.dev/name": "demo"}
SIGNED = {"status": {"certificate": base64.b64encode(b"a certificate").decode()}}


def kept(body: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """What an API server keeps of a new request: it adds who asked; `spec` are changes of a webhook."""
    added = {"username": "admin", "groups": ["system:masters"]}
    metadata = {**body["metadata"], "resourceVersion": "1"}
    return {**body, "metadata": metadata, "spec": {**body["spec"], **added, **spec}, "status": {}}


class FakeServer:
    """Answers each call with the next of the answers of its method, of which the last one repeats."""

    system = "vCluster"

    def __init__(self, **answers: list[Any]) -> None:
        self.answers: dict[str, list[Any]] = {
            "POST": [kept],
            "PUT": [{}],
            "DELETE": [{}],
            **answers,
        }
        self.calls: list[tuple[str, str, Any]] = []

    async def call_json(self, method: str, path: str, _operation: str, *, body: Any = None) -> Any:
        self.calls.append((method, path, body))
        answers = self.answers[method]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(body) if callable(answer) else answer

    call = call_json

    @property
    def methods(self) -> list[str]:
        return [method for method, _, _ in self.calls]


async def issue(server: FakeServer, validity: timedelta = timedelta(hours=1)) -> str:
    issuer = Certificates(cast(HttpSystem, server))
    return await issuer.issue(b"a request", "ada@example.com", validity, LABELS)


async def test_is_requested_approved_fetched_and_deleted() -> None:
    server = FakeServer(GET=[{"status": {}}, SIGNED])
    assert await issue(server) == "a certificate"
    assert server.methods == ["POST", "PUT", "GET", "GET", "DELETE"]
    (_, _, asked), (_, approval, approved), *_ = server.calls
    assert asked["spec"] == {
        "request": base64.b64encode(b"a request").decode(), "signerName": SIGNER, "expirationSeconds": 3600,
        "usages": ["digital signature", "client auth"],
    }  # fmt: skip
    assert asked["metadata"]["labels"] == LABELS
    assert approval.endswith(f"/{asked['metadata']['name']}/approval")
    assert approved["metadata"]["resourceVersion"] == "1", "another object could be approved"
    assert [one["type"] for one in approved["status"]["conditions"]] == ["Approved"]


async def test_is_never_for_less_than_the_api_accepts() -> None:
    server = FakeServer(GET=[SIGNED])
    await issue(server, timedelta(seconds=1))
    assert server.calls[0][2]["spec"]["expirationSeconds"] == 600


async def test_has_another_name_each_time() -> None:
    server = FakeServer(PUT=[SIGNED])
    for _ in range(2):
        await issue(server)
    names = [body["metadata"]["name"] for method, _, body in server.calls if method == "POST"]
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"GET": [{"status": {"conditions": [{"type": "Denied"}]}}]}, Rejected),
        ({"GET": [{"status": {"conditions": [{"type": "Failed"}]}}]}, Rejected),
        ({"GET": [{"status": {"certificate": "no base64!"}}]}, MalformedAnswer),
        ({"GET": [{"status": {"certificate": base64.b64encode(b"\xff").decode()}}]}, MalformedAnswer),
        ({"GET": [{"status": {"certificate": "é"}}]}, MalformedAnswer),
        ({"GET": [[]]}, MalformedAnswer),
        ({"GET": [{"status": {"conditions": [1]}}]}, MalformedAnswer),
        ({"POST": [None]}, MalformedAnswer),
        ({"POST": [{"metadata": {"resourceVersion": "1"}}]}, MalformedAnswer),
        ({"PUT": [Unreachable("v", "o", "d")]}, Unreachable),
    ],
)
async def test_that_fails_leaves_no_request(answers: dict[str, list[Any]], error: type[ClientError]) -> None:
    server = FakeServer(**answers)
    with pytest.raises(error):
        await issue(server)
    assert server.methods[-1] == "DELETE"


@pytest.mark.parametrize(
    "change",
    [
        {"request": base64.b64encode(b"another request").decode()},
        {"signerName": "example.com/tenant"},
        {"usages": ["digital signature", "client auth", "server auth"]},
        {"expirationSeconds": 31536000},
    ],
)
async def test_approves_no_request_that_was_changed_inside(change: dict[str, Any]) -> None:
    """Ensures that an admission webhook of a tenant gets our approval for no request that it has changed."""
    server = FakeServer(POST=[lambda body: kept(body, **change)])
    with pytest.raises(MalformedAnswer, match="has been changed inside"):
        await issue(server)
    assert server.methods == ["POST", "DELETE"]


@pytest.mark.parametrize("change", [{"resourceVersion": ""}, {"name": "another"}])
async def test_approves_no_request_without_its_version_and_name(change: dict[str, str]) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        document = kept(body)
        return {**document, "metadata": {**document["metadata"], **change}}

    server = FakeServer(POST=[answer])
    with pytest.raises(MalformedAnswer):
        await issue(server)
    assert server.methods == ["POST", "DELETE"]


async def test_that_is_not_signed_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "SIGNER_TIMEOUT_SECONDS", 0.1)
    server = FakeServer(GET=[{}])
    with pytest.raises(NotYet, match="its controller has not signed"):
        await issue(server)
    assert server.methods[-1] == "DELETE"


async def test_is_good_if_its_request_cannot_be_deleted() -> None:
    assert await issue(FakeServer(GET=[SIGNED], DELETE=[Unreachable("v", "o", "d")])) == "a certificate"
