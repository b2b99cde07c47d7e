"""An address that takes JSON by POST, signed if it is ours to sign: a webhook, or one in Slack's form."""

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

#: "t=<seconds since 1970>,v1=<hex>": HMAC-SHA256, with the shared secret, of "<t>.<body>".
SIGNATURE = "Moorage-Signature"
#: The same for every try to deliver one thing, so that who receives it twice can tell.
DELIVERY = "Moorage-Delivery"


class Webhook:
    """One address. Without a `secret` nothing is signed: then the address itself has to be secret."""

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
        """Deliver `content`; returns when it has been taken. Raises a `ClientError`."""
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {DELIVERY: delivery}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, body, int(time.time()))
        # The whole address as the path: a base URL would be given a slash at its end.
        await self._http.call("POST", self._url, operation, content=body, headers=headers)


def signature(secret: str, body: bytes, at: int) -> str:
    """The header that shows that `body` was sent by who knows the secret, at that time."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _explain(_: Answer) -> str:
    # Whatever it says is not for us; the status tells enough.
    return ""
