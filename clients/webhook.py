"""A webhook: a URL that accepts JSON by POST, signed if we have a secret, or Slack's.

Ids, timestamps and signatures follow Standard Webhooks, so receivers verify them with its libraries:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import standardwebhooks

from clients.transport.http import Answer, HttpSystem

#: Header that is equal in all attempts to deliver one message, so that the receiver can detect duplicates.
ID = "webhook-id"
#: Header with the Unix time of the attempt, in seconds.
TIMESTAMP = "webhook-timestamp"
#: Header "v1,<base64>", once for each secret, with blanks between: HMAC-SHA256 of "<id>.<timestamp>.<body>".
SIGNATURE = "webhook-signature"
JSON = "application/json"


class Webhook:
    """One webhook URL; without `secrets` nothing is signed, and the URL has to be secret.

    Each secret is "whsec_" and base64, or base64 alone. With several, a message has a signature by each of
    them, so that a receiver can change its secret at any moment in between.
    """

    def __init__(
        self,
        system: str,
        url: str,
        *,
        secrets: Sequence[str],
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._url = url
        self._signers = [standardwebhooks.Webhook(secret) for secret in secrets]
        parts = urlsplit(url)
        self._http = HttpSystem(
            system,
            f"{parts.scheme}://{parts.netloc}",
            headers={"User-Agent": "moorage"},
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

    async def post(
        self, message_id: str, content: Mapping[str, Any], operation: str, *, media_type: str = JSON
    ) -> None:
        """Deliver `content`; raise a `ClientError` unless the receiver accepts it."""
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        now = datetime.now(UTC)
        headers = {ID: message_id, TIMESTAMP: str(int(now.timestamp())), "Content-Type": media_type}
        if self._signers:
            headers[SIGNATURE] = " ".join(signer.sign(message_id, now, body) for signer in self._signers)
        # Pass the whole URL as the path, because httpx would add a slash to the end of a base URL.
        await self._http.call("POST", self._url, operation, content=body.encode(), headers=headers)


def _explain(_: Answer) -> str:
    # The receiver's text is not for us; the status is enough.
    return ""
