"""Ensures that no answer of the control plane or the identity provider, however odd, does more than an error.

Hypothesis makes the answers: of another shape, cut short, of other types, HTML, without end. Every method of
both clients is met with them. And whatever people write as names, templates and settings is read or refused.
"""

import asyncio
import collections.abc
import contextlib
import inspect
import json
import threading
import tracemalloc
import typing
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clients.errors import ClientError, MalformedAnswer
from clients.identity.client_credentials import ClientCredentials
from clients.identity.entra import Entra
from clients.identity.keycloak import Keycloak
from clients.identity.okta import Okta
from clients.identity.scim import Scim
from clients.rafay import Rafay
from clients.transport.http import MAX_ANSWER_BYTES
from contracts.types.naming import is_name
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.catalogue.loader import load_catalogue
from starter.config_files.yaml_source import FilesUnusable
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import no_faults
from tests.support.stack import HURRY, hurried, unique
from tests.support.stand_ins import TLS, set_faults
from worker.settings.loading import load_settings
from worker.settings.sources import SettingsError

pytestmark = pytest.mark.guarantee("7. Fuzz")

#: More than any answer here takes on a busy machine.
TIMEOUT = timedelta(seconds=20)
#: What one answer may cost: what is kept of it, and the piece of it that is unpacked at the moment.
MOST_MEMORY = 20 * MAX_ANSWER_BYTES

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        # Names that answers have, so that what is below them is looked at.
        st.sampled_from(("id", "name", "metadata", "results", "Resources", "totalResults", "count", "status",
                         "items", "edge_id", "conditions", "externalId", "displayName", "members", "value",
                         "profile", "@odata.nextLink"))
        | st.text(max_size=8),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
