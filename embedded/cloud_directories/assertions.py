"""Client assertions (RFC 7523): signed tokens by which an application proves its identity."""

import time
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
#: Longest time to the expiry of an assertion that is accepted.
LONGEST_SECONDS = 3600
#: Difference of clocks that is accepted.
CLOCK_SKEW_SECONDS = 60


class Fault(StrEnum):
    """Why an assertion is refused."""

    UNREADABLE = "unreadable"
    SIGNATURE = "signature"
    AUDIENCE = "audience"
    SUBJECT = "subject"
    EXPIRED = "expired"
    TOO_LONG = "too long"
    REPLAYED = "replayed"


class RefusedAssertion(Exception):
    """The assertion is refused."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault)


class Assertions:
    """Checks assertions; with `use_once` each `jti` may be used once."""

    def __init__(self, *, use_once: bool) -> None:
        self._is_once = use_once
        self._used: dict[tuple[str, str], float] = {}

    def check(
        self, text: str, client_id: str, keys: Sequence[Key], audiences: Collection[str], **headers: str
    ) -> None:
        """Accept the assertion of this client, signed with one of its keys for one of the audiences.

        Each of `headers` must be in the header of the assertion.

        Raises:
            RefusedAssertion: it is refused.
        """
        claims = _claims(text, keys, headers)
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise RefusedAssertion(Fault.SUBJECT)
        given = claims.get("aud")
        if not set([given] if isinstance(given, str) else given or []) & set(audiences):
            raise RefusedAssertion(Fault.AUDIENCE)
        now, expiry = time.time(), claims.get("exp")
        if not isinstance(expiry, int | float):
            raise RefusedAssertion(Fault.UNREADABLE)
        if expiry < now - CLOCK_SKEW_SECONDS:
            raise RefusedAssertion(Fault.EXPIRED)
        if expiry > now + LONGEST_SECONDS + CLOCK_SKEW_SECONDS:
            raise RefusedAssertion(Fault.TOO_LONG)
        self._use_once(client_id, claims.get("jti"), expiry)

    def _use_once(self, client_id: str, token_id: Any, expiry: float) -> None:
        now = time.time() - CLOCK_SKEW_SECONDS
        self._used = {key: until for key, until in self._used.items() if until > now}
        if token_id is None or not self._is_once:
            return
        if (client_id, str(token_id)) in self._used:
            raise RefusedAssertion(Fault.REPLAYED)
        self._used[client_id, str(token_id)] = expiry


def _claims(text: str, keys: Sequence[Key], headers: dict[str, str]) -> dict[str, Any]:
    fault = Fault.UNREADABLE
    for key in keys:
        try:
            token = jwt.decode(text, key, algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            fault = Fault.SIGNATURE if text.count(".") == 2 else Fault.UNREADABLE
            continue
        if any(token.header.get(name) != value for name, value in headers.items()):
            raise RefusedAssertion(Fault.SIGNATURE)
        return dict(token.claims)
    raise RefusedAssertion(fault)
