"""Contexts: which installation a command uses, and that no credential of one reaches another."""

import json
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import keyring
import keyring.backends.fail
import msgspec
import pytest

from starter.cli.client.api import Api
from starter.cli.client.connection import Connection, find_connection
from starter.cli.client.contexts import (
    Context,
    Contexts,
    add_stack,
    change_contexts,
    ensure_name,
    name_of,
    read_contexts,
    remove_stack,
    stack_settings,
    with_context,
    without_context,
)
from starter.cli.client.credentials.session import Session
from starter.cli.client.credentials.store import (
    Tokens,
    forget_tokens,
    load_tokens,
    refresh_token_of,
    save_tokens,
)
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code

PROD = Context("prod", "https://moorage.example")
TEST = Context("test", "https://test.example")
NONE = ConnectionOptions()


@pytest.fixture(autouse=True)
def no_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that no test touches the keyring of the person who runs it."""
    monkeypatch.setattr(keyring, "get_keyring", keyring.backends.fail.Keyring)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with nothing."""
    return {"HOME": str(tmp_path)}


def tokens(url: str = PROD.url, *, expires_in: float = 300, **changes: Any) -> Tokens:
    values = {
        "url": url,
        "issuer": "https://sso.example",
        "client_id": "moorage",
        "token_endpoint": "https://sso.example/token",
        "access_token": "access",
        "expires_at": time.time() + expires_in,
        "refresh_token": "refresh",
    }
    return Tokens(**{**values, **changes})


def sign_in(environ: dict[str, str], *contexts: Context, **changes: Any) -> None:
    """As `moorage login` does: the last one is the current context."""
    for context in contexts:
        change_contexts(lambda found, each=context: with_context(found, each), environ)  # type: ignore[misc]
        values = {"access_token": f"token-of-{context.name}", **changes}
        save_tokens(context, tokens(context.url, **values), environ)


def connect(environ: dict[str, str], **options: Any) -> tuple[str, str]:
    """The URL and the token that a command would use."""
    found = find_connection(ConnectionOptions(**options), environ)
    return found.url, found.access_token()


def test_the_current_context_is_the_last_sign_in_and_use_chooses_another(home: dict[str, str]) -> None:
    sign_in(home, TEST, PROD)
    assert connect(home) == (PROD.url, "token-of-prod")
    assert connect(home, context="test") == (TEST.url, "token-of-test")
    assert find_connection(NONE, home).context == "prod"
    with pytest.raises(CliError, match='no context "no": there are test, prod') as failed:
        connect(home, context="no")
    assert failed.value.code is Code.NOT_FOUND


def test_variables_win_over_the_current_context(home: dict[str, str]) -> None:
    sign_in(home, PROD)
    assert connect(home | {"MOORAGE_TOKEN": "mine"}) == (PROD.url, "mine")
    other = {"MOORAGE_URL": "https://other.example", "MOORAGE_TOKEN": "mine"}
    assert connect(home | other) == ("https://other.example", "mine")


def test_a_token_for_the_current_context_is_sent_to_no_other_url(home: dict[str, str]) -> None:
    """Ensures that the plugin of a kubeconfig, which names its URL, takes no token of another one."""
    sign_in(home, TEST, PROD)
    variables = {"MOORAGE_TOKEN": "of prod"}
    assert connect(home | variables, url=TEST.url) == (TEST.url, "token-of-test")
    assert connect(home | variables, url=PROD.url) == (PROD.url, "of prod")
    with pytest.raises(CliError, match="no token for"):
        connect(home | variables, url="https://other.example")


def test_a_context_that_is_named_wins_over_variables_and_gets_no_token_of_theirs(
    home: dict[str, str],
) -> None:
    sign_in(home, PROD)
    variables = {"MOORAGE_URL": "https://other.example", "MOORAGE_TOKEN": "others"}
    assert connect(home | variables, context="prod") == (PROD.url, "token-of-prod")
    with pytest.raises(CliError, match="two installations"):
        connect(home, context="prod", url="https://other.example")


