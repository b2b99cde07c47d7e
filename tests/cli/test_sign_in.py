"""`moorage login`, `logout`, `whoami` and `context`: with the embedded provider and the API's application."""

import asyncio
import html
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
import keyring.backends.fail
import msgspec
import pytest
from click.testing import CliRunner, Result

from clients.safe_yaml import write_yaml
from embedded.asgi_server import listening_socket
from starter.cli.app import build
from starter.cli.client import contexts as context_files
from starter.cli.client.contexts import Context, add_stack
from starter.cli.client.credentials import issuer as issuer_module
from starter.cli.client.credentials.browser import has_browser, sign_in_with_browser
from starter.cli.client.credentials.device import sign_in_with_device
from starter.cli.client.credentials.issuer import (
    DEFAULT_LIFETIME_SECONDS,
    DeviceCode,
    Endpoints,
    GrantRefused,
    IssuerClient,
    lifetime_of,
)
from starter.cli.client.credentials.store import load_tokens, locked_tokens, save_tokens
from starter.cli.errors import CliError, Code
from starter.cli.kubeconfig.certificate_cache import CertificateCache, cache_folder
from starter.cli.kubeconfig.certificates import ClientCertificate
from tests.api.application import DEVELOPER, an_app
from tests.support.sign_in import Clock, Provider, refused, running_provider, serving
from tests.support.stand_ins import CHECKOUT, TLS

SCOPES = "openid email profile"


@pytest.fixture(autouse=True)
def no_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that no test touches the keyring of the person who runs it."""
    monkeypatch.setattr(keyring, "get_keyring", keyring.backends.fail.Keyring)


@dataclass
class Place:
    """An API with a provider, and a user's machine."""

    url: str
    provider: Provider
    clock: Clock
    home: Path

    async def moorage(self, *arguments: str, **variables: str | None) -> Result:
        """Run the command as on a desktop, with nothing set but what a test sets."""
        env = {
            "HOME": str(self.home), "XDG_STATE_HOME": None, "XDG_CACHE_HOME": None, "DISPLAY": ":0",
            "SSH_CONNECTION": None, "SSH_CLIENT": None, "SSH_TTY": None, "BROWSER": None, "MOORAGE_URL": None,
            "MOORAGE_TOKEN": None, "MOORAGE_TOKEN_FILE": None, "MOORAGE_STATE": None, "MOORAGE_CA_FILE": None,
            **variables,
        }  # fmt: skip
        return await asyncio.to_thread(CliRunner(env=env).invoke, build(), arguments)

    @property
    def context(self) -> Context:
        return Context(urlsplit(self.url).netloc, self.url)

    def tokens(self) -> Any:
        return load_tokens(self.context, {"HOME": str(self.home)})