_WHOLE = _JSON.map(lambda value: json.dumps(value).encode())
BODIES = (
    _WHOLE
    | _WHOLE.map(lambda body: body[: len(body) // 2])
    | st.binary(max_size=100)
    | st.sampled_from((b"", b"<html><body>Bad gateway</body></html>", b"null"))
)
STATUSES = st.sampled_from((200, 200, 200, 201, 204, 400, 404, 409, 500, 502))
FUZZ = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


class Odd:
    """A server that answers everything with the same."""

    def __init__(self) -> None:
        self.status = 200
        self.pieces: Callable[[], Iterator[bytes]] = lambda: iter((b"",))
        self.headers: dict[str, str] = {}
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(odd.status)
                for name, value in odd.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for piece in odd.pieces():
                        self.wfile.write(piece)
                except OSError:
                    pass  # the client has had enough

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answers(self, status: int, pieces: Callable[[], Iterator[bytes]], **headers: str) -> None:
        self.status, self.pieces = status, pieces
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def odd() -> Iterator[Odd]:
    odd = Odd()
    thread = threading.Thread(target=odd.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield odd
    odd.server.shutdown()
    odd.server.server_close()
    thread.join()


class HasToken(ClientCredentials):
    """Has a token, so that the odd answers are those of the system that it is for."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/token", "c", dict, timeout=TIMEOUT, verify=TLS)

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": "Bearer token"}

    async def renew_after_refusal(self, refused: Mapping[str, str]) -> bool:
        return False


CLIENTS: dict[str, Callable[[str], Any]] = {
    "control plane": lambda url: Rafay(url, "ra2.key", timeout=TIMEOUT, verify=TLS),
    "SCIM directory": lambda url: Scim(url, "token", timeout=TIMEOUT, verify=TLS),
    "Keycloak": lambda url: Keycloak(f"{url}/realms/r", HasToken(), timeout=TIMEOUT, verify=TLS),
    "Okta": lambda url: Okta(url, "token", timeout=TIMEOUT, verify=TLS),
    "Entra ID": lambda url: Entra(url, HasToken(), timeout=TIMEOUT, verify=TLS),
}


def methods(client: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every call that the client can make, with arguments of the right types."""
    for name, method in inspect.getmembers(client, inspect.iscoroutinefunction):
        if name.startswith("_") or name == "close":
            continue
        types = {key: type for key, type in typing.get_type_hints(method).items() if key != "return"}
        yield name, partial(_call, method, types)


def _call(method: Callable[..., Any], types: dict[str, Any]) -> Any:
    return method(**{key: _something(type) for key, type in types.items()})


def _something(type: Any) -> Any:
    if type is bool:
        return True
    if type is str:
        return "some@example.com"
    if typing.get_origin(type) in (dict, collections.abc.Mapping):
        return {"a": "b"}
    if inspect.isclass(type):
        return type(**{key: _something(each) for key, each in typing.get_type_hints(type).items()})
    return ["some"]


@pytest.mark.parametrize("answers", [8, pytest.param(40, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("whose", CLIENTS)
def test_an_odd_answer_is_an_answer_or_an_error_of_ours(odd: Odd, whose: str, answers: int) -> None:
    async def all_of_them() -> None:
        client = CLIENTS[whose](odd.url)
        try:
            calls = dict(methods(client))
            assert len(calls) >= 8
            for call in calls.values():
                with contextlib.suppress(ClientError):
                    await call()
        finally:
            await client.close()

    @settings(FUZZ, max_examples=answers)
    @given(body=BODIES, status=STATUSES)
    @example(body=b"[", status=200)
    def met(body: bytes, status: int) -> None:
        # What is nested a thousandfold is too long to be shown by hypothesis.
        odd.answers(status, lambda: iter((body if body != b"[" else body * 100_000,) * (status != 204)))
        asyncio.run(all_of_them())

    met()


def _endless() -> Iterator[bytes]:
    for _ in range(10_000):
        yield b"x" * 65536


def _bomb() -> Iterator[bytes]:
    pack = zlib.compressobj(9, wbits=31)
    for _ in range(2_000):
        yield pack.compress(b"\0" * 1_000_000)
    yield pack.flush()


@pytest.mark.parametrize("whose", CLIENTS)
@pytest.mark.parametrize("what", ["without end", "packed a thousandfold"])
def test_an_answer_without_end_is_cut_off(odd: Odd, whose: str, what: str) -> None:
    if what == "without end":
        odd.answers(200, _endless)
    else:
        odd.answers(200, _bomb, Content_Encoding="gzip")

    async def read() -> None:
        client = CLIENTS[whose](odd.url)
        try:
            with pytest.raises(MalformedAnswer, match="larger than"):
                await dict(methods(client))["check"]()
        finally:
            await client.close()

    tracemalloc.start()
    try:
        asyncio.run(read())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY, f"{most / 1e6:.0f} MB were kept of one answer"


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True))
@settings(FUZZ, max_examples=200)
def test_a_name_is_one_that_every_system_takes(name: str) -> None:
    if is_name(name):
        assert name.isascii()
        assert name == name.lower()
        assert len(f"{'p' * 10}-{name}") <= 53, "Helm takes no longer names"
        assert name[0].isalpha()
        assert name[-1] != "-"


@given(
    _JSON
    | st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("version", "description", "chart", "kubernetes", "size", "ttl", "values", "teams"), _JSON
        ),
    )
)
@settings(FUZZ, max_examples=60)
def test_a_template_is_read_or_refused_with_sentences(content: Any) -> None:
    (_TEMPLATES / "odd.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with contextlib.suppress(FilesUnusable):
        load_catalogue(_TEMPLATES)


_TEMPLATES = Path()


@pytest.fixture(autouse=True, scope="module")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> None:
    global _TEMPLATES
    _TEMPLATES = tmp_path_factory.mktemp("templates")


_VARIABLES = (
    "INSTALLATION", "PREFIX", "CONTROL_PLANE__URL", "HOSTS__A__KIND", "TIMEOUTS__LATE_RESPONSE_WINDOW",
    "LOG__LEVEL", "API__PORT", "SWEEP__INTERVAL", "NOTICES__SMTP_PORT", "HOSTS", "ENCRYPTION__KEYS",
)  # fmt: skip
_VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(st.sampled_from(_VARIABLES).map("MOORAGE_".__add__), _VALUES))
@settings(FUZZ, max_examples=60)
def test_settings_are_read_or_refused_with_sentences(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as error:  # some that are needed are always missing
        load_settings(environ)
    assert "MOORAGE_" in str(error.value)


@pytest.fixture(scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that gives a step up within seconds."""
    timeouts = HURRY.model_copy(update={"step_timeout": timedelta(seconds=6)})
    async with Stack(tmp_path_factory.mktemp("odd"), hurried(timeouts=timeouts)) as stack:
        yield stack


ANSWERS = {
    "HTML": Fault(kind=FaultKind.HTML, status=200),
    "half a body": Fault(kind=FaultKind.TRUNCATE),
}


@pytest.mark.chaos
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("where", ["control plane", "directory"])
async def test_a_system_that_answers_nonsense_fails_the_step_and_leaves_nothing(
    impatient: Stack, where: str, answer: str
) -> None:
    name, part = unique("odd"), Part(where)
    async with Asking(impatient) as asking:
        set_faults(impatient.url(part), ANSWERS[answer])
        await asking.request(name)
        shown = await asking.until(name, lambda now: now["outcome"] is not None, "given up")
        no_faults(impatient)
        gone = await asking.until_phase(name, "gone")
    assert shown["outcome"] == gone["outcome"] == "failed"
    cause = gone["problem"]["cause"]
    assert gone["problem"]["system"] in cause, f"it does not say who was wrong: {cause}"
    if answer == "HTML":  # half of an error may still be taken for what it is
        assert "not JSON" in cause or "is no SCIM" in cause, f"it does not say what was wrong: {cause}"
    assert gone["problem"]["remedy"]
    assert Systems(impatient).holds(name) == {}
