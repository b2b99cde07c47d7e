"""Sign-in in the browser: authorization code with PKCE, received on loopback (RFC 8252)."""

import hmac
import os
import queue
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starter.cli.client.credentials.issuer import Endpoints, GrantRefused, IssuerClient, Pkce
from starter.cli.errors import CliError, Code

CALLBACK_PATH = "/callback"
#: How long a person may take at the issuer, with a second factor and a forgotten password.
WAIT_SECONDS = 300.0
#: Browsers open connections that they do not use; such a one ends after this time.
_IDLE_SECONDS = 5.0

_SSH_VARIABLES = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")


def has_browser(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Return whether this session can show a browser to the user."""
    if any(environ.get(name) for name in _SSH_VARIABLES):
        return False
    if environ.get("BROWSER") or platform in ("darwin", "win32"):
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def sign_in_with_browser(
    issuer: IssuerClient,
    endpoints: Endpoints,
    *,
    client_id: str,
    scopes: str,
    port: int,
    open_browser: Callable[[str], object],
    wait_seconds: float = WAIT_SECONDS,
) -> dict[str, Any]:
    """Return the issuer's answer with the tokens; `open_browser` shows the user the address of the sign-in.

    Raises:
        CliError: the person or the issuer denies it, or nothing comes back in time.
    """
    pkce, state = Pkce(), secrets.token_urlsafe(24)
    with _listening(port, state, endpoints.issuer) as listener:
        redirect_uri = f"http://127.0.0.1:{listener.server_port}{CALLBACK_PATH}"
        query = {
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": scopes,
            "state": state,
            **pkce.parameters,
        }
        separator = "&" if "?" in endpoints.authorization else "?"
        open_browser(f"{endpoints.authorization}{separator}{urlencode(query)}")
        try:
            received = listener.received.get(timeout=wait_seconds)
        except queue.Empty:
            message = f"nothing came back from the browser within {wait_seconds:g} s"
            steps = ["try again, or sign in on another device: moorage login --device"]
            raise CliError(Code.FAILED, message, next_steps=steps) from None
    if "code" not in received:
        raise _denied(received.get("error", ""), endpoints.issuer)
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": received["code"],
        "redirect_uri": redirect_uri,
        "code_verifier": pkce.verifier,
    }
    try:
        return issuer.grant(endpoints.token, form)
    except GrantRefused as refusal:
        message = f"the issuer {endpoints.issuer} does not accept the sign-in ({refusal.code})"
        raise CliError(Code.NOT_ALLOWED, message, next_steps=["try again"]) from None


def _denied(error: str, issuer: str) -> CliError:
    if error == "access_denied":
        return CliError(Code.NOT_ALLOWED, "the sign-in was denied")
    known = error if error.isascii() and error.replace("_", "").isalpha() and len(error) < 50 else "no reason"
    message = f"the issuer {issuer} refuses the sign-in ({known})"
    step = "check that its client allows redirects to http://127.0.0.1, and the scopes of the issuers file"
    return CliError(Code.NOT_ALLOWED, message, next_steps=[step])


class _Listener(ThreadingHTTPServer):
    """Receives one answer of the issuer, which the browser brings."""

    daemon_threads = True

    def __init__(self, port: int, state: str, issuer: str) -> None:
        self.state = state
        self.issuer = issuer
        self.received: queue.Queue[dict[str, str]] = queue.Queue(1)
        super().__init__(("127.0.0.1", port), _Handler)

    def take(self, query: str) -> bool:
        """Accept the answer if it is for this sign-in, and the first one; return whether it was.

        Any page that the browser shows can call this address, so that a wrong answer is ignored and does not
        end the sign-in.
        """
        fields = dict(parse_qsl(query))
        is_ours = hmac.compare_digest(fields.get("state", "").encode(), self.state.encode())
        # RFC 9207: an answer of another issuer has another `iss`.
        if not is_ours or fields.get("iss", self.issuer).rstrip("/") != self.issuer:
            return False
        try:
            self.received.put_nowait(fields)
        except queue.Full:
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that break: the browser makes another one."""


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        """Answer the browser with a page; never with what it has sent."""
        parts = urlsplit(self.path)
        # Another name for this address is a page elsewhere that pretends to be here (DNS rebinding).
        is_here = self.headers.get("Host") == f"127.0.0.1:{self.server.server_port}"
        if parts.path != CALLBACK_PATH or not is_here:
            self._answer(HTTPStatus.NOT_FOUND, "There is nothing here.")
        elif self.server.take(parts.query):
            self._answer(HTTPStatus.OK, "Continue in the terminal. You can close this page.")
        else:
            self._answer(HTTPStatus.BAD_REQUEST, "This is not the answer to a sign-in that is open now.")

    def _answer(self, status: HTTPStatus, text: str) -> None:
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Moorage</title><p>{text}</p></html>'
        )
        body = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the query has the code."""


@contextmanager
def _listening(port: int, state: str, issuer: str) -> Iterator[_Listener]:
    try:
        listener = _Listener(port, state, issuer)
    except OSError as error:
        message = f"cannot listen on port {port} of 127.0.0.1: {error.strerror}"
        steps = ["choose another one: --port, or sign in on another device: moorage login --device"]
        raise CliError(Code.FAILED, message, next_steps=steps) from None
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        listener.server_close()