@pytest.fixture(scope="module")
def provider_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all providers here: the first makes the key, a tenth of a second of processor."""
    return tmp_path_factory.mktemp("provider")


@pytest.fixture
async def place(tmp_path: Path, provider_folder: Path) -> AsyncIterator[Place]:
    clock = Clock()
    async with running_provider(provider_folder, clock, device_interval_seconds=1) as provider:
        file = tmp_path / "issuers.yaml"
        entry = {
            "url": provider.url, "audience": "moorage-api", "client_id": "moorage", "team_prefix": "team-",
            "platform_groups": ["platform"],
        }  # fmt: skip
        robots = {"url": "https://ci.example.com", "audience": "moorage-api", "team_prefix": "x-"}
        file.write_text(write_yaml({"issuers": [robots, entry]}))
        app = await an_app(tmp_path, MOORAGE_API__ISSUERS_FILE=str(file))
        home = tmp_path / "home"
        home.mkdir()
        with closing(listening_socket()) as sock:
            async with serving(app, sock):
                yield Place(f"http://127.0.0.1:{sock.getsockname()[1]}", provider, clock, home)


Visit = Callable[[httpx.Client, str], object]


def browser(monkeypatch: pytest.MonkeyPatch, person: str, visit: Visit = httpx.Client.get) -> list[str]:
    """Let the browser that a command opens be this person, who is sent back with `visit`."""
    opened: list[str] = []

    def work(address: str) -> None:
        with httpx.Client(trust_env=False, verify=TLS) as http:
            page = http.get(address)
            form = re.search(r'action="([^"]+)"', page.text)
            assert form
            password = {"username": person, "password": f"{person}-password"}
            answer = http.post(urljoin(address, html.unescape(form[1])), data=password)
            visit(http, answer.headers["location"])

    def open_page(address: str) -> bool:
        opened.append(address)
        threading.Thread(target=work, args=(address,), daemon=True).start()
        return True

    monkeypatch.setattr("webbrowser.open", open_page)
    return opened


async def test_login_whoami_and_logout(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    [opened] = [browser(monkeypatch, "alice")]
    signed_in = await place.moorage("login", place.url)
    assert signed_in.exit_code == 0, signed_in.output
    assert f"Signed in to {place.url} as alice@example.com (developer; payments)." in signed_in.stderr
    query = parse_qs(urlsplit(opened[0]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", query["redirect_uri"][0])
    shown = await place.moorage("whoami", "-o", "json")
    found = json.loads(shown.stdout)
    assert (found["email"], found["teams"], found["role"]) == ("alice@example.com", ["payments"], "developer")
    assert found["credential"]["source"] == f"sign-in at {place.provider.url}"
    assert found["credential"]["is_renewed"] is True
    assert found["credential"]["expires_at"]
    table = await place.moorage("whoami")
    assert "renewed by itself" in table.stdout
    kept = place.tokens()
    left = await place.moorage("logout", "-o", "json")
    assert json.loads(left.stdout) == {"context": place.context.name, "was_signed_in": True, "revoked": True}
    assert refused(await place.provider.refresh(kept.refresh_token)) == "invalid_grant"
    assert place.tokens() is None
    after = await place.moorage("whoami")
    assert (after.exit_code, "not signed in" in after.stderr) == (4, True)
    assert f"next: moorage login {place.url}" in after.stderr
    again = await place.moorage("logout")
    assert (again.exit_code, "You were not signed in" in again.stderr) == (0, True)
    assert "is set" not in again.stderr


@pytest.mark.parametrize("variable", ["MOORAGE_TOKEN", "MOORAGE_TOKEN_FILE"])
async def test_logout_names_a_variable_that_still_signs_in(
    place: Place, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    browser(monkeypatch, "alice")
    await place.moorage("login", place.url)
    left = await place.moorage("logout", "-o", "json", **{variable: "a-value"})
    assert json.loads(left.stdout)["was_signed_in"] is True
    assert f"{variable} is set, and commands that use it are still signed in" in left.stderr
    assert "a-value" not in left.stderr


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]
)
def test_an_issuer_that_sends_a_byte_now_and_then_does_not_hold_the_command(
    monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    """Ensures that a whole call has an end, in the headers of an answer as in its body."""
    monkeypatch.setattr(issuer_module, "TOTAL_MARGIN_SECONDS", 0.2)
    over = threading.Event()

    def trickle(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(start)
            while not over.wait(0.05):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=trickle, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with IssuerClient(url, timeout=0.3) as client, pytest.raises(CliError) as failed:
            client.discover()
        over.set()
    assert failed.value.code is Code.UNREACHABLE
    assert "no whole answer within 0.5 s" in str(failed.value)


async def test_login_again_needs_no_url_and_changes_the_person(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser(monkeypatch, "alice")
    await place.moorage("login", place.url)
    browser(monkeypatch, "bob")
    again = await place.moorage("login", "-o", "json")
    found = json.loads(again.stdout)
    assert (found["email"], found["role"], found["context"]) == (
        "bob@example.com",
        "platform",
        place.context.name,
    )
    assert len(json.loads((await place.moorage("context", "list", "-o", "json")).stdout)) == 1


async def test_a_sign_in_waits_for_a_renewal_of_the_one_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a command of the person before does not put its tokens in the place of the new ones."""
    browser(monkeypatch, "alice")
    await place.moorage("login", place.url)
    first = place.tokens()
    monkeypatch.setattr(context_files, "LOCK_SECONDS", 0.1)
    browser(monkeypatch, "bob")
    with locked_tokens(place.context, {"HOME": str(place.home)}):
        kept_out = await place.moorage("login")
    assert (kept_out.exit_code, "another command keeps" in kept_out.stderr) == (1, True), kept_out.output
    assert place.tokens() == first


