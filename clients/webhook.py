"""A webhook: a URL that accepts JSON by POST, signed if we have a secret, or Slack's."""

import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from clients.http import Answer, HttpSystem

#: Header "t=<Unix time in seconds>,v1=<hex>": HMAC-SHA256, with the shared secret, of "<t>.<body>".
SIGNATURE = "Moorage-Signature"
#: Header that is equal in all attempts to deliver one message, so that the receiver can detect duplicates.
DELIVERY = "Moorage-Delivery"


class Webhook:
    """One webhook URL; without a `secret` nothing is signed, and the URL has to be secret."""

    def __init__(
        self,
        system: str,
        url: str,
        *,
        secret: str | None,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._url = url
        self._secret = secret
        parts = urlsplit(url)
        self._http = HttpSystem(
            system,
            f"{parts.scheme}://{parts.netloc}",
            headers={"Content-Type": "application/json", "User-Agent": "moorage"},
            timeout=timeout,
            explain=_explain,
            verify=verify,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.close()

    async def post(self, delivery: str, content: Mapping[str, Any], operation: str) -> None:
        """Deliver `content`; raise a `ClientError` unless the receiver accepts it."""
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {DELIVERY: delivery}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, body, int(time.time()))
        # Pass the whole URL as the path, because httpx would add a slash to the end of a base URL.
        await self._http.call("POST", self._url, operation, content=body, headers=headers)


def signature(secret: str, body: bytes, at: int) -> str:
    """Return the header that proves that a holder of the secret sent `body` at that time."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _explain(_: Answer) -> str:
    # The receiver's text is not for us; the status is enough.
    return ""