@pytest.mark.parametrize(
    "url",
    ["https://other.example", "http://moorage.example", "https://moorage.example:8443", "https://x.moorage.example",
     "https://moorage.example.evil.test", "https://moorage.example/other", "https://moorage.example@evil.test"],
)  # fmt: skip
def test_tokens_of_a_context_are_sent_to_no_other_url(home: dict[str, str], url: str) -> None:
    sign_in(home, PROD)
    for variables, options in (({"MOORAGE_URL": url}, {}), ({}, {"url": url})):
        with pytest.raises(CliError, match="no token for"):
            connect(home | variables, **options)


def test_a_url_that_is_spelled_differently_is_the_same_installation(home: dict[str, str]) -> None:
    sign_in(home, TEST, PROD)
    for url in ("https://TEST.example/", "https://test.example:443"):
        assert connect(home, url=url)[1] == "token-of-test"


def test_of_several_sign_ins_at_one_installation_the_one_of_the_person_is_used(
    home: dict[str, str], tmp_path: Path
) -> None:
    """Ensures that a kubeconfig of one person works while another sign-in, or a stack, is current."""
    state = a_stack(tmp_path / "state", "http://127.0.0.1:7", "of-the-stack")
    ada = Context("ada", "http://127.0.0.1:7", person="ada@example.com")
    bob = Context("bob", "http://127.0.0.1:7", person="bob@example.com")
    elsewhere = Context("elsewhere", PROD.url, person="ada@example.com")
    sign_in(home, elsewhere, bob, ada, bob)
    options = ConnectionOptions(url="http://127.0.0.1:7")

    def used(person: str, **variables: str) -> str:
        return find_connection(options, home | variables, person=person).access_token()

    assert used("ada@example.com") == "token-of-ada"
    assert used("") == used("eve@example.com") == "token-of-bob", "the current one"
    assert used("ada@example.com", MOORAGE_TOKEN="given") == "given"
    add_stack(state, "http://127.0.0.1:7", home)
    assert used("ada@example.com") == "token-of-ada"
    assert used("") == used("eve@example.com") == "of-the-stack"
    forget_tokens(ada, home)
    with pytest.raises(CliError, match="not signed in"):
        used("ada@example.com")


def test_a_file_of_contexts_that_names_another_url_leads_no_token_there(home: dict[str, str]) -> None:
    sign_in(home, PROD)
    change_contexts(lambda _: with_context(Contexts({}), Context("prod", "https://evil.test")), home)
    with pytest.raises(CliError, match=r"not signed in to https://evil\.test") as failed:
        connect(home)
    assert (failed.value.code, failed.value.next_steps) == (
        Code.NOT_ALLOWED,
        ("moorage login https://evil.test",),
    )


def test_files_are_private_and_others_are_ignored(home: dict[str, str], tmp_path: Path) -> None:
    sign_in(home, PROD)
    folder = tmp_path / ".local" / "state" / "moorage"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes["moorage"] == modes["credentials"] == 0o700
    assert modes["contexts.json"] == modes["prod.json"] == 0o600
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes
    (folder / "credentials" / "prod.json").chmod(0o644)
    assert load_tokens(PROD, home) is None
    (folder / "contexts.json").chmod(0o644)
    assert read_contexts(home) == Contexts({})
    assert "access" not in repr(tokens())


@pytest.mark.parametrize("content", ["[]", "{}", '{"contexts": []}', '{"contexts": {"../x": {"url": "u"}}}'])
def test_a_file_of_contexts_that_is_none_says_what_to_do(
    home: dict[str, str], tmp_path: Path, content: str
) -> None:
    sign_in(home, PROD)
    (tmp_path / ".local" / "state" / "moorage" / "contexts.json").write_text(content)
    with pytest.raises(CliError, match="is not a file of contexts") as failed:
        connect(home)
    assert failed.value.code is Code.BAD_INPUT


