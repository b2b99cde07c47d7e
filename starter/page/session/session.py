"""The session of a person, as its cookie keeps it: who, until when, and how it is renewed."""

import hashlib
import secrets
import zlib

from pydantic import Field

from contracts.types.decompression import decompress
from contracts.types.models import Frozen
from starter.auth.oidc.issuers import Issuer
from starter.auth.policy import Principal
from starter.page.session.cookies import MAX_COOKIE_LENGTH, SESSION_COOKIE
from starter.page.session.sealing import BadSeal, Sealer

#: A session ends after a working day with overtime, whatever the issuer allows: people sign in each morning.
MAX_SESSION_SECONDS = 12 * 3600.0
#: A session that no page was opened in for so long ends: the person has gone home.
MAX_IDLE_SECONDS = 8 * 3600.0
#: The number changes with the fields, so that no process reads the cookie of another version.
_PURPOSE = "session 1"
_ID_BYTES = 16
#: What zlib can make of a cookie at best, a thousandfold, is far more than any session is.
MAX_SESSION_BYTES = 64 * 1024


class SessionTooLarge(Exception):
    """The session does not fit into a cookie, even without what can be left out."""


class Session(Frozen):
    """A session. Times are in seconds since the epoch.

    `id` changes at each renewal, `root` never. `issuer_mark` tells whether the issuer's entry in the file has
    changed since the teams were read. `valid_until` is when the API would refuse the access token. The access
    token itself is not kept: what it says is in `principal`. Without `refresh_token` nothing is renewed.
    """

    id: str
    root: str
    principal: Principal
    issuer: str
    issuer_mark: str
    started_at: float
    seen_at: float
    renew_at: float
    valid_until: float
    refresh_token: str = Field(default="", repr=False)
    id_token: str = Field(default="", repr=False)

    def is_over(self, now: float) -> bool:
        """Return whether the longest life or the longest idle time has passed."""
        return now >= self.started_at + MAX_SESSION_SECONDS or now >= self.seen_at + MAX_IDLE_SECONDS


def new_id() -> str:
    """Return a random id."""
    return secrets.token_urlsafe(_ID_BYTES)


def mark_of(issuer: Issuer) -> str:
    """Return a fingerprint of the issuer's entry in the file."""
    return hashlib.sha256(issuer.model_dump_json().encode()).hexdigest()[:12]


def seal_session(session: Session, sealer: Sealer) -> str:
    """Return the value of the session's cookie.

    Tokens that do not fit are left out, because browsers drop a cookie above 4 KB without a word: first the
    ID token, which only makes the sign-out at the issuer smoother, then the refresh token.

    Raises:
        SessionTooLarge: it does not fit even so.
    """
    for left_out in ({}, {"id_token": ""}, {"id_token": "", "refresh_token": ""}):
        content = session.model_copy(update=left_out).model_dump_json(exclude_defaults=True)
        text = sealer.seal(_PURPOSE, zlib.compress(content.encode()))
        if len(SESSION_COOKIE) + len(text) <= MAX_COOKIE_LENGTH:
            return text
    raise SessionTooLarge(
        f"the names of your {len(session.principal.teams)} teams do not fit into a cookie; "
        "tell the platform team"
    )


def open_session(text: str, sealer: Sealer) -> Session:
    """Return the session of a cookie; raise BadSeal if it is not one of this installation and version."""
    content = sealer.open(_PURPOSE, text)
    try:
        return Session.model_validate_json(decompress(content, MAX_SESSION_BYTES))
    except ValueError:
        raise BadSeal("it is of another version") from None
