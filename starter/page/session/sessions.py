"""The sessions of the page: how they start, stay, are renewed and end. No state is needed to accept one."""

import asyncio
import hmac
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

import structlog

from starter.auth.authentication import Authentication, IssuerUnavailable, TokenRefused
from starter.auth.oidc.issuers import Issuer
from starter.auth.oidc.verifier import LEEWAY, looks_like_jwt
from starter.config_files.reloading import Reloaded
from starter.page.session.attempt import Attempt, AttemptRefused
from starter.page.session.csrf import CsrfTokens
from starter.page.session.issuer_client import GrantRefused, IssuerClient, TokenAnswer
from starter.page.session.renewals import Renewals
from starter.page.session.sealing import Sealer
from starter.page.session.session import MAX_SESSION_SECONDS, Session, mark_of, new_id

#: A token is renewed so long before its end, or in the last fifth of a short one.
EARLY_SECONDS, EARLY_SHARE = 60.0, 0.2
#: An issuer whose tokens are over at once is not asked with each page.
SOONEST_SECONDS = 5.0
#: While the token is valid, a page waits no longer than this for its renewal.
RENEWAL_TIMEOUT_SECONDS = 3.0
#: How old the time of the last page in the cookie may be: a cookie with each page would help no one.
SEEN_EVERY_SECONDS = 300.0
#: Sessions that have ended and whose cookies may still come.
MAX_ENDED = 10_000

_log = structlog.get_logger(__name__)
_random = random.SystemRandom()


class SessionEnded(Exception):
    """The session has ended; the text says why."""


class SignInRefused(Exception):
    """The person is not signed in; the text says why, and repeats nothing of what the issuer sent."""