async def test_another_server_is_not_taken_for_moorage(place: Place) -> None:
    done = await place.moorage("login", f"{place.url}/typo")
    assert (done.exit_code, f"the server at {place.url}/typo is not Moorage's API" in done.stderr) == (
        5,
        True,
    )
    assert "next: check the URL" in done.stderr


async def test_an_expired_token_is_renewed_unseen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    browser(monkeypatch, "alice")
    await place.moorage("login", place.url)
    first = place.tokens()
    expired = msgspec.structs.replace(first, expires_at=0)
    save_tokens(place.context, expired, {"HOME": str(place.home)})
    shown = await place.moorage("whoami", "-o", "json")
    assert shown.exit_code == 0, shown.output
    assert place.tokens().access_token != first.access_token
    assert refused(await place.provider.refresh(first.refresh_token)) == "invalid_grant"


async def test_an_answer_with_a_wrong_state_is_refused_and_does_not_end_the_sign_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a page elsewhere cannot sign a user in as someone else, nor stop their sign-in."""
    statuses: list[int] = []
    foreign = await place.provider.code_of("bob")

    def visit(http: httpx.Client, location: str) -> None:
        base, _, query = location.partition("?")
        right = {name: values[0] for name, values in parse_qs(query).items()}
        wrong = (
            {**right, "state": "another", "code": foreign},
            {name: value for name, value in right.items() if name != "state"},
            {**right, "iss": "https://evil.test"},
        )
        statuses.extend(http.get(f"{base}?{urlencode(each)}").status_code for each in wrong)
        statuses.append(http.get(f"{base}x?{query}").status_code)
        statuses.append(http.get(location, headers={"Host": "evil.test"}).status_code)
        page = http.get(location)
        statuses.append(page.status_code)
        assert right["code"] not in page.text

    browser(monkeypatch, "alice", visit)
    signed_in = await place.moorage("login", place.url, "-o", "json")
    assert json.loads(signed_in.stdout)["email"] == "alice@example.com"
    assert statuses == [400, 400, 400, 404, 404, 200]


async def test_a_code_of_another_sign_in_gives_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a code that was stolen elsewhere is of no use, because its challenge is another one."""
    foreign = await place.provider.code_of("bob")

    def visit(http: httpx.Client, location: str) -> None:
        code = parse_qs(urlsplit(location).query)["code"][0]
        http.get(location.replace(code, foreign))

    browser(monkeypatch, "alice", visit)
    failed = await place.moorage("login", place.url)
    assert (failed.exit_code, "does not accept the sign-in (invalid_grant)" in failed.stderr) == (4, True)
    assert place.tokens() is None


async def test_a_sign_in_that_is_denied_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def visit(http: httpx.Client, location: str) -> None:
        state = parse_qs(urlsplit(location).query)["state"][0]
        http.get(f"{location.partition('?')[0]}?{urlencode({'error': 'access_denied', 'state': state})}")

    browser(monkeypatch, "alice", visit)
    failed = await place.moorage("login", place.url)
    assert (failed.exit_code, "the sign-in was denied" in failed.stderr) == (4, True)


async def test_a_person_whom_the_api_refuses_is_not_signed_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser(monkeypatch, "carol")
    failed = await place.moorage("login", place.url)
    assert failed.exit_code == 4
    assert "carol@example.com is in no group that is a team here" in failed.stderr
    assert place.tokens() is None
    listed = await place.moorage("context", "list")
    assert "There is no context" in listed.stdout


async def test_login_on_another_device(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that over SSH the code is shown, and that the approval of the person signs in."""

    def approve(code: DeviceCode) -> None:
        with httpx.Client(trust_env=False, verify=TLS) as http:
            form = {"user_code": code.user_code, "username": "bob", "password": "bob-password",
                    "decision": "approve"}  # fmt: skip
            http.post(f"{place.provider.url}/device", data=form).raise_for_status()

    monkeypatch.setattr("starter.cli.commands.sign_in._show_code", approve)
    signed_in = await place.moorage("login", place.url, SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22")
    assert signed_in.exit_code == 0, signed_in.output
    assert "as bob@example.com (platform; payments)" in signed_in.stderr


@pytest.mark.parametrize("way", ["--browser", "--device"])
async def test_ctrl_c_ends_a_sign_in_quietly(place: Place, way: str) -> None:
    """Ensures that a user who gives up gets no traceback, and that nothing is kept."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(place.home),
        "PYTHONPATH": str(CHECKOUT),
        "BROWSER": "true",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "moorage", "login", place.url, way, env=env, cwd=place.home,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    shown = b""
    while place.provider.url.encode() not in shown:
        shown += await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out, b"Traceback" in err) == (130, b"", False), err
    assert place.tokens() is None


