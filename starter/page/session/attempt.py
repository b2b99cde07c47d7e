"""A sign-in under way: what the browser keeps, sealed, while the person is at the issuer."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from pydantic import Field, ValidationError

from contracts.types.models import Frozen
from starter.auth.oidc.issuers import Issuer
from starter.page.session.cookies import ATTEMPT_COOKIE
from starter.page.session.issuer_client import Endpoints
from starter.page.session.sealing import BadSeal, Sealer

#: How long a person may take at the issuer, with a second factor and a forgotten password.
ATTEMPT_SECONDS = 900
#: Sign-ins under way in one browser: more are given up, so that their cookies do not fill each request.
MAX_ATTEMPTS = 6

#: Another replica may have started the sign-in, and its clock may be ahead.
_CLOCKS_APART = 60

_PURPOSE = "sign-in 1"
_SECRET_BYTES = 32
_NAME_LENGTH = 16


class AttemptRefused(Exception):
    """The answer of an issuer does not belong to a sign-in of this browser; the text says what to do."""


class Attempt(Frozen):
    """A sign-in under way. `started_at` is in seconds since the epoch."""

    state: str = Field(repr=False)
    nonce: str = Field(repr=False)
    verifier: str = Field(repr=False)
    issuer: str
    redirect_uri: str
    next_path: str
    started_at: float

    @property
    def cookie(self) -> str:
        """The name of its cookie."""
        return cookie_of(self.state)

    def seal(self, sealer: Sealer) -> str:
        """Return the value of its cookie."""
        return sealer.seal(_PURPOSE, self.model_dump_json().encode())

    def address(self, issuer: Issuer, endpoints: Endpoints) -> str:
        """Return the address of the issuer's page."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "client_id": str(issuer.client_id),
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": issuer.scopes,
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in endpoints.authorization_endpoint else "?"
        return f"{endpoints.authorization_endpoint}{separator}{urlencode(query)}"

    def grant(self, code: str) -> dict[str, str]:
        """Return the form that exchanges the code."""
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }


def new_attempt(issuer: Issuer, redirect_uri: str, next_path: str, now: float) -> Attempt:
    """Return a new sign-in at the issuer."""
    state, nonce, verifier = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
    return Attempt(
        state=state,
        nonce=nonce,
        verifier=verifier,
        issuer=issuer.url,
        redirect_uri=redirect_uri,
        next_path=next_path,
        started_at=now,
    )


def cookie_of(state: str) -> str:
    """Return the name of the cookie of the sign-in with this state, which it does not give away."""
    return ATTEMPT_COOKIE + hashlib.sha256(state.encode()).hexdigest()[:_NAME_LENGTH]


def find_attempt(state: str, cookies: Mapping[str, str], sealer: Sealer, now: float) -> Attempt:
    """Return the sign-in under way of this browser; raise AttemptRefused if it has none with this state."""
    refused = AttemptRefused(
        "This sign-in has expired, was finished already, or was started in another browser: start again."
    )
    attempt = _open(cookies.get(cookie_of(state), ""), sealer)
    if attempt is None or not hmac.compare_digest(attempt.state.encode(), state.encode()):
        raise refused
    if not -_CLOCKS_APART <= now - attempt.started_at < ATTEMPT_SECONDS:
        raise refused
    return attempt


def surplus_cookies(cookies: Mapping[str, str], sealer: Sealer) -> list[str]:
    """Return the names of the cookies that a new sign-in replaces: the oldest, and those of no sign-in."""
    names = [name for name in cookies if name.startswith(ATTEMPT_COOKIE)]
    attempts = {name: _open(cookies[name], sealer) for name in names}
    started = {name: each.started_at if each else 0.0 for name, each in attempts.items()}
    return sorted(names, key=lambda name: started[name], reverse=True)[MAX_ATTEMPTS - 1 :]


def _open(text: str, sealer: Sealer) -> Attempt | None:
    try:
        return Attempt.model_validate_json(sealer.open(_PURPOSE, text))
    except (BadSeal, ValidationError):
        return None
