"""Client of an OpenID Connect issuer: discovery, and the grants that give, renew and revoke tokens.

OpenID Connect Discovery; RFC 6749 (OAuth 2.0), 7636 (PKCE), 8628 (device flow), 7009 (revocation).
"""

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from clients.transport.connection_errors import describe_cause
from clients.transport.secure_urls import is_internal_host, require_https
from clients.transport.tls_trust import TrustError, context_for
from starter.cli.client.credentials.store import Tokens
from starter.cli.errors import CliError, Code

#: Longest wait for one answer of an issuer, which is a public service or one of the company.
TIMEOUT_SECONDS = 15.0
#: How much longer a whole call may take, for the connection and a large answer: the wait for one answer
#: starts again with each byte, so an issuer that sends slowly would hold the command for ever.
TOTAL_MARGIN_SECONDS = 10.0
#: The largest legitimate answer has a token with hundreds of groups.
MAX_ANSWER_BYTES = 256 * 1024
#: Assumed if the issuer does not say how long a token is valid; issuers give five minutes at least.
DEFAULT_LIFETIME_SECONDS = 300.0
#: No issuer asks for a longer pause, and no code is valid for longer: 5 seconds and 15 minutes are usual.
MAX_INTERVAL_SECONDS, MAX_CODE_SECONDS = 60.0, 3600.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

_ERROR_CODE = re.compile(r"[a-z_]{1,50}")


class GrantRefused(Exception):
    """The issuer gives no token; `code` is its error of RFC 6749 or RFC 8628, such as "invalid_grant"."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True)
class Endpoints:
    """What an issuer says about itself. Endpoints that it does not have are empty."""

    issuer: str
    authorization: str
    token: str
    device: str
    revocation: str


@dataclass(frozen=True)
class Pkce:
    """The secret of one sign-in, whose hash goes through the browser (RFC 7636, S256)."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the request that the secret protects."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return {"code_challenge": challenge, "code_challenge_method": "S256"}


@dataclass(frozen=True)
class DeviceCode:
    """A started device flow: what the user enters where, and what the command asks with."""

    code: str = field(repr=False)
    user_code: str
    uri: str
    complete_uri: str
    interval: float
    expires_in: float