async def poll(place: Place, act: Callable[[int, str], object]) -> tuple[dict[str, Any], list[float]]:
    """Sign in with a device whose waiting moves the provider's clock; `act` is what happens meanwhile."""
    waits: list[float] = []
    shown: list[DeviceCode] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        place.clock.ahead += seconds
        act(len(waits), shown[0].user_code)

    def work() -> dict[str, Any]:
        with IssuerClient(place.provider.url) as issuer:
            return sign_in_with_device(
                issuer, issuer.discover(), client_id="moorage", scopes=SCOPES, show=shown.append, sleep=sleep,
                clock=place.clock,
            )  # fmt: skip

    return await asyncio.to_thread(work), waits


def decide(place: Place, code: str, decision: str) -> None:
    form = {"user_code": code, "username": "alice", "password": "alice-password", "decision": decision}
    with httpx.Client(trust_env=False, verify=TLS) as http:
        http.post(f"{place.provider.url}/device", data=form).raise_for_status()


async def test_a_device_polls_more_slowly_on_slow_down(place: Place) -> None:
    def act(number: int, code: str) -> None:
        if number == 2:
            place.clock.ahead -= 1  # the issuer's clock, by which this poll is too early
        if number == 3:
            decide(place, code, "approve")

    answer, waits = await poll(place, act)
    assert answer["access_token"]
    assert waits == [1, 1, 6]


@pytest.mark.parametrize(
    ("act", "code", "expected"),
    [
        (lambda place, code: decide(place, code, "deny"), Code.NOT_ALLOWED, "the sign-in was denied"),
        (lambda place, _: setattr(place.clock, "ahead", 601), Code.FAILED, "the code has expired"),
    ],
    ids=["denied", "expired"],
)
async def test_a_device_that_is_not_approved_says_why(
    place: Place, act: Callable[[Place, str], object], code: Code, expected: str
) -> None:
    with pytest.raises(CliError, match=expected) as failed:
        await poll(place, lambda _, user_code: act(place, user_code))
    assert failed.value.code is code


def test_an_issuer_without_a_device_flow_says_what_to_do() -> None:
    endpoints = Endpoints("https://sso.example", "https://sso.example/a", "https://sso.example/t", "", "")
    with (
        IssuerClient("https://sso.example") as issuer,
        pytest.raises(CliError, match="has no sign-in by another device"),
    ):
        sign_in_with_device(issuer, endpoints, client_id="m", scopes=SCOPES, show=lambda _: None)


