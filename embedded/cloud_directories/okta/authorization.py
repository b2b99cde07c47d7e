"""Who may call the stand-in for Okta: API tokens, and access tokens of service apps with their scopes.

Sources: "Implement OAuth for Okta with a service app", "Client authentication methods", and the errors of the
token endpoint of the org authorization server.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.jws import extract_compact
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.cloud_directories.assertions import ASSERTION_TYPE, Assertions, Fault, RefusedAssertion
from embedded.cloud_directories.okta.responses import forbidden, invalid_token
from embedded.standin_options import OktaClient, OktaOptions

TOKEN_PATH = "/oauth2/v1/token"  # noqa: S105 - a path
_REASONS = {
    Fault.UNREADABLE: "The parsing of the client_assertion failed.",
    Fault.SIGNATURE: "The client_assertion signature is invalid.",
    Fault.AUDIENCE: "The audience claim for client_assertion must be the endpoint invoked for the request.",
    Fault.SUBJECT: "Issuer or subject of the client_assertion is invalid.",
    Fault.EXPIRED: "The client_assertion token is expired.",
    Fault.TOO_LONG: "The client_assertion token has an expiration too far into the future.",
    Fault.REPLAYED: "The client_assertion token must not be reused.",
}


class BearerRefused(Exception):
    """An access token is not accepted: a response without a body, with the reason in a header."""

    def __init__(self, status: int, error: str, description: str, scope: str) -> None:
        self.status = status
        self.error = error
        self.scope = scope
        super().__init__(description)

    def response(self, request: Request) -> Response:
        """Return it as a response, as users of the API report it."""
        org = str(request.base_url).rstrip("/")
        header = (
            f'Bearer authorization_uri="{org}/oauth2/v1/authorize", realm="{org}", scope="{self.scope}",'
            f' error="{self.error}", error_description="{self}", resource="{request.url.path}"'
        )
        return Response(status_code=self.status, headers={"WWW-Authenticate": header})


@dataclass(frozen=True)
class _Client:
    scopes: frozenset[str]
    keys: list[Key]


class Authorization:
    """Issues and checks tokens. Access tokens end with the process."""

    def __init__(self, options: OktaOptions, token_seconds: Callable[[], int]) -> None:
        self._api_token = f"SSWS {options.api_token}".encode()
        self._read_only = f"SSWS {options.read_only_token}".encode() if options.read_only_token else None
        self._clients = {client.client_id: _registered(client) for client in options.clients}
        self._token_seconds = token_seconds
        self._assertions = Assertions(use_once=True)
        self._issued: dict[str, tuple[float, frozenset[str]]] = {}

    def require(self, request: Request, *scopes: str) -> None:
        """Let callers in who may: with an API token, or an access token with one of the scopes.

        Raises:
            OktaError: the API token is not accepted, or may only read.
            BearerRefused: the access token is not accepted, or lacks the scopes.
        """
        given = request.headers.get("Authorization", "")
        kind, _, token = given.partition(" ")
        if kind == "Bearer":
            self._require_scope(token, scopes)
            return
        if secrets.compare_digest(given.encode(), self._api_token):
            return
        if self._read_only and secrets.compare_digest(given.encode(), self._read_only):
            if request.method != "GET":
                raise forbidden()
            return
        raise invalid_token()

    def expire_tokens(self) -> None:
        """Let all access tokens end now."""
        self._issued.clear()

    async def token(self, request: Request) -> Response:
        """Answer the token endpoint: client credentials with a private key, and Okta's own scopes only."""
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        if form.get("grant_type") != "client_credentials":
            return _refusal(400, "unsupported_grant_type", "The grant type is not supported by this server.")
        assertion = form.get("client_assertion", "")
        client_id = form.get("client_id") or _issuer_of(assertion)
        client = self._clients.get(client_id)
        if form.get("client_assertion_type") != ASSERTION_TYPE or not assertion:
            how = "must use the private_key_jwt token_endpoint_auth_method"
            why = f"Client Credentials requests to the Org Authorization Server {how}."
            return _refusal(401, "invalid_client", why)
        if client is None:
            return _refusal(401, "invalid_client", "Invalid value for 'client_id' parameter.")
        endpoint = str(request.url.replace(query=""))
        try:
            self._assertions.check(assertion, client_id, client.keys, [endpoint])
        except RefusedAssertion as refused:
            return _refusal(401, "invalid_client", _REASONS[refused.fault])
        wanted = form.get("scope", "").split()
        if not wanted:
            return _refusal(400, "invalid_scope", "The scope parameter is required.")
        if any(not scope.startswith("okta.") for scope in wanted):
            return _refusal(400, "invalid_scope", "Custom scopes are not allowed for this request.")
        if not client.scopes.issuperset(wanted):
            why = "One or more scopes are not configured for the authorization server resource."
            return _refusal(400, "invalid_scope", why)
        return JSONResponse(self._issue(wanted))

    def _issue(self, scopes: Iterable[str]) -> dict[str, Any]:
        token, seconds = secrets.token_urlsafe(32), self._token_seconds()
        self._issued[token] = (time.time() + seconds, frozenset(scopes))
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "access_token": token,
            "scope": " ".join(scopes),
        }

    def _require_scope(self, token: str, scopes: tuple[str, ...]) -> None:
        until, granted = self._issued.get(token, (0.0, frozenset[str]()))
        if until <= time.time():
            raise BearerRefused(401, "invalid_token", "The token has expired.", scopes[0])
        if not granted.intersection(scopes):
            why = "The access token provided does not contain the required scopes."
            raise BearerRefused(403, "insufficient_scope", why, scopes[0])


def _registered(client: OktaClient) -> _Client:
    return _Client(frozenset(client.scopes), [import_key(dict(key)) for key in client.keys])


def _issuer_of(assertion: str) -> str:
    """Return who says to have issued the assertion: a client need not send its id beside it."""
    try:
        return str(json.loads(extract_compact(assertion.encode()).payload)["iss"])
    except (JoseError, ValueError, TypeError, KeyError):
        return ""


def _refusal(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)
