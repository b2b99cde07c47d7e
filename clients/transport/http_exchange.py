"""Kept connections to one server over aiohttp, for systems that are called many times a second.

A call costs about a quarter of the processor time that one over httpx costs, whose pool looks at each of its
connections for each call. It knows no proxy, so a server behind one is called over httpx.
"""

import ssl
from collections.abc import Mapping
from datetime import timedelta

import aiohttp
import yarl

from clients.transport.connection_errors import describe_cause
from clients.transport.http import KEEP_ALIVE, MAX_CONCURRENT_CALLS, Answer, AnswerTooLarge, ExchangeFailed


class KeptConnections:
    """An `Exchange` with the server of one base URL; it never repeats a request."""

    def __init__(
        self, base_url: str, *, verify: ssl.SSLContext, timeout: timedelta, connect_timeout: timedelta
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._verify = verify
        self._seconds = timeout.total_seconds()
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout.total_seconds(), sock_read=self._seconds
        )
        # aiohttp creates it inside of a running loop only.
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes | None, limit: int
    ) -> Answer:
        """Send one request to the encoded path and query `target`, and return its answer.

        Raises:
            ExchangeFailed: there is no answer, or not a whole one.
            AnswerTooLarge: the answer has more than `limit` bytes.
        """
        url = yarl.URL(self._base_url + target, encoded=True)
        session = self._session or self._opened()
        try:
            async with session.request(
                method, url, headers=headers, data=content, allow_redirects=False
            ) as response:
                read = bytearray()
                async for chunk in response.content.iter_any():
                    read += chunk
                    if len(read) > limit:
                        raise AnswerTooLarge
                return Answer(response.status, response.headers, bytes(read))
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._verify, limit=MAX_CONCURRENT_CALLS, keepalive_timeout=KEEP_ALIVE.total_seconds()
        )
        session = aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        # By itself it repeats a PUT or DELETE whose answer was lost: the second answer would tell of the
        # state after the first, and hide that the first is in doubt. There is no option for it.
        session._retry_connection = False
        self._session = session
        return session

    def _failure(self, error: Exception) -> ExchangeFailed:
        never_sent = isinstance(
            error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | UnicodeError
        )
        if isinstance(error, TimeoutError):
            return ExchangeFailed(f"no answer within {self._seconds:g} s", never_sent=never_sent)
        if never_sent:
            why = describe_cause(error.__cause__ or error)
            host = yarl.URL(self._base_url).host
            return ExchangeFailed(f"cannot connect to {host}{f': {why}' if why else ''}", never_sent=True)
        return ExchangeFailed(f"the connection was cut ({type(error).__name__})", never_sent=False)