def test_a_browser_that_never_comes_back_and_a_taken_port(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints("https://sso.example", "https://sso.example/a?x=y", "https://sso.example/t", "", "")
    opened: list[str] = []

    def sign_in(port: int) -> None:
        with IssuerClient("https://sso.example") as issuer:
            sign_in_with_browser(
                issuer, endpoints, client_id="m", scopes=SCOPES, port=port, open_browser=opened.append,
                wait_seconds=0.01,
            )  # fmt: skip

    with pytest.raises(CliError, match="nothing came back from the browser"):
        sign_in(0)
    assert opened[0].startswith("https://sso.example/a?x=y&client_id=m&")
    with closing(listening_socket()) as taken, pytest.raises(CliError, match="cannot listen on port"):
        sign_in(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["login"], 2, "no URL of the API is set"),
        (["login", "moorage.example"], 2, "must start with https://"),
        (["login", "http://moorage.example"], 2, "what is sent there is secret"),
        (["login", "https://me:secret@moorage.example"], 2, "has no name, password, query or fragment"),
        (["login", "https://moorage.example/?a=b"], 2, "has no name, password, query or fragment"),
        (["login", "http://127.0.0.1:1"], 5, "cannot reach the API"),
        (["login", "http://127.0.0.1:1", "--name", "../x"], 2, "cannot be the name of a context"),
        (["--context", "no", "whoami"], 3, 'there is no context "no"'),
        (["context", "use", "no"], 3, 'there is no context "no"'),
        (["context", "remove", "no"], 3, 'there is no context "no"'),
        (["--url", "https://moorage.example", "logout"], 3, "there is no sign-in for"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, arguments: list[str], code: int, expected: str
) -> None:
    for name in ("MOORAGE_URL", "MOORAGE_TOKEN", "MOORAGE_STATE", "XDG_STATE_HOME"):
        assert name not in arguments
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": None, "MOORAGE_URL": None, "MOORAGE_STATE": None}
    done = CliRunner(env=env).invoke(build(), arguments)
    assert (done.exit_code, expected in done.stderr, done.stdout) == (code, True, ""), done.output
    assert "secret@" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["login", "http://127.0.0.1:7", "--name", "local"], 2),
        (["logout"], 3),
        (["--context", "local", "logout"], 3),
    ],
)
def test_the_context_of_a_stack_needs_no_sign_in(tmp_path: Path, arguments: list[str], code: int) -> None:
    add_stack(tmp_path / "state", "http://127.0.0.1:7", {"HOME": str(tmp_path)})
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": None, "MOORAGE_URL": None, "MOORAGE_STATE": None}
    done = CliRunner(env=env).invoke(build(), arguments)
    said = "the context local is the stack of moorage up, which needs no sign-in" in done.stderr
    assert (done.exit_code, said) == (code, True), done.output


async def test_contexts_are_listed_chosen_and_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    browser(monkeypatch, "alice")
    await place.moorage("login", place.url, "--name", "first")
    browser(monkeypatch, "bob")
    await place.moorage("login", place.url, "--name", "second")
    wrong = await place.moorage("login", "http://127.0.0.1:9", "--name", "first")
    assert (wrong.exit_code, "is another installation" in wrong.stderr) == (2, True)
    assert "or remove it: moorage context remove first" in wrong.stderr

    async def email(*options: str, **variables: str) -> str:
        shown = await place.moorage(*options, "whoami", "-o", "json", **variables)
        assert shown.exit_code == 0, shown.output
        return str(json.loads(shown.stdout)["email"])

    assert await email() == "bob@example.com"
    assert await email("--context", "first") == "alice@example.com"
    assert await email(MOORAGE_TOKEN=DEVELOPER) == "dev@example.com"
    assert await email("--context", "first", MOORAGE_TOKEN=DEVELOPER) == "alice@example.com"
    chosen = await place.moorage("context", "use", "first")
    assert (chosen.exit_code, await email()) == (0, "alice@example.com")
    listed = (await place.moorage("context")).stdout
    row = rf"^\*\s+first\s+{place.url}\s+alice@example.com\s+sign-in at {place.provider.url}$"
    assert re.search(row, listed, re.MULTILINE)
    browser(monkeypatch, "bob")
    await place.moorage("context", "use", "second")
    renewed = await place.moorage("login", place.url, "-o", "json")
    assert json.loads(renewed.stdout)["context"] == "second", "the current one, and not the first of the URL"
    await place.moorage("context", "use", "first")
    kept = load_tokens(Context("first", place.url), {"HOME": str(place.home)})
    removed = await place.moorage("context", "remove", "first")
    assert (removed.exit_code, "No context is the current one" in removed.stderr) == (0, True)
    assert kept
    assert refused(await place.provider.refresh(kept.refresh_token)) == "invalid_grant"
    assert (await place.moorage("whoami")).exit_code == 2
    assert await email("--context", "second") == "bob@example.com"


