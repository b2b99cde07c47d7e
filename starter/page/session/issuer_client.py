"""Client of the issuers, for the page: discovery, and the grants that give, renew and revoke tokens.

OpenID Connect Discovery and RP-Initiated Logout; RFC 6749 (OAuth 2.0), 7009 (revocation), 9207 (`iss`).
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ValidationError

from clients.errors import ClientError, Denied, Rejected
from clients.transport.http import Answer, HttpSystem
from clients.transport.secure_urls import require_https
from clients.transport.tls_trust import TrustError, context_for
from starter.auth.authentication import IssuerUnavailable
from starter.auth.oidc.issuers import Issuer

#: How long a page waits for one answer of an issuer.
TIMEOUT = timedelta(seconds=10)
#: Issuers move their endpoints with notice of weeks.
DISCOVERY_MAX_AGE = timedelta(minutes=15)
#: An issuer that does not answer is not asked again for its discovery with each page.
DISCOVERY_RETRY = timedelta(minutes=1)
#: The largest legitimate answer has tokens with hundreds of groups.
MAX_ANSWER_BYTES = 256 * 1024

_ERROR_CODE = re.compile(r"[a-z_]{1,50}")
#: Errors that say nothing about the person (RFC 6749, 4.1.2.1).
_TEMPORARY = frozenset({"server_error", "temporarily_unavailable", "slow_down"})

_log = structlog.get_logger(__name__)


class GrantRefused(Exception):
    """The issuer gives no tokens; the text is its error code, such as "invalid_grant"."""


class Endpoints(BaseModel):
    """What an issuer says about itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str = ""
    end_session_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False


class TokenAnswer(BaseModel):
    """The answer of a token endpoint."""

    token_type: str
    access_token: str
    refresh_token: str = ""
    id_token: str = ""


@dataclass
class _Known:
    endpoints: Endpoints
    until: float


class IssuerClient:
    """Calls issuers. Its connections stay open, because sessions are renewed every few minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        #: The discoveries that run, by issuer: all who need one at the same time share it.
        self._running: dict[tuple[str, Path | None], asyncio.Task[_Known]] = {}
        self._systems: dict[tuple[str, object, str], HttpSystem] = {}

    async def close(self) -> None:
        """Close all connections."""
        for system in self._systems.values():
            await system.close()
        self._systems.clear()

    async def endpoints(self, issuer: Issuer) -> Endpoints:
        """Return the endpoints of the issuer, all of which are protected; raise IssuerUnavailable."""
        known = self._known.get(issuer.url)
        if known is None or self._clock() >= known.until:
            try:
                known = await self._discovered(issuer)
            except IssuerUnavailable:
                if known is None:
                    raise
                known = _Known(known.endpoints, self._clock() + DISCOVERY_RETRY.total_seconds())
            self._known[issuer.url] = known
        return known.endpoints

    async def grant(self, issuer: Issuer, form: Mapping[str, str]) -> TokenAnswer:
        """Return the tokens for a grant.

        Raises:
            GrantRefused: the issuer refuses it.
            IssuerUnavailable: it does not answer, or not as an issuer does.
        """
        endpoint = (await self.endpoints(issuer)).token_endpoint
        answer = await self._call(issuer, "POST", endpoint, "get tokens", _form(issuer, form))
        try:
            tokens = TokenAnswer.model_validate_json(answer.body)
        except (ValidationError, RecursionError):
            raise _unavailable(issuer, "its answer has no tokens") from None
        if tokens.token_type.lower() != "bearer":
            raise _unavailable(issuer, "its answer has no bearer token")
        return tokens

    async def revoke(self, issuer: Issuer, refresh_token: str) -> bool:
        """End the sign-in at the issuer; return False if it cannot revoke tokens. Raises as `grant` does."""
        endpoint = (await self.endpoints(issuer)).revocation_endpoint
        if not endpoint:
            return False
        form = _form(issuer, {"token": refresh_token, "token_type_hint": "refresh_token"})
        await self._call(issuer, "POST", endpoint, "revoke the sign-in", form)
        return True

    async def _discovered(self, issuer: Issuer) -> _Known:
        """Return the discovery that runs, or of a new one: anyone can open the sign-in page."""
        key = issuer.url, issuer.ca_file
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._discover(issuer))
            # If all who wait are cancelled, no one takes the error.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            task.add_done_callback(lambda _: self._running.pop(key))
        # Shield it: a browser that goes away must not cancel it for the others.
        return await asyncio.shield(task)

    async def _discover(self, issuer: Issuer) -> _Known:
        url = f"{issuer.url}/.well-known/openid-configuration"
        try:
            answer = await self._call(issuer, "GET", url, "read the discovery", None)
            found = Endpoints.model_validate_json(answer.body)
            names = (found.authorization_endpoint, found.token_endpoint, found.revocation_endpoint)
            for address in filter(None, (*names, found.end_session_endpoint)):
                if urlsplit(require_https(address)).scheme not in ("http", "https"):
                    raise ValueError
        except (GrantRefused, ValueError, RecursionError):
            raise _unavailable(issuer, "its discovery document is not valid") from None
        if found.issuer.rstrip("/") != issuer.url:
            raise _unavailable(issuer, "its discovery document is another issuer's")
        return _Known(found, self._clock() + DISCOVERY_MAX_AGE.total_seconds())

    async def _call(
        self, issuer: Issuer, method: str, url: str, operation: str, form: Mapping[str, str] | None
    ) -> Answer:
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        try:
            system = self._system(issuer, base)
            return await system.call(method, url.removeprefix(base) or "/", operation, form=form)
        except (Denied, Rejected) as error:
            code = error.detail.partition(" ")[2]
            if _ERROR_CODE.fullmatch(code) and code not in _TEMPORARY:
                raise GrantRefused(code) from None
            raise _unavailable(issuer, str(error)) from None
        except (ClientError, TrustError) as error:
            raise _unavailable(issuer, str(error)) from None

    def _system(self, issuer: Issuer, base: str) -> HttpSystem:
        key = issuer.url, issuer.ca_file, base
        found = self._systems.get(key)
        if found is None:
            found = self._systems[key] = HttpSystem(
                f"issuer {issuer.url}", base, headers={"Accept": "application/json"}, timeout=TIMEOUT,
                explain=_code_of, verify=context_for(base, issuer.ca_file, setting="ca_file"),
                max_answer_bytes=MAX_ANSWER_BYTES,
            )  # fmt: skip
        return found


def _form(issuer: Issuer, form: Mapping[str, str]) -> dict[str, str]:
    return {"client_id": str(issuer.client_id), **form}


def _code_of(answer: Answer) -> str:
    return str(answer.fields.get("error", ""))


def _unavailable(issuer: Issuer, why: str) -> IssuerUnavailable:
    _log.warning("an issuer does not answer as it should", issuer=issuer.url, error=why)
    return IssuerUnavailable(why)
