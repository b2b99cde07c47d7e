"""Ensures that the codec server decrypts only for the platform team, in the Web UI."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from google.protobuf import json_format
from starlette.applications import Starlette
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import WorkflowSerializationContext

from embedded.asgi_server import listening_socket
from embedded.stack.stack import Part, Stack
from starter.auth.policy import Principal, Role
from starter.auth.tokens import write_tokens
from starter.codec_server import local_peer
from starter.codec_server.app import MAX_BODY_BYTES, create_codec_server
from tests.support.deadline import soon
from tests.support.stack import converter_of, hurried
from tests.support.stand_ins import TLS
from worker.codec import Keyring, PayloadContext

UI = "http://127.0.0.1:8233"
KEYS = Keyring.parse(base64.b64encode(os.urandom(32)).decode())
PLATFORM, DEVELOPER = "token-of-the-platform", "token-of-a-developer"


def a_person(email: str, role: Role) -> Principal:
    return Principal(person=email, email=email, teams=("t",), role=role)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens.yaml"
    write_tokens(
        file,
        [
            (PLATFORM, a_person("ops@example.com", Role.PLATFORM)),
            (DEVELOPER, a_person("dev@example.com", Role.DEVELOPER)),
        ],
    )
    return file


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the app on a new socket; yield a client of it."""
    with listening_socket() as sock:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, proxy_headers=False))
        running = asyncio.create_task(server.serve(sockets=[sock]))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=TLS) as http:
            yield http
        server.should_exit = True
        await running


@pytest.fixture
async def http(tokens: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with served(create_codec_server(KEYS, tokens_file=tokens, ui=[UI])) as http:
        yield http


async def encrypted(text: str) -> dict[str, Any]:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(text).encode())
    body = json_format.MessageToDict(
        Payloads(payloads=[KEYS.encrypt(payload, PayloadContext("default", "a"))])
    )
    assert text not in json.dumps(body)
    return body


def texts(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [json.loads(base64.b64decode(each["data"])) for each in answer.json()["payloads"]]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_it_decrypts_for_the_platform_team(http: httpx.AsyncClient) -> None:
    answer = await http.post("/decode", json=await encrypted("hello"), headers=bearer(PLATFORM))
    assert texts(answer) == ["hello"]
    again = await http.post("/encode", content=answer.content, headers=bearer(PLATFORM))
    assert again.status_code == 404, "what is in Temporal comes from the API and the worker alone"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(DEVELOPER),
        bearer("guessed"),
        {"Authorization": PLATFORM},
        {"Cookie": "moorage-codec=guessed"},
    ],
    ids=["nothing", "a developer's token", "a guess", "not a bearer", "a guessed session"],
)
async def test_it_decrypts_for_no_other_caller(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    for path in ("/decode",):
        answer = await http.post(path, json=await encrypted("hello"), headers=headers)
        assert answer.status_code == 401
        assert "sign in" in answer.json()["detail"]


async def test_a_browser_signs_in_once(http: httpx.AsyncClient, tokens: Path) -> None:
    assert (await http.post("/sign-in", data={"token": DEVELOPER})).status_code == 403
    answer = await http.post("/sign-in", data={"token": f" {PLATFORM} "})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert PLATFORM not in cookie
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict"))
    body = await encrypted("hello")
    answer = await http.post("/decode", json=body, headers={"Origin": UI, "X-Namespace": "default"})
    assert texts(answer) == ["hello"]
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-credentials"] == "true"

    write_tokens(tokens, [(DEVELOPER, a_person("dev@example.com", Role.DEVELOPER))])
    async with soon("a session outlives its token"):
        while (  # noqa: ASYNC110 - it looks at a file now and then
            await http.post("/decode", json=body)
        ).status_code != 401:
            await asyncio.sleep(0.1)


async def test_only_the_web_ui_s_pages_are_answered(http: httpx.AsyncClient) -> None:
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-namespace",
    }
    preflight = await http.options("/decode", headers={"Origin": UI, **ask})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == UI
    for origin in ("https://evil.example", "http://127.0.0.1:8234", "null", str(http.base_url)):
        preflight = await http.options("/decode", headers={"Origin": origin, **ask})
        assert "access-control-allow-origin" not in preflight.headers
        answer = await http.post(
            "/decode", json=await encrypted("hello"), headers={"Origin": origin, **bearer(PLATFORM)}
        )
        assert answer.status_code == 403, f"a page from {origin} had it decrypted"


