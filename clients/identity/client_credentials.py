"""OAuth 2.0 client credentials (RFC 6749, 4.4): an access token that is renewed before it expires.

A client proves who it is with a secret, or with an assertion that its private key signs: `client_assertion`.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from pydantic import BaseModel, Field, ValidationError

from clients.errors import ClientError, Denied, MalformedAnswer
from clients.transport.http import Answer, HttpSystem, bearer_headers

#: Renew a token when a fifth of its life is left, so that no call starts with one that ends on the way.
RENEW_AT_SHARE = 0.8
#: The life of a token whose answer does not state one (RFC 6749, 5.1 recommends to state it).
DEFAULT_LIFE = timedelta(minutes=1)
#: The longest life that we believe: a wrong number must not keep a revoked token in use for days.
MAX_LIFE = timedelta(hours=1)

_FORM = "application/x-www-form-urlencoded"


class _Token(BaseModel):
    access_token: str = Field(min_length=1)
    token_type: str
    expires_in: float = Field(default=DEFAULT_LIFE.total_seconds(), ge=0)


#: Returns the fields of a token request that prove who the client is.
ClientProof = Callable[[], Mapping[str, str]]


def secret_proof(read_secret: Callable[[], str]) -> ClientProof:
    """Return the proof by a secret; `read_secret` returns the current one, so that a rotated one is used."""
    return lambda: {"client_secret": read_secret()}


class ClientCredentials:
    """The access token of a confidential client, asked for when it is first needed and then cached.

    `proof` is asked for each token, so that a rotated secret or key is used without a restart.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        proof: ClientProof,
        *,
        timeout: timedelta,
        scope: str = "",
        verify: ssl.SSLContext | bool = True,
        system: str = "identity provider",
    ) -> None:
        self._client_id, self._proof, self._scope = client_id, proof, scope
        self._system = system
        base_url, _, self._path = token_url.rpartition("/")
        self._http = HttpSystem(
            system,
            base_url,
            headers={"Accept": "application/json"},
            timeout=timeout,
            explain=explain_oauth_error,
            classify=_classify,
            verify=verify,
        )
        self._lock = asyncio.Lock()
        self._headers: Mapping[str, str] = {}
        self._renew_at = 0.0

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def headers(self) -> Mapping[str, str]:
        """Return the headers with a token that has not expired; raise a `ClientError` if none is given out.

        Concurrent callers share one request.
        """
        async with self._lock:
            if time.monotonic() >= self._renew_at:
                await self._renew()
            return self._headers

    async def renew_after_refusal(self, refused: Mapping[str, str]) -> bool:
        """Renew the token if `refused` is still the current one; return whether there is another one now."""
        async with self._lock:
            if self._headers == refused:
                await self._renew()
            return self._headers != refused

    async def _renew(self) -> None:
        operation = "get an access token"
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            **self._proof(),
            **({"scope": self._scope} if self._scope else {}),
        }
        asked_at = time.monotonic()
        answer = await self._http.call("POST", f"/{self._path}", operation, form=form)
        token = _parse(self._system, operation, answer)
        life = min(token.expires_in, MAX_LIFE.total_seconds())
        self._headers = bearer_headers(token.access_token)
        if not self._headers:
            raise MalformedAnswer(self._system, operation, "the access token is not printable text")
        self._renew_at = asked_at + life * RENEW_AT_SHARE


def _parse(system: str, operation: str, answer: Answer) -> _Token:
    try:
        token = _Token.model_validate_json(answer.body)
    except (ValidationError, RecursionError):
        # Raise outside of the handler, because the validation error would carry the token along.
        token = None
    if token is None or token.token_type.lower() != "bearer":
        raise MalformedAnswer(system, operation, "the answer is no bearer token")
    return token


def explain_oauth_error(answer: Answer) -> str:
    """Return the message of an OAuth 2.0 error (RFC 6749, 5.2); "" for other content."""
    error = answer.fields
    return ": ".join(str(error[key]) for key in ("error", "error_description") if error.get(key))


def _classify(answer: Answer, _detail: str) -> type[ClientError] | None:
    # RFC 6749, 5.2: a wrong client, proof or scope is answered with 400 or 401. A person has to correct the
    # settings, not the request.
    return Denied if answer.status == 400 else None
