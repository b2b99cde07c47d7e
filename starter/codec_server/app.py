"""Temporal's remote codec protocol over HTTP: decodes payloads for the Web UI and the `temporal` command.

It has POST /decode as in github.com/temporalio/samples-go/tree/main/codec-server, and no encoding, because
only the API and the worker write to Temporal. Only the platform team has access; the API shows them all of it
anyway:

- with a token of the API, as `Authorization: Bearer …` (the `temporal` command's `--codec-auth`)
- in a browser, after a sign-in at `/` with such a token; the Web UI must be configured to send cookies
- without a token on a local stack, if the settings allow it: see `starter.codec_server.local_peer`
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from html import escape
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads

from starter.auth import security_log
from starter.auth.policy import Role
from starter.auth.rate_limit import WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND, Throttle
from starter.auth.security_log import Verdict
from starter.auth.tokens import Tokens, load_tokens
from starter.codec_server.local_peer import is_same_user
from starter.config_files.reloading import Reloaded
from starter.http_server.body_limit import BodyLimit
from starter.http_server.connections import peer_of
from starter.http_server.server import Server
from starter.http_server.sockets import open_listening_socket
from worker.codec import ENCODING, ENCRYPTED, DecodeError, Keyring

#: Largest body: the payloads of one event. Temporal accepts at most 4 MB at once, and base64 makes it longer.
MAX_BODY_BYTES = 8 * 1024 * 1024
#: Largest sign-in form, with a token; any client can send it.
MAX_FORM_BYTES = 4 * 1024
#: Name in the security log of a caller that has access without a token.
SAME_USER = "(same user)"
COOKIE = "moorage-codec"
#: A working day, so that a user of the Web UI signs in once a day.
SESSION_SECONDS = 10 * 3600
#: Enough for a platform team, whose browsers open six connections each.
MAX_CONNECTIONS = 500
#: A platform team is a dozen people; above this number, a new session replaces the oldest.
MAX_SESSIONS = 500


class _Guard:
    """Checks who may decode payloads. A session ends when its token is removed from the tokens file."""

    def __init__(self, tokens_file: Path | None, ui: Sequence[str], *, trust_same_user: bool) -> None:
        self._tokens = Reloaded(tokens_file, load_tokens) if tokens_file else None
        self._ui = frozenset(ui)
        self._trust_same_user = trust_same_user
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._wrong = Throttle(WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND)

    def who(self, token: str) -> str:
        """Return the e-mail of the token's owner if in the platform team, otherwise ""."""
        principal = (self._tokens.current() if self._tokens else Tokens([])).principal_of(token)
        return principal.email if principal and principal.role is Role.PLATFORM else ""

    def begin_session(self, token: str) -> str:
        """Start a session and return its id, which is valid only for this server."""
        session = secrets.token_urlsafe(32)
        self._sessions[session] = token, time.monotonic() + SESSION_SECONDS
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def check(self, request: Request) -> str:
        """Return the caller; raise HTTPException if the caller has no access."""
        # CORS only prevents that a foreign page reads the response; this also prevents its request.
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._ui:
            _record(request, Verdict.DENIED, origin=origin[:200])
            raise HTTPException(
                HTTPStatus.FORBIDDEN, "this page is not the Web UI of MOORAGE_CODEC_SERVER__UI"
            )
        who = self._who(request)
        if not who:
            self.refuse(request)
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                f"for the platform team: sign in at {request.base_url}, or show a token",
                {"WWW-Authenticate": "Bearer"},
            )
        return who

    def refuse(self, request: Request) -> None:
        """Log an unknown caller; raise HTTPException after too many failures of its address."""
        limited = self._wrong.record(peer_of(_peer(request)))
        if limited is None or limited.is_first:
            _record(request, Verdict.LIMITED if limited else Verdict.NOT_SIGNED_IN)
        if limited:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many tokens that are not known: try again in {limited.retry_after} s",
                {"Retry-After": str(limited.retry_after)},
            )

    def _who(self, request: Request) -> str:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if token:
            return self.who(token.strip()) if kind.lower() == "bearer" else ""
        token, ends = self._sessions.get(request.cookies.get(COOKIE, ""), ("", 0.0))
        if token and time.monotonic() < ends and (who := self.who(token)):
            return who
        client, server = request.client, request.scope.get("server")
        if not (self._trust_same_user and client and server):
            return ""
        return SAME_USER if is_same_user((client.host, client.port), tuple(server)) else ""