async def test_what_cannot_be_decrypted_is_one_sentence(http: httpx.AsyncClient) -> None:
    other = Keyring.parse(base64.b64encode(os.urandom(32)).decode())
    sealed = other.encrypt(Payload(data=b"x"), PayloadContext("default", "a"))
    body = json_format.MessageToDict(Payloads(payloads=[sealed]))
    answer = await http.post("/decode", json=body, headers=bearer(PLATFORM))
    assert answer.status_code == 422
    assert "MOORAGE_ENCRYPTION__KEYS" in answer.json()["detail"]
    for content in (b"", b"nonsense", b"\xff", b'{"payloads": 7}'):
        answer = await http.post("/decode", content=content, headers=bearer(PLATFORM))
        assert answer.status_code == 400, f"{content!r}: {answer.status_code}"
    answer = await http.post("/decode", content=b" " * (MAX_BODY_BYTES + 1), headers=bearer(PLATFORM))
    assert answer.status_code == 413


@pytest.fixture
def by_another_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the kernel's table say that all connections of this machine belong to another user."""
    table = tmp_path / "tcp"

    class Table:
        def read_text(self, encoding: str) -> str:
            lines = Path("/proc/net/tcp").read_text(encoding=encoding).splitlines()
            rows = [line.split() for line in lines[1:]]
            table.write_text("\n".join(" ".join([*row[:7], str(os.getuid() + 1), *row[8:]]) for row in rows))
            return "header\n" + table.read_text()

    monkeypatch.setattr(local_peer, "_CONNECTIONS", Table())


async def test_on_a_stack_of_one_s_own_the_same_user_needs_no_token() -> None:
    app = create_codec_server(KEYS, tokens_file=None, ui=[UI], trust_same_user=True)
    async with served(app) as http:
        answer = await http.post("/decode", json=await encrypted("hello"), headers={"Origin": UI})
        assert texts(answer) == ["hello"]
        assert (await http.post("/decode", json={}, headers={"Origin": "http://evil"})).status_code == 403


async def test_another_user_of_the_machine_does(by_another_user: None) -> None:
    app = create_codec_server(KEYS, tokens_file=None, ui=[UI], trust_same_user=True)
    async with served(app) as http:
        answer = await http.post(
            "/decode", json=await encrypted("hello"), headers={"X-Forwarded-For": "127.0.0.1"}
        )
        assert answer.status_code == 401


@pytest.mark.slow
async def test_the_embedded_stack_tells_its_web_ui(tmp_path: Path) -> None:
    parts = frozenset({Part.TEMPORAL, Part.CODEC_SERVER})
    async with (
        Stack(tmp_path, hurried(parts=parts)) as stack,
        httpx.AsyncClient(trust_env=False, verify=TLS) as http,
    ):
        settings = (await http.get(f"{stack.ui_url}/api/v1/settings")).json()
        assert settings["Codec"]["Endpoint"] == stack.url(Part.CODEC_SERVER)
        there = WorkflowSerializationContext("default", "environment/a")
        [payload] = await converter_of(stack).with_context(there).encode(["hello"])
        body = json_format.MessageToDict(Payloads(payloads=[payload]))
        for origin in (stack.ui_url, stack.ui_url.replace("127.0.0.1", "localhost")):
            answer = await http.post(
                f"{settings['Codec']['Endpoint']}/decode", json=body, headers={"Origin": origin}
            )
            assert texts(answer) == ["hello"]
            assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.usefixtures("stopped_throttles")
async def test_it_logs_who_decrypts_and_slows_guesses_down(http: httpx.AsyncClient) -> None:
    """Ensures that who, from where, and the verdict are in the security log, and no token and no payload."""
    headers = {"X-Namespace": "default"}
    with structlog.testing.capture_logs() as lines:
        body = await encrypted("hello")
        assert texts(await http.post("/decode", json=body, headers=headers | bearer(PLATFORM))) == ["hello"]
        codes = [(await http.post("/decode", headers=bearer(f"guess-{n}"))).status_code for n in range(70)]
        codes += [(await http.post("/sign-in", data={"token": "guess"})).status_code for _ in range(3)]
        again = await http.post("/decode", json=body, headers=bearer(PLATFORM))
    assert codes[0] == 401
    assert codes[-1] == 429
    assert texts(again) == ["hello"]
    first, *others = [line for line in lines if line["event"] == "access"]
    assert (first["actor"], first["verb"], first["object"], first["verdict"], first["peer"]) == (
        "ops@example.com", "POST /decode", "default", "allowed", "127.0.0.1",
    )  # fmt: skip
    assert {line["verdict"] for line in others} == {"not_signed_in", "limited", "allowed"}
    assert "guess" not in str(lines)
    assert "hello" not in str(lines)
    answer = await http.post("/sign-in", data={"token": "x" * 5000})
    assert answer.status_code == 413