def a_stack(folder: Path, url: str, token: str) -> Path:
    folder.mkdir()
    for name, text in (
        ("connection.json", json.dumps({"url": url, "token": token})),
        ("environment", "export MOORAGE_A='two words'\nexport TEMPORAL_ADDRESS=x:1\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return folder


def test_a_stack_is_the_current_context_while_it_runs(home: dict[str, str], tmp_path: Path) -> None:
    sign_in(home, PROD)
    state = a_stack(tmp_path / "state", "http://127.0.0.1:7", "of-the-stack")
    assert add_stack(state, "http://127.0.0.1:7", home).name == "local"
    assert add_stack(state, "http://127.0.0.1:7", home).name == "local", "started again"
    assert connect(home) == ("http://127.0.0.1:7", "of-the-stack")
    assert stack_settings(home) == {"MOORAGE_A": "two words", "TEMPORAL_ADDRESS": "x:1"}
    assert connect(home, context="prod")[1] == "token-of-prod"
    second = a_stack(tmp_path / "second", "http://127.0.0.1:8", "of-the-second")
    assert add_stack(second, "http://127.0.0.1:8", home).name == "local-2"
    assert connect(home)[1] == "of-the-second"
    remove_stack(second, home)
    remove_stack(state, home)
    assert connect(home) == (PROD.url, "token-of-prod"), "as before"
    assert stack_settings(home) == {}
    remove_stack(state, home)


def test_a_choice_while_a_stack_runs_stays_after_it(home: dict[str, str], tmp_path: Path) -> None:
    state = a_stack(tmp_path / "state", "http://127.0.0.1:7", "t")
    sign_in(home, PROD)
    add_stack(state, "http://127.0.0.1:7", home)
    sign_in(home, TEST)
    remove_stack(state, home)
    assert read_contexts(home).current == "test"


def test_a_stack_whose_file_others_may_read_gives_no_token(home: dict[str, str], tmp_path: Path) -> None:
    state = a_stack(tmp_path / "state", "http://127.0.0.1:7", "t")
    add_stack(state, "http://127.0.0.1:7", home)
    (state / "connection.json").chmod(0o644)
    with pytest.raises(CliError, match=r"no token for http://127\.0\.0\.1:7"):
        connect(home)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://moorage.example", "moorage.example"),
        ("https://Moorage.example:8443/", "moorage.example:8443"),
        ("https://moorage.example/team/a", "moorage.example-team-a"),
        ("http://[::1]:7400", "1:7400"),
        (f"https://moorage.example/{'x' * 300}", "moorage.example-" + "x" * 84),
    ],
)
def test_a_context_is_named_after_its_url(url: str, name: str) -> None:
    assert ensure_name(name_of(url)) == name


def test_removing_a_context_leaves_the_others(home: dict[str, str]) -> None:
    sign_in(home, TEST, PROD)
    change_contexts(lambda found: without_context(found, "prod"), home)
    found = read_contexts(home)
    assert (list(found.by_name), found.current) == (["test"], "")
    with pytest.raises(CliError, match="no URL of the API is set"):
        connect(home)


