"""The OpenID provider as a Starlette application: its endpoints and its pages.

Authorization code with PKCE (S256 only), device flow, rotated refresh tokens, user info and revocation. It
keeps no session in the browser: each sign-in asks for the password, so there is nothing to log out from.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import cast
from urllib.parse import urlencode, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from embedded.asgi_server import Endpoint, StandIn, listening_socket
from embedded.faults import App, FaultInjector
from embedded.openid.database import Database
from embedded.openid.device import DeviceFlow
from embedded.openid.forms import (
    SCOPES,
    BadForm,
    answer,
    answer_bad_form,
    fields_of,
    is_s256,
    read_form,
    scope_of,
)
from embedded.openid.grants import CODE, DEVICE, REFRESH, Grants, Refused
from embedded.openid.guess_limit import GuessLimit
from embedded.openid.pages import message_page, sign_in_page
from embedded.openid.passwords import Accounts
from embedded.openid.tokens import ALGORITHM, TokenSigner, claims_of
from embedded.standin_options import OpenIdOptions

#: Signs with a new key from then on: POST.
ROTATE_PATH = "/-/keys"
#: A sign-in page may be open for so long, and a code lives for the moment of the redirect.
PAGE_SECONDS, CODE_SECONDS = 600.0, 60.0
_OPERATIONS = {
    "/.well-known/openid-configuration": "openid.discovery",
    "/keys": "openid.keys",
    "/token": "openid.token",
    "/device/authorize": "openid.device",
    "/revoke": "openid.revoke",
}


@contextmanager
def open_openid(options: OpenIdOptions, clock: Callable[[], float] = time.time) -> Iterator[StandIn]:
    """Open the provider's data, and listen."""
    with listening_socket(options.port) as sock, closing(Database(options.database)) as database:
        provider = OpenIdProvider(database, options, clock)
        app = FaultInjector(cast(App, provider.app), lambda _, path: _OPERATIONS.get(path))
        yield StandIn([Endpoint(app, sock)])


