"""The public keys of an issuer: found by discovery, cached, and read again when a token has a new one."""

import asyncio
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from pydantic import BaseModel, ValidationError

from clients.errors import ClientError, MalformedAnswer
from clients.transport.http import Answer, HttpSystem
from clients.transport.secure_urls import require_https
from clients.transport.tls_trust import TrustError, context_for
from starter.auth.oidc.issuers import Issuer

#: How long a request waits for an issuer that does not answer; requests whose key is cached do not wait.
FETCH_TIMEOUT = timedelta(seconds=5)
#: Keys are read again in the background after this time, so that callers of a busy API never wait for it.
REFRESH_AGE = timedelta(minutes=10)
#: Keys are asked for again after this time, so that a key that the issuer has withdrawn is refused.
MAX_AGE = timedelta(minutes=15)
#: The shortest interval between two requests to an issuer: tokens with invented key ids must not become an
#: attack on it.
MIN_INTERVAL = timedelta(minutes=1)
#: The largest legitimate document has some ten keys of 2 KB.
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 100
#: The smallest modulus of RSA keys that we accept (NIST SP 800-131A).
MIN_RSA_BITS = 2048

_log = structlog.get_logger(__name__)

PublicKey = RSAKey | ECKey | OKPKey


class IssuerUnavailable(Exception):
    """The keys of an issuer cannot be read, and none are cached; the text says why."""


class _Discovery(BaseModel):
    issuer: str
    jwks_uri: str


class IssuerKeys:
    """The keys of one issuer. An issuer that becomes unreachable keeps the keys that it had."""

    def __init__(self, issuer: Issuer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._refresh: asyncio.Task[None] | None = None
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._failure = ""

    async def find(self, key_id: str) -> PublicKey | None:
        """Return the key with this id, or None if the issuer has no such key.

        Raises:
            IssuerUnavailable: there are no keys yet, and they cannot be read.
        """
        key = self._keys.get(key_id)
        age = self._clock() - self._fetched_at
        # While the issuer fails, its keys stay in use, and waiting for it would change nothing.
        is_too_old = age >= MAX_AGE.total_seconds() and not self._failure
        if key is None or is_too_old:
            if refresh := self._start_refresh():
                # Shield the read: a caller that is cancelled must not cancel it for the other callers.
                await asyncio.shield(refresh)
            key = self._keys.get(key_id)
        elif age >= REFRESH_AGE.total_seconds():
            self._start_refresh()
        if not self._keys and self._failure:
            raise IssuerUnavailable(self._failure)
        return key

    def _start_refresh(self) -> "asyncio.Task[None] | None":
        """Start to read the keys, unless it is too soon; return the running read, which all callers share."""
        if self._refresh is None and self._clock() - self._asked_at >= MIN_INTERVAL.total_seconds():
            self._asked_at = self._clock()
            self._refresh = asyncio.create_task(self._read())
        return self._refresh

    async def _read(self) -> None:
        """Read the keys; keep the cached ones if it fails."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT.total_seconds()):
                self._keys = await self._fetch()
            self._fetched_at, self._failure = self._clock(), ""
        except (ClientError, TrustError, TimeoutError) as error:
            self._failure = str(error) or f"no answer within {FETCH_TIMEOUT.total_seconds():g} s"
            _log.warning("cannot read the keys of an issuer", issuer=self._issuer.url, error=self._failure)
        finally:
            self._refresh = None

    async def _fetch(self) -> dict[str, PublicKey]:
        discovery = await self._get(
            f"{self._issuer.url}/.well-known/openid-configuration", "read the discovery"
        )
        try:
            document = _Discovery.model_validate_json(discovery)
        except (ValidationError, RecursionError):
            raise self._malformed("the discovery document is not valid") from None
        if document.issuer.rstrip("/") != self._issuer.url:
            raise self._malformed("the discovery document is another issuer's")
        try:
            uri = require_https(document.jwks_uri)
        except ValueError:
            raise self._malformed("the keys are at an address that anyone on the way can change") from None
        return self._parse(await self._get(uri, "read the keys"))

    async def _get(self, url: str, operation: str) -> bytes:
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        verify = context_for(base, self._issuer.ca_file, setting="ca_file")
        system = HttpSystem(
            f"issuer {self._issuer.url}", base, headers={"Accept": "application/json"}, timeout=FETCH_TIMEOUT,
            explain=lambda _: "", verify=verify, max_answer_bytes=MAX_DOCUMENT_BYTES,
        )  # fmt: skip
        async with system:
            answer: Answer = await system.call("GET", url.removeprefix(base) or "/", operation)
            return answer.body

    def _parse(self, content: bytes) -> dict[str, PublicKey]:
        """Return the keys for signatures that have an id, a type that we accept and a safe size."""
        try:
            entries = _KeySetDocument.model_validate_json(content).keys
        except (ValidationError, RecursionError):
            raise self._malformed("the key set is not valid") from None
        keys: dict[str, PublicKey] = {}
        for entry in entries[:MAX_KEYS]:
            if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
                continue
            try:
                with warnings.catch_warnings():
                    # A key that is too small is left out below.
                    warnings.simplefilter("ignore")
                    [key] = KeySet.import_key_set({"keys": [entry]}).keys
            except (JoseError, ValueError, TypeError, KeyError):
                continue
            is_safe = not isinstance(key, RSAKey) or key.public_key.key_size >= MIN_RSA_BITS
            if isinstance(key, RSAKey | ECKey | OKPKey) and is_safe:
                keys[entry["kid"]] = key
        if not keys:
            raise self._malformed("the key set has no key that can be used")
        return keys

    def _malformed(self, detail: str) -> ClientError:
        return MalformedAnswer(f"issuer {self._issuer.url}", "read the keys", detail)


class _KeySetDocument(BaseModel):
    keys: list[dict[str, Any]]
