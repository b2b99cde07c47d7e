"""Who may call the stand-in for Entra ID: access tokens for apps by a client secret or a certificate.

Sources: "OAuth 2.0 client credentials flow on the Microsoft identity platform", "Microsoft identity platform
application authentication certificate credentials", and the list of AADSTS error codes.
"""

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from joserfc.jwk import RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.cloud_directories.assertions import ASSERTION_TYPE, Assertions, Fault, RefusedAssertion
from embedded.cloud_directories.entra.responses import denied, invalid_token
from embedded.standin_options import EntraApp, EntraOptions

TOKEN_PATH = "/{tenant}/oauth2/v2.0/token"  # noqa: S105 - a path
_SCOPE_SUFFIX = "/.default"
#: The code and the sentence of each fault of an assertion.
_FAULTS = {
    Fault.UNREADABLE: (50027, "JWT token is invalid or malformed."),
    Fault.SIGNATURE: (
        700027,
        "The certificate with identifier used to sign the client assertion is not known.",
    ),
    Fault.AUDIENCE: (700023, "Client assertion audience claim does not match Realm issuer."),
    Fault.SUBJECT: (700021, "Client assertion application identifier doesn't match 'client_id' parameter."),
    Fault.EXPIRED: (700024, "Client assertion is not within its valid time range."),
    Fault.TOO_LONG: (700024, "Client assertion is not within its valid time range."),
    Fault.REPLAYED: (700024, "Client assertion is not within its valid time range."),
}


@dataclass(frozen=True)
class _Certificate:
    key: RSAKey
    thumbprints: dict[str, str]


class Authorization:
    """Issues and checks access tokens, which end with the process."""

    def __init__(self, options: EntraOptions, token_seconds: Callable[[], int]) -> None:
        self._tenant = options.tenant
        self._apps = {app.client_id: app for app in options.apps}
        self._certificates = {
            app.client_id: [_certificate(pem) for pem in app.certificates] for app in options.apps
        }
        self._token_seconds = token_seconds
        self._assertions = Assertions(use_once=False)
        self._issued: dict[str, tuple[float, EntraApp]] = {}

    def require(self, request: Request, *permissions: str) -> None:
        """Let an app in that has one of the permissions; raise GraphError otherwise."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise invalid_token("Access token is empty.")
        until, app = self._issued.get(token, (None, None))
        if until is None or app is None:
            raise invalid_token("Access token validation failure. Invalid audience.")
        if until <= time.time():
            raise invalid_token("Lifetime validation failed, the token is expired.")
        if not set(app.permissions).intersection(permissions):
            raise denied()

    def expire_tokens(self) -> None:
        """Let all access tokens end now."""
        self._issued = {token: (0.0, app) for token, (_, app) in self._issued.items()}

    async def token(self, request: Request) -> Response:
        """Answer the token endpoint."""
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        tenant = request.path_params["tenant"]
        if tenant != self._tenant:
            return _refusal(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if form.get("grant_type") != "client_credentials":
            return _refusal(
                400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type."
            )
        client_id = form.get("client_id", "")
        app = self._apps.get(client_id)
        if app is None:
            why = f"Application with identifier '{client_id}' was not found in the directory '{tenant}'."
            return _refusal(400, "unauthorized_client", 700016, why)
        refusal = self._refusal_of_credentials(app, form, str(request.url.replace(query="")))
        if refusal:
            return refusal
        scope = form.get("scope", "")
        if not scope.endswith(_SCOPE_SUFFIX):
            why = f"The provided value for scope {scope} is not valid. Client credential flows must have a"
            why = f"{why} scope value with /.default suffixed to the resource identifier."
            return _refusal(400, "invalid_scope", 1002012, why)
        return JSONResponse(self._issue(app))

    def _refusal_of_credentials(self, app: EntraApp, form: dict[str, str], endpoint: str) -> Response | None:
        if secret := form.get("client_secret"):
            expected = (app.client_secret or "").encode()
            if expected and secrets.compare_digest(secret.encode(), expected):
                return None
            why = "Invalid client secret provided. Ensure the secret being sent in the request is the client"
            why = (
                f"{why} secret value, not the client secret ID, for a secret added to app '{app.client_id}'."
            )
            return _refusal(401, "invalid_client", 7000215, why)
        assertion = form.get("client_assertion")
        if not assertion or form.get("client_assertion_type") != ASSERTION_TYPE:
            either = "'client_assertion' or 'client_secret'"
            why = f"The request body must contain the following parameter: {either}."
            return _refusal(401, "invalid_client", 7000218, why)
        fault = self._fault_of_assertion(app, assertion, endpoint)
        return None if fault is None else _refusal(401, "invalid_client", *_FAULTS[fault])

    def _fault_of_assertion(self, app: EntraApp, assertion: str, endpoint: str) -> Fault | None:
        """Return why the assertion is refused; None if a registered certificate has signed it.

        Its header names the certificate, by either thumbprint.
        """
        fault = Fault.SIGNATURE if assertion.count(".") == 2 else Fault.UNREADABLE
        for certificate in self._certificates[app.client_id]:
            for name, value in certificate.thumbprints.items():
                try:
                    self._assertions.check(
                        assertion, app.client_id, [certificate.key], [endpoint], **{name: value}
                    )
                except RefusedAssertion as refused:
                    # A fault of the claims says more than another certificate's signature.
                    fault = refused.fault if fault in (Fault.SIGNATURE, Fault.UNREADABLE) else fault
                else:
                    return None
        return fault

    def _issue(self, app: EntraApp) -> dict[str, Any]:
        token, seconds = secrets.token_urlsafe(48), self._token_seconds()
        self._issued[token] = (time.time() + seconds, app)
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": token,
        }


def _certificate(pem: str) -> _Certificate:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    public = certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    thumbprints = {
        "x5t": _encoded(certificate.fingerprint(hashes.SHA1())),  # noqa: S303 - what the header is
        "x5t#S256": _encoded(certificate.fingerprint(hashes.SHA256())),
    }
    return _Certificate(RSAKey.import_key(public), thumbprints)


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _refusal(status: int, error: str, code: int, why: str) -> Response:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    trace, correlation = str(uuid4()), str(uuid4())
    description = f"AADSTS{code}: {why} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"
    body = {
        "error": error,
        "error_description": description,
        "error_codes": [code],
        "timestamp": now,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={code}",
    }
    return JSONResponse(body, status)