def create_codec_server(
    keys: Keyring, *, tokens_file: Path | None, ui: Sequence[str], trust_same_user: bool = False
) -> Starlette:
    """Create the server's application; raise FilesUnusable if the tokens file has problems."""
    guard = _Guard(tokens_file, ui, trust_same_user=trust_same_user)
    # A browser that shows the Web UI over TLS does not connect to a server without TLS.
    over_tls = bool(ui) and all(url.startswith("https://") for url in ui)

    async def decode(request: Request) -> Response:
        who = guard.check(request)
        try:
            payloads = json_format.Parse(await request.body(), Payloads(), ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is not payloads as JSON") from None
        try:
            done = [_decoded(keys, payload) for payload in payloads.payloads]
        except DecodeError as error:
            _record(request, Verdict.REFUSED, who)
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        _record(request, Verdict.ALLOWED, who, payloads=len(done))
        return Response(
            json_format.MessageToJson(Payloads(payloads=done), indent=None), media_type="application/json"
        )

    async def page(_: Request) -> Response:
        return _page("Sign in with your token of Moorage's API, to read in Temporal's Web UI.")

    async def sign_in(request: Request) -> Response:
        form = parse_qs((await request.body()).decode(errors="replace"))
        token = form.get("token", [""])[0].strip()
        if not (email := guard.who(token)):
            guard.refuse(request)
            return _page("That is not a token of the platform team.", HTTPStatus.FORBIDDEN)
        _record(request, Verdict.ALLOWED, email)
        response = RedirectResponse("/signed-in", HTTPStatus.SEE_OTHER)
        response.set_cookie(
            COOKIE,
            guard.begin_session(token),
            SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=over_tls,
        )
        return response

    async def signed_in(_: Request) -> Response:
        return _page("Signed in. Now load the Web UI again.", form=False)

    async def healthy(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def disconnected(_: Request, __: Exception) -> Response:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # No client reads it: it has disconnected.

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  (registered for nothing else)
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

    return Starlette(
        routes=[
            Route("/decode", decode, methods=["POST"]),
            Route("/", page),
            Route("/sign-in", sign_in, methods=["POST"]),
            Route("/signed-in", signed_in),
            Route("/healthz", healthy),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=list(ui),
                allow_methods=["POST"],
                allow_headers=["Authorization", "Content-Type", "X-Namespace"],
                allow_credentials=True,
            ),
            Middleware(BodyLimit, limit=MAX_BODY_BYTES, smaller={"/sign-in": MAX_FORM_BYTES}),
        ],
        exception_handlers={HTTPException: problem, ClientDisconnect: disconnected},
    )


def _decoded(keys: Keyring, payload: Payload) -> Payload:
    """Decode an encrypted payload; return another unchanged, which shows that it is plain."""
    return keys.open(payload)[0] if payload.metadata.get(ENCODING) == ENCRYPTED else payload


async def serve_codec(app: Starlette, host: str, port: int) -> None:
    """Serve the app until SIGTERM or SIGINT; raise OSError if it cannot listen on the address."""
    with open_listening_socket(host, port) as listening:
        # Trust no proxy headers about the client: the address of the connection itself decides.
        await Server(app, max_connections=MAX_CONNECTIONS).serve(sockets=[listening])


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


def _record(request: Request, verdict: Verdict, who: str = "", **more: object) -> None:
    namespace = request.headers.get("x-namespace", "")[:100]
    security_log.record(
        verdict,
        actor=who,
        verb=f"{request.method} {request.url.path[:200]}",
        object=namespace,
        peer=_peer(request),
        **more,
    )


def _page(message: str, status: HTTPStatus = HTTPStatus.OK, *, form: bool = True) -> Response:
    fields = (
        '<form method="post" action="/sign-in">'
        '<label>Token <input type="password" name="token" autocomplete="off" required autofocus></label> '
        "<button>Sign in</button></form>"
    )
    text = (
        f"<!doctype html><title>Moorage codec server</title><p>{escape(message)}</p>{fields if form else ''}"
    )
    headers = {
        "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, status, headers)