class _Issuer(ThreadingHTTPServer):
    """Answers a refresh with `status` and new tokens; `asked` has the form of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, list[str]]] = []
        self.status = 200
        self.answer: dict[str, Any] = {}
        self.location = ""
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def tokens(self, **changes: Any) -> dict[str, Any]:
        return {"issuer": self.url, "token_endpoint": f"{self.url}/token", **changes}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        server.asked.append(form)
        server.may_answer.wait(20)
        number = len(server.asked)
        answer = {"token_type": "Bearer", "access_token": f"new-{number}", "expires_in": 300,
                  "refresh_token": f"refresh-{number}", **server.answer}  # fmt: skip
        self._send(server.status, answer)

    def do_GET(self) -> None:
        """As the API: only new tokens are valid."""
        is_valid = self.headers["Authorization"].startswith("Bearer new-")
        problem = {"title": "Not signed in", "detail": "The token has expired."}
        self._send(200 if is_valid else 401, {"templates": []} if is_valid else problem)

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if location := getattr(self.server, "location", ""):
            self.send_header("Location", location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[_Issuer]:
    with _Issuer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_token_that_ends_soon_is_renewed_and_kept(home: dict[str, str], issuer: _Issuer) -> None:
    sign_in(home, PROD, expires_in=20, **issuer.tokens())
    assert connect(home) == (PROD.url, "new-1")
    assert connect(home) == (PROD.url, "new-1"), "the next command uses it"
    assert issuer.asked == [
        {"grant_type": ["refresh_token"], "client_id": ["moorage"], "refresh_token": ["refresh"]}
    ]
    kept = load_tokens(PROD, home)
    assert kept
    assert refresh_token_of(PROD, kept) == "refresh-1"


def test_an_issuer_that_does_not_rotate_keeps_its_refresh_token(
    home: dict[str, str], issuer: _Issuer
) -> None:
    issuer.answer = {"refresh_token": None}
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    assert connect(home)[1] == "new-1"
    kept = load_tokens(PROD, home)
    assert kept
    assert refresh_token_of(PROD, kept) == "refresh"


def test_of_commands_that_renew_at_the_same_time_one_asks(home: dict[str, str], issuer: _Issuer) -> None:
    """Ensures that a refresh token, which is good for one use, is used once."""
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    issuer.may_answer.clear()
    seen: list[str] = []
    commands = [threading.Thread(target=lambda: seen.append(connect(home)[1])) for _ in range(4)]
    for command in commands:
        command.start()
    while not issuer.asked:
        time.sleep(0.01)
    issuer.may_answer.set()
    for command in commands:
        command.join()
    assert (seen, len(issuer.asked)) == (["new-1"] * 4, 1)


def test_a_refused_refresh_says_sign_in_again_and_forgets(home: dict[str, str], issuer: _Issuer) -> None:
    issuer.status, issuer.answer = 400, {"error": "invalid_grant", "error_description": "refresh secret"}
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    with pytest.raises(CliError, match=r"your sign-in at .* has ended") as failed:
        connect(home)
    assert (failed.value.code, failed.value.next_steps) == (Code.NOT_ALLOWED, (f"moorage login {PROD.url}",))
    assert load_tokens(PROD, home) is None
    with pytest.raises(CliError, match="not signed in"):
        connect(home)
    assert len(issuer.asked) == 1


def test_without_a_refresh_token_an_expired_sign_in_has_ended(home: dict[str, str]) -> None:
    sign_in(home, PROD, expires_in=0, refresh_token="")
    with pytest.raises(CliError, match="has ended"):
        connect(home)


def test_an_issuer_that_does_not_answer_keeps_the_sign_in(home: dict[str, str], issuer: _Issuer) -> None:
    issuer.status = 503
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    with pytest.raises(CliError, match="cannot sign in at the issuer") as failed:
        connect(home)
    assert failed.value.code is Code.UNREACHABLE
    assert load_tokens(PROD, home) is not None
    sign_in(home, PROD, expires_in=20, **issuer.tokens())
    assert connect(home)[1] == "token-of-prod", "its last seconds are still good"


def test_a_refresh_token_does_not_follow_a_redirect(home: dict[str, str], issuer: _Issuer) -> None:
    issuer.status, issuer.location = 307, f"{issuer.url}/elsewhere"
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    with pytest.raises(CliError, match="it answers 307 without a bearer token"):
        connect(home)
    assert len(issuer.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_page_of_a_proxy_does_not_end_the_sign_in(
    home: dict[str, str], issuer: _Issuer, status: int
) -> None:
    """Ensures that only the issuer's own refusal loses the refresh token."""
    issuer.status, issuer.answer = status, {"message": "blocked by a firewall"}
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    with pytest.raises(CliError, match=f"it answers {status}") as failed:
        connect(home)
    assert failed.value.code is Code.UNREACHABLE
    assert load_tokens(PROD, home) is not None