class PageSessions:
    """Starts, renews and ends sessions.

    Everything is in the cookies, so that any API of the installation accepts them, also after a restart. Only
    this process remembers sign-outs and renewals that have just happened.
    """

    def __init__(
        self,
        authentication: Authentication,
        issuers: Reloaded[tuple[Issuer, ...]] | None,
        sealer: Sealer,
        csrf: CsrfTokens,
        client: IssuerClient,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._authentication = authentication
        self._issuers = issuers
        self.sealer = sealer
        self.csrf = csrf
        self.client = client
        self.now = now
        self._renewals = Renewals(self._renew, now)
        self._ended: OrderedDict[str, float] = OrderedDict()

    def issuers(self) -> tuple[Issuer, ...]:
        """Return the issuers at which people sign in."""
        return tuple(each for each in (self._issuers.current() if self._issuers else ()) if each.client_id)

    def issuer(self, url: str) -> Issuer | None:
        """Return the issuer with this URL, if people sign in there."""
        return next((each for each in self.issuers() if each.url == url), None)

    def issuer_origins(self) -> tuple[str, ...]:
        """Return where a sign-out may lead: browsers let a form go to no other place."""
        return tuple(dict.fromkeys(_origin(issuer.url) for issuer in self.issuers()))

    async def start(
        self, attempt: Attempt, answer: Mapping[str, str], previous: Session | None = None
    ) -> Session:
        """Return the new session for what the issuer's page has sent the browser back with.

        It replaces the `previous` one of the browser. If the person is the same, the forms that are open in
        other tabs stay valid.

        Raises:
            AttemptRefused: the answer is not the issuer's.
            SignInRefused: the person or the issuer denies it, or the person may not use this installation.
            IssuerUnavailable: the issuer does not answer.
        """
        issuer = self.issuer(attempt.issuer)
        if issuer is None:
            raise SignInRefused("This installation no longer accepts that issuer: start again.")
        endpoints = await self.client.endpoints(issuer)
        # RFC 9207: with `iss`, an answer of an issuer that was not asked is noticed.
        named = answer.get("iss")
        if (named is not None or endpoints.authorization_response_iss_parameter_supported) and (
            named or ""
        ).rstrip("/") != issuer.url:
            raise AttemptRefused(
                "The answer is from another issuer than the one that was asked: start again."
            )
        if not (code := answer.get("code")):
            raise SignInRefused(_describe_denial(answer.get("error", "")))
        try:
            tokens = await self.client.grant(issuer, attempt.grant(code))
            if not tokens.id_token:
                raise TokenRefused("there is none, although the scope openid asks for it")
            claims = await self._authentication.id_claims(tokens.id_token, issuer)
        except GrantRefused as refusal:
            raise SignInRefused(f"The issuer does not accept the sign-in ({refusal}): start again.") from None
        except TokenRefused as refusal:
            raise SignInRefused(f"The issuer's ID token is not accepted: {refusal}.") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), attempt.nonce.encode()):
            raise AttemptRefused("The ID token is of another sign-in: start again.")
        now = self.now()
        try:
            session = await self._session_of(tokens, issuer, root=new_id(), started_at=now, seen_at=now)
        except TokenRefused as refusal:
            await self._revoke(issuer, tokens.refresh_token)
            raise SignInRefused(f"You cannot sign in: {refusal}.") from None
        if previous is None:
            return session
        if previous.principal.email == session.principal.email:
            return session.model_copy(update={"root": previous.root})
        self.end(previous, "replaced")
        return session

    async def current(self, session: Session, *, is_activity: bool) -> Session:
        """Return the session as it is now: renewed if that is due, with the time of this page.

        Raises:
            SessionEnded: it is over, signed out, or the issuer no longer renews it.
            IssuerUnavailable: it cannot be renewed now, and its last token has expired.
        """
        session = self._renewals.newest(session)
        self._ensure_open(session)
        issuer = self.issuer(session.issuer)
        if issuer is None:
            raise self.end(session, "its issuer is no longer accepted")
        is_of_entry = session.issuer_mark == mark_of(issuer)
        if self.now() >= session.renew_at or not is_of_entry:
            # Teams and role of another entry count no more, also while the issuer does not answer.
            is_valid = is_of_entry and self.now() < session.valid_until
            session = await self._renew_if_possible(session, is_valid=is_valid)
            self._ensure_open(session)
        if is_activity and self.now() >= session.seen_at + SEEN_EVERY_SECONDS:
            session = session.model_copy(update={"seen_at": self.now()})
        self._authentication.remember_teams(session.principal)
        return session

    def is_valid(self, session: Session) -> bool:
        """Return whether a stream of this session may go on; if not, the browser opens it again."""
        return (
            session.root not in self._ended
            and not session.is_over(self.now())
            and self.now() < session.valid_until
            and (issuer := self.issuer(session.issuer)) is not None
            and mark_of(issuer) == session.issuer_mark
        )

    def for_stream(self, session: Session) -> Session:
        """Return the session for a stream that it opens: with an end at random while it can be renewed.

        The streams of a person's tabs then do not come back all at once, perhaps to several replicas, each of
        which would use the refresh token. Issuers that rotate it end a sign-in whose token comes twice.
        """
        earliest = max(session.renew_at, self.now())
        length = session.valid_until - earliest
        if not session.refresh_token or length <= 0:
            return session
        return session.model_copy(update={"valid_until": earliest + _random.uniform(0, length)})

    def end(self, session: Session, why: str) -> SessionEnded:
        """Forget the session: no cookie of it is accepted here any more. Return the error that says so."""
        self._ended[session.root] = session.started_at + MAX_SESSION_SECONDS
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        return SessionEnded(why)

    async def sign_out(self, session: Session, return_to: str) -> str | None:
        """End the session here and at the issuer; return the page of the issuer that ends its own session.

        An issuer that does not answer does not keep anyone signed in here.
        """
        self.end(session, "signed out")
        session = await self._renewals.settled(session)
        issuer = self.issuer(session.issuer)
        if issuer is None:
            return None
        await self._revoke(issuer, session.refresh_token)
        try:
            address = (await self.client.endpoints(issuer)).end_session_endpoint
        except (IssuerUnavailable, GrantRefused):
            return None
        if not address or _origin(address) not in self.issuer_origins():
            return None
        query = {"client_id": str(issuer.client_id), "post_logout_redirect_uri": return_to}
        if session.id_token:
            query["id_token_hint"] = session.id_token
        return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

    def _ensure_open(self, session: Session) -> None:
        if session.root in self._ended:
            raise SessionEnded("it was signed out")
        if session.is_over(self.now()):
            raise self.end(session, "it has lasted for its longest time, or was idle")

    async def _renew_if_possible(self, session: Session, *, is_valid: bool) -> Session:
        """Return the renewed session; the present one while it is valid and the issuer does not answer."""
        if not session.refresh_token:
            if not is_valid:
                raise self.end(session, "its token no longer counts, and the issuer gave none to renew it")
            return session
        try:
            async with asyncio.timeout(RENEWAL_TIMEOUT_SECONDS if is_valid else None):
                return await self._renewals.renewed(session)
        except (IssuerUnavailable, TimeoutError):
            if not is_valid:
                raise
            return session
        except GrantRefused as refusal:
            raise self.end(session, f"the issuer does not renew it ({refusal})") from None
        except TokenRefused as refusal:
            raise self.end(session, str(refusal)) from None

    async def _renew(self, session: Session) -> Session:
        issuer = self.issuer(session.issuer)
        if issuer is None:
            raise TokenRefused("its issuer is no longer accepted")
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
        tokens = await self.client.grant(issuer, form)
        kept = {
            # Issuers that do not rotate refresh tokens give none with a new access token.
            "refresh_token": tokens.refresh_token or session.refresh_token,
            "id_token": tokens.id_token or session.id_token,
        }
        renewed = await self._session_of(
            tokens.model_copy(update=kept),
            issuer,
            root=session.root,
            started_at=session.started_at,
            seen_at=session.seen_at,
        )
        if renewed.principal.email != session.principal.email:
            raise TokenRefused("the issuer's new token belongs to another person")
        return renewed

    async def _session_of(
        self, tokens: TokenAnswer, issuer: Issuer, *, root: str, started_at: float, seen_at: float
    ) -> Session:
        if not looks_like_jwt(tokens.access_token):
            raise TokenRefused("the issuer's access token is not a signed one (JWT)")
        verified = await self._authentication.verify_signed(tokens.access_token)
        if verified.issuer != issuer.url:
            raise TokenRefused("the token is from another issuer")
        left = verified.until - LEEWAY.total_seconds() - self.now()
        return Session(
            id=new_id(),
            root=root,
            principal=verified.principal,
            issuer=issuer.url,
            issuer_mark=mark_of(issuer),
            started_at=started_at,
            seen_at=seen_at,
            renew_at=self.now() + max(SOONEST_SECONDS, left - min(EARLY_SECONDS, left * EARLY_SHARE)),
            valid_until=verified.until,
            refresh_token=tokens.refresh_token,
            id_token=tokens.id_token,
        )

    async def _revoke(self, issuer: Issuer, refresh_token: str) -> None:
        if not refresh_token:
            return
        try:
            await self.client.revoke(issuer, refresh_token)
        except (IssuerUnavailable, GrantRefused) as error:
            _log.warning("an issuer did not end a sign-in", issuer=issuer.url, error=str(error))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _describe_denial(error: str) -> str:
    if error == "access_denied":
        return "The sign-in was denied."
    if error in ("server_error", "temporarily_unavailable"):
        return "The issuer cannot sign anyone in now: try again in a minute."
    return "The issuer refuses the sign-in: tell the platform team, who can see why in its log."