class OpenIdProvider:
    """The provider, without faults."""

    def __init__(
        self, database: Database, options: OpenIdOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self.issuer = f"http://127.0.0.1:{options.port}"
        self._database = database
        self._options = options
        self._clock = clock
        guesses = GuessLimit(clock)
        self._accounts = Accounts(options.accounts, guesses)
        self._signer = TokenSigner(database, options, self.issuer, clock)
        self._grants = Grants(database, self._signer, options, self._accounts, clock)
        device = DeviceFlow(database, options, self.issuer, self._accounts, guesses, clock)
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/keys", self._keys),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/sign-in", self._sign_in, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/device/authorize", device.start, methods=["POST"]),
                Route("/device", device.show, methods=["GET"]),
                Route("/device", device.decide, methods=["POST"]),
                Route("/userinfo", self._userinfo, methods=["GET", "POST"]),
                Route("/revoke", self._revoke, methods=["POST"]),
                Route(ROTATE_PATH, self._rotate, methods=["POST"]),
            ],
            exception_handlers={BadForm: answer_bad_form},
        )

    async def _discovery(self, _: Request) -> Response:
        issuer = self.issuer
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "device_authorization_endpoint": f"{issuer}/device/authorize",
                "userinfo_endpoint": f"{issuer}/userinfo",
                "revocation_endpoint": f"{issuer}/revoke",
                "jwks_uri": f"{issuer}/keys",
                "scopes_supported": list(SCOPES),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": [CODE, REFRESH, DEVICE],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "claims_supported": [
                    "sub",
                    "email",
                    "email_verified",
                    "name",
                    "preferred_username",
                    "groups",
                ],
            }
        )

    async def _keys(self, _: Request) -> Response:
        return JSONResponse(await self._signer.key_set())

    async def _rotate(self, _: Request) -> Response:
        await self._signer.rotate()
        return Response(status_code=204)

    async def _authorize(self, request: Request) -> Response:
        query = await read_form(request) if request.method == "POST" else fields_of(request.url.query)
        redirect = query.get("redirect_uri", "")
        if query.get("client_id") != self._options.client_id or not self._may_redirect(redirect):
            # RFC 6749, 4.1.2.1: with a client or an address that is not registered, there is no redirect.
            text = "The client or the address to return to is not registered here."
            return message_page("Not signed in", text, status=400)
        error = ""
        if query.get("response_type") != "code":
            error = "unsupported_response_type"
        elif "openid" not in (scope := scope_of(query)).split():
            error = "invalid_scope"
        elif not is_s256(query):
            error = "invalid_request"
        elif query.get("prompt") == "none":
            error = "login_required"
        if error:
            return self._redirect(redirect, error=error, state=query.get("state", ""))
        self._database.remove_expired(self._clock())
        kept = {name: query.get(name, "") for name in ("redirect_uri", "state", "nonce", "code_challenge")}
        page = self._database.new_grant("page", None, {**kept, "scope": scope}, self._clock() + PAGE_SECONDS)
        return sign_in_page(
            f"sign-in?request={page}", hint=query.get("login_hint", ""), where=self._options.where
        )

    async def _sign_in(self, request: Request) -> Response:
        page = request.query_params.get("request", "")
        grant = self._database.grant("page", page)
        if grant is None or grant["used"] or self._clock() >= grant["expires_at"]:
            return _expired_page()
        form = await read_form(request)
        account, problem = self._accounts.check(form)
        if account is None:
            hint, where = form.get("username", ""), self._options.where
            return sign_in_page(
                f"sign-in?request={page}", hint=hint, where=where, problem=problem, status=401
            )
        if not self._database.use_grant(page):
            # The form of the same page came twice at once, and the other one was first.
            return _expired_page()
        data = grant["data"]
        session_id = self._database.new_session(account.email.lower(), data["scope"])
        code = self._database.new_grant(CODE, session_id, data, self._clock() + CODE_SECONDS)
        return self._redirect(data["redirect_uri"], code=code, state=data["state"])

    async def _token(self, request: Request) -> Response:
        try:
            return answer(await self._grants.tokens(await read_form(request)))
        except Refused as refusal:
            return answer({"error": str(refusal)}, 401 if str(refusal) == "invalid_client" else 400)

    async def _userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        session_id = await self._signer.session_id_of(token) if scheme.lower() == "bearer" else None
        session = self._database.session(session_id) if session_id else None
        account = self._accounts.find(session["email"]) if session else None
        if session is None or account is None:
            return answer(
                {"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return answer(claims_of(account, session["scope"]))

    async def _revoke(self, request: Request) -> Response:
        form = await read_form(request)
        if form.get("client_id") != self._options.client_id:
            return answer({"error": "invalid_client"}, 401)
        token = form.get("token", "")
        grant = self._database.grant(REFRESH, token)
        session_id = await self._signer.session_id_of(token) if grant is None else str(grant["session_id"])
        if session_id is not None:
            self._database.revoke(session_id)
        # RFC 7009, 2.2: a token that is unknown, or revoked already, is no error.
        return answer({})

    def _may_redirect(self, uri: str) -> bool:
        if uri in self._options.redirect_uris:
            return True
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError:
            return False
        # RFC 8252, 7.3: on loopback, by address, any port. The whole is compared, so that nothing is hidden.
        host = "[::1]" if parts.hostname == "::1" else "127.0.0.1"
        return port is not None and uri == f"http://{host}:{port}/callback"

    def _redirect(self, uri: str, **query: str) -> Response:
        # RFC 9207: with `iss`, a client notices an answer of an issuer that it did not ask.
        given = {name: value for name, value in query.items() if value}
        location = f"{uri}?{urlencode({**given, 'iss': self.issuer})}"
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return RedirectResponse(location, 302, headers=headers)


def _expired_page() -> Response:
    return message_page("Not signed in", "This page has expired. Start the sign-in again.", status=400)