@pytest.mark.parametrize(
    "answer",
    [{"access_token": "a\r\nX: y"}, {"access_token": ""}, {"access_token": 5}, {"token_type": "mac"},
     {"pad": "x" * 300_000}],
    ids=["a header", "empty", "a number", "of another type", "too large"],
)  # fmt: skip
def test_odd_answers_of_an_issuer_are_refused(
    home: dict[str, str], issuer: _Issuer, answer: dict[str, Any]
) -> None:
    issuer.answer = answer
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    with pytest.raises(CliError, match="cannot sign in at the issuer"):
        connect(home)


def test_a_token_that_the_api_refuses_is_renewed_once(home: dict[str, str], issuer: _Issuer) -> None:
    """Ensures that a command that lives longer than its token goes on."""
    context = Context("local-api", issuer.url)
    sign_in(home, context, **issuer.tokens())
    with Api(find_connection(NONE, home), tries=1) as api:
        assert api.call("GET", "templates") == {"templates": []}
    issuer.answer = {"access_token": "old"}
    save_tokens(context, tokens(issuer.url, **issuer.tokens()), home)
    with (
        Api(find_connection(NONE, home), tries=1) as api,
        pytest.raises(CliError, match="the token has expired"),
    ):
        api.call("GET", "templates")
    assert len(issuer.asked) == 2


def test_a_client_without_a_credential_sends_none(issuer: _Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def answer(handler: _Handler) -> None:
        seen.append(handler.headers["Authorization"])
        handler._send(200, {"templates": []})

    monkeypatch.setattr(_Handler, "do_GET", answer)
    with Api(Connection(issuer.url), tries=1) as api:
        api.call("GET", "templates")
    assert seen == [None]


class _Keyring:
    """A keyring of a desktop. No subclass of the library's, which would use it in all later tests."""

    priority = 5
    is_locked = False

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        if self.is_locked:
            raise keyring.errors.KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.is_locked:
            raise keyring.errors.KeyringLocked("locked")
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch, no_desktop: None) -> _Keyring:
    backend = _Keyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    for name in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(keyring, name, getattr(backend, name))
    return backend


def test_the_refresh_token_is_in_the_keyring_where_there_is_one(
    home: dict[str, str], issuer: _Issuer, desktop: _Keyring, tmp_path: Path
) -> None:
    sign_in(home, PROD, expires_in=0, **issuer.tokens())
    assert desktop.kept == {("moorage", "prod https://moorage.example:443"): "refresh"}
    assert connect(home)[1] == "new-1"
    assert list(desktop.kept.values()) == ["refresh-1"]
    file = tmp_path / ".local" / "state" / "moorage" / "credentials" / "prod.json"
    assert "refresh-1" not in file.read_text()
    forget_tokens(PROD, home)
    assert (desktop.kept, file.exists()) == ({}, False)


def test_a_locked_keyring_is_said_at_a_renewal_and_not_used_at_a_sign_in(
    home: dict[str, str], desktop: _Keyring
) -> None:
    sign_in(home, PROD, expires_in=0)
    desktop.is_locked = True
    with pytest.raises(CliError, match=r"keyring of this system does not open \(KeyringLocked\)"):
        connect(home)
    assert load_tokens(PROD, home), "it may be unlocked"
    sign_in(home, TEST)
    kept = load_tokens(TEST, home)
    assert kept
    assert (kept.is_in_keyring, kept.refresh_token) == (False, "refresh")


def test_a_keyring_that_keeps_nothing_safe_is_not_used(home: dict[str, str], desktop: _Keyring) -> None:
    desktop.__dict__["priority"] = 0.5
    sign_in(home, PROD)
    assert desktop.kept == {}


def test_a_session_renews_itself_for_a_long_command(home: dict[str, str], issuer: _Issuer) -> None:
    now = 1000.0
    first = tokens(expires_at=now + 300, **issuer.tokens())
    save_tokens(PROD, first, home)
    session = Session(PROD, first, environ=home, now=lambda: now)
    assert session.access_token() == "access"
    now += 280
    assert session.access_token() == "new-1"
    assert msgspec.structs.asdict(session.tokens)["expires_at"] == now + 300
