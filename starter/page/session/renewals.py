"""Renews sessions at the issuer: once for all requests that need it at the same time.

Issuers that rotate refresh tokens end a sign-in whose refresh token comes twice, so that two tabs must not
use it both.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starter.auth.authentication import IssuerUnavailable
from starter.page.session.session import Session

#: How long the result counts for requests with the older cookie, once the browser has shown the new one.
KEPT_SECONDS = 60.0
#: After an issuer has not answered, it is not asked again for so long, so that pages do not wait for it.
PAUSE_SECONDS = 10.0
#: Renewed sessions that are remembered: some ten minutes of a busy installation.
MAX_KEPT = 10_000


class Renewals:
    """Renewals of this process."""

    def __init__(
        self, renew: Callable[[Session], Awaitable[Session]], now: Callable[[], float] = time.time
    ) -> None:
        self._renew = renew
        self._now = now
        self._running: dict[str, asyncio.Task[Session]] = {}
        #: The newer session of an older id, and until when it counts.
        self._kept: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        #: The older id of a session that the browser has not shown yet.
        self._older: dict[str, str] = {}
        self._paused: dict[str, tuple[float, str]] = {}

    def newest(self, session: Session) -> Session:
        """Return what the session was renewed to, or itself."""
        if older := self._older.pop(session.id, None):
            self._shorten(older)
        while (found := self._kept.get(session.id)) and self._now() < found[1]:
            session = found[0]
        return session

    async def renewed(self, session: Session) -> Session:
        """Renew the session, or wait for the renewal that runs.

        Raises what `renew` raises, and IssuerUnavailable without a call for a while after the last one.
        """
        if session.root not in self._running:
            until, reason = self._paused.get(session.issuer, (0.0, ""))
            if self._now() < until:
                raise IssuerUnavailable(reason)
            task = asyncio.create_task(self._run(session))
            self._running[session.root] = task
            # If all who wait are cancelled, no one takes the error.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Shield it: a browser that goes away must not cancel the renewal for its other tabs.
        return await asyncio.shield(self._running[session.root])

    async def settled(self, session: Session) -> Session:
        """Return the newest session, after a renewal that runs."""
        if task := self._running.get(session.root):
            await asyncio.wait([task])
        return self.newest(session)

    async def _run(self, session: Session) -> Session:
        try:
            renewed = await self._renew(session)
            self._paused.pop(session.issuer, None)
            self._keep(session, renewed)
            return renewed
        except IssuerUnavailable as error:
            self._paused[session.issuer] = self._now() + PAUSE_SECONDS, str(error)
            raise
        finally:
            del self._running[session.root]

    def _keep(self, older: Session, newer: Session) -> None:
        # The answer with the new cookie may be lost, so it counts until the browser has shown it.
        self._kept[older.id] = newer, newer.valid_until
        self._older[newer.id] = older.id
        while len(self._kept) > MAX_KEPT:
            forgotten, _ = self._kept.popitem(last=False)[1]
            self._older.pop(forgotten.id, None)

    def _shorten(self, older: str) -> None:
        if found := self._kept.get(older):
            self._kept[older] = found[0], min(found[1], self._now() + KEPT_SECONDS)