@pytest.mark.parametrize("arguments", [["logout"], ["context", "remove", "it"]])
async def test_the_end_of_a_sign_in_deletes_the_certificates_for_kubectl(
    place: Place, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    browser(monkeypatch, "alice")
    await place.moorage("login", place.url, "--name", "it")
    cache = CertificateCache(cache_folder({"HOME": str(place.home)}))
    until = datetime.now(UTC) + timedelta(minutes=30)
    cache.keep(ClientCertificate("a certificate", "a key", until), "demo")
    assert cache.find("demo")
    done = await place.moorage(*arguments)
    assert (done.exit_code, cache.find("demo")) == (0, None), done.output


async def test_the_api_says_how_to_sign_in_without_a_token(place: Place) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=TLS) as http:
        answer = await http.get(f"{place.url}/api/v1/sign-in")
        assert (await http.get(f"{place.url}/api/v1/whoami")).status_code == 401
    entry = {"url": place.provider.url, "client_id": "moorage", "scopes": SCOPES}
    assert (answer.status_code, answer.json()) == (200, {"issuers": [entry]})
    failed = await place.moorage("login", place.url, "--issuer", "https://other.example")
    assert (failed.exit_code, place.provider.url in failed.stderr) == (2, True)


async def test_an_installation_without_issuers_says_so(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with closing(listening_socket()) as sock:
        async with serving(await an_app(folder), sock):
            failed = await place.moorage("login", f"http://127.0.0.1:{sock.getsockname()[1]}")
    assert (failed.exit_code, "has no sign-in" in failed.stderr) == (1, True)


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"BROWSER": "firefox"}, "linux", True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "a 1 b 22"}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", False),
    ],
)
def test_where_there_is_a_browser(environ: dict[str, str], platform: str, expected: bool) -> None:
    assert has_browser(environ, platform) is expected


DOCUMENT = {
    "issuer": "https://sso.example",
    "authorization_endpoint": "https://sso.example/a",
    "token_endpoint": "https://sso.example/t",
}


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://evil.test"}, {"token_endpoint": "http://sso.example/t"}, {"token_endpoint": None},
     {"authorization_endpoint": "javascript:alert(1)"}, {"revocation_endpoint": "ftp://sso.example"}],
    ids=["another issuer", "http", "no endpoint", "a script", "another protocol"],
)  # fmt: skip
def test_a_discovery_that_is_not_safe_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    answers = [DOCUMENT, {**DOCUMENT, **change}]
    monkeypatch.setattr(IssuerClient, "_call", lambda *_: (200, answers.pop(0)))
    with IssuerClient("https://sso.example/") as issuer:
        assert issuer.discover().token == "https://sso.example/t"
        with pytest.raises(CliError):
            issuer.discover()
    with pytest.raises(CliError, match="must start with https://"):
        IssuerClient("http://sso.example")


def test_an_error_of_an_issuer_is_repeated_only_if_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[dict[str, Any]] = [{"error": "invalid_scope"}, {"error": "\x1b[2J" * 9}, {"error": 5}, {}]
    monkeypatch.setattr(IssuerClient, "_call", lambda *_: (400, answers.pop(0)))
    with IssuerClient("https://sso.example") as issuer:
        for expected in ("invalid_scope", "unknown"):
            with pytest.raises(GrantRefused, match=f"^{expected}$"):
                issuer.grant("https://sso.example/t", {})
        for _ in range(2):
            with pytest.raises(CliError, match="it answers 400 without a bearer token"):
                issuer.grant("https://sso.example/t", {})


@pytest.mark.parametrize(
    ("change", "interval", "expires_in"),
    [
        ({}, 5, 600),
        ({"interval": 1e300, "expires_in": float("inf")}, 60, 3600),
        ({"interval": float("nan"), "expires_in": -1}, 1, -1),
        ({"interval": "9" * 400}, 60, 600),
    ],
)
def test_a_device_code_of_odd_times_makes_no_one_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], interval: float, expires_in: float
) -> None:
    code = {"device_code": "d", "user_code": "u", "verification_uri": "https://sso.example/device", **change}
    monkeypatch.setattr(IssuerClient, "_call", lambda *_: (200, code))
    with IssuerClient("https://sso.example") as issuer:
        started = issuer.start_device_flow("https://sso.example/d", {})
        assert (started.interval, started.expires_in) == (interval, expires_in)
        code["interval"] = 10**400
        with pytest.raises(CliError, match="without a device code"):
            issuer.start_device_flow("https://sso.example/d", {})


@pytest.mark.parametrize("seconds", [10**400, float("nan"), float("inf"), -1, 0, True, "60", None])
def test_an_odd_lifetime_is_not_believed(seconds: Any) -> None:
    assert lifetime_of({"expires_in": seconds}) == DEFAULT_LIFETIME_SECONDS