class IssuerClient:
    """Calls one issuer. No redirect is followed: a code or a token is only for the endpoint itself."""

    def __init__(self, url: str, *, ca_file: Path | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        host = _ensure_protected(self.url, self.url)
        try:
            verify = context_for(self.url)
            if ca_file is not None and self.url.startswith("https://"):
                # A private authority signs the API; the issuer may be its neighbour or a public service.
                verify.load_verify_locations(cafile=str(ca_file))
            self._total_seconds = timeout + TOTAL_MARGIN_SECONDS
            self._http = httpx.Client(timeout=timeout, trust_env=not is_internal_host(host), verify=verify)
        except TrustError as error:
            raise CliError(Code.BAD_INPUT, str(error)) from None
        except (OSError, ValueError) as error:
            raise CliError(Code.BAD_INPUT, f"cannot use the issuer {self.url}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def discover(self) -> Endpoints:
        """Return the issuer's endpoints, all of which must be protected as the issuer is."""
        status, document = self._call("GET", f"{self.url}/.well-known/openid-configuration")
        if status != 200 or str(document.get("issuer", "")).rstrip("/") != self.url:
            raise self._unexpected("its discovery document is missing or is another issuer's")

        def endpoint(name: str, *, required: bool = False) -> str:
            text = document.get(f"{name}_endpoint", "")
            if not isinstance(text, str) or (required and not text):
                raise self._unexpected(f"its discovery document has no {name}_endpoint")
            if text:
                _ensure_protected(text, self.url)
            return text

        return Endpoints(
            issuer=self.url,
            authorization=endpoint("authorization", required=True),
            token=endpoint("token", required=True),
            device=endpoint("device_authorization"),
            revocation=endpoint("revocation"),
        )

    def grant(self, endpoint: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer of the token endpoint, which has an access token.

        Raises:
            GrantRefused: the issuer refuses the grant.
            CliError: it does not answer, or not as an issuer does.
        """
        status, answer = self._call("POST", endpoint, form)
        code = answer.get("error")
        if status in (400, 401, 403) and isinstance(code, str) and code:
            raise GrantRefused(code if _ERROR_CODE.fullmatch(code) else "unknown")
        token = answer.get("access_token")
        is_bearer = str(answer.get("token_type", "")).lower() == "bearer"
        if status != 200 or not isinstance(token, str) or not is_bearer or not _is_header_text(token):
            raise self._unexpected(f"it answers {status} without a bearer token")
        return answer

    def start_device_flow(self, endpoint: str, form: Mapping[str, str]) -> DeviceCode:
        """Start a device flow."""
        status, answer = self._call("POST", endpoint, form)
        try:
            if status != 200:
                raise ValueError
            uri = str(answer.get("verification_uri") or answer["verification_url"])
            complete = str(answer.get("verification_uri_complete") or "")
            for each in filter(None, (uri, complete)):
                _ensure_protected(each, self.url)
            return DeviceCode(
                code=str(answer["device_code"]),
                user_code=str(answer["user_code"]),
                uri=uri,
                complete_uri=complete,
                interval=min(max(1.0, float(answer.get("interval", 5))), MAX_INTERVAL_SECONDS),
                expires_in=min(float(answer.get("expires_in", 600)), MAX_CODE_SECONDS),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            raise self._unexpected(f"it answers {status} without a device code") from None

    def revoke(self, endpoint: str, client_id: str, token: str) -> None:
        """Revoke the refresh token, and with it what was given for it."""
        form = {"client_id": client_id, "token": token, "token_type_hint": "refresh_token"}
        status, _ = self._call("POST", endpoint, form)
        if status != 200:
            raise self._unexpected(f"it answers {status} to a revocation")

    def _call(
        self, method: str, url: str, form: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Return status and JSON object of an answer; an answer of another kind is an empty object."""
        found: list[tuple[int, bytes] | Exception] = []

        def call() -> None:
            try:
                found.append(self._read(method, url, form))
            except Exception as error:
                found.append(error)

        # A thread that can be left alone: a read that gets a byte now and then has no other end.
        calling = threading.Thread(target=call, daemon=True)
        calling.start()
        calling.join(self._total_seconds)
        result = found[0] if found else TimeoutError(f"no whole answer within {self._total_seconds:g} s")
        if isinstance(result, httpx.HTTPError | httpx.InvalidURL | OSError):
            why = describe_cause(result) or (str(result) if isinstance(result, TimeoutError) else "")
            message = f"cannot reach the issuer {self.url}{f': {why}' if why else ''}"
            raise CliError(Code.UNREACHABLE, message, next_steps=["try again"])
        if isinstance(result, Exception):
            raise result
        status, body = result
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        return status, content if isinstance(content, dict) else {}

    def _read(self, method: str, url: str, form: Mapping[str, str] | None) -> tuple[int, bytes]:
        with self._http.stream(method, url, data=form, headers={"Accept": "application/json"}) as answer:
            body = b""
            for part in answer.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise self._unexpected("its answer is too large")
            return answer.status_code, body

    def _unexpected(self, why: str) -> CliError:
        return CliError(Code.UNREACHABLE, f"cannot sign in at the issuer {self.url}: {why}")


def tokens_of(
    answer: Mapping[str, Any], endpoints: Endpoints, *, url: str, client_id: str, now: float | None = None
) -> Tokens:
    """Return the tokens in the answer of a token endpoint, for the installation at `url`."""
    return Tokens(
        url=url,
        issuer=endpoints.issuer,
        client_id=client_id,
        token_endpoint=endpoints.token,
        revocation_endpoint=endpoints.revocation,
        access_token=str(answer["access_token"]),
        expires_at=(time.time() if now is None else now) + lifetime_of(answer),
        refresh_token=str(answer.get("refresh_token") or ""),
    )


def lifetime_of(answer: Mapping[str, Any]) -> float:
    """Return how long the access token of the answer is valid, in seconds."""
    seconds = answer.get("expires_in")
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    # Compare before the conversion: JSON has numbers that no float can hold.
    return float(seconds) if is_number and 0 < seconds < 1e9 else DEFAULT_LIFETIME_SECONDS  # type: ignore[arg-type,operator]


def _ensure_protected(url: str, issuer: str) -> str:
    """Return the host of the URL; raise CliError if what is sent there can be read on the way."""
    try:
        parts = urlsplit(require_https(url))
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname
    except ValueError:
        pass
    message = f"the issuer {issuer} is not used: its addresses must start with https://"
    raise CliError(Code.BAD_INPUT, message)


def _is_header_text(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable() and " " not in token
