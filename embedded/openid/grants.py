"""The token endpoint: authorization codes, device codes and refresh tokens become tokens (RFC 6749, 8628)."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

from embedded.openid.database import Database, digest
from embedded.openid.passwords import Accounts
from embedded.openid.tokens import TokenSigner
from embedded.standin_options import OpenIdOptions

CODE, REFRESH = "authorization_code", "refresh_token"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
#: A refresh token that is not used for so long ends; the next one of the session lives as long again.
REFRESH_SECONDS = 30 * 24 * 3600.0
#: RFC 8628, 3.5: how much longer a client must wait after it has polled too early.
SLOW_DOWN_SECONDS = 5.0


class Refused(Exception):
    """The endpoint refuses; the text is an error code of OAuth."""


class Grants:
    """Turns what a client has into tokens. Each secret is good for one use."""

    def __init__(
        self,
        database: Database,
        signer: TokenSigner,
        options: OpenIdOptions,
        accounts: Accounts,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._signer = signer
        self._options = options
        self._accounts = accounts
        self._clock = clock

    async def tokens(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer for a form of the token endpoint.

        Raises:
            Refused: it gets no token.
        """
        if form.get("client_id") != self._options.client_id:
            raise Refused("invalid_client")
        match form.get("grant_type"):
            case "authorization_code":
                session_id, nonce = self._code(form)
            case "refresh_token":
                session_id, nonce = self._refresh(form), ""
            case grant if grant == DEVICE:
                session_id, nonce = self._device(form), ""
            case _:
                raise Refused("unsupported_grant_type")
        session = self._database.session(session_id)
        account = self._accounts.find(session["email"]) if session else None
        if account is None:
            raise Refused("invalid_grant")
        refresh = self._database.new_grant(REFRESH, session_id, {}, self._clock() + REFRESH_SECONDS)
        answer = {
            "token_type": "Bearer",
            "access_token": await self._signer.access_token(session, account),
            "expires_in": self._options.access_token_seconds,
            "refresh_token": refresh,
            "scope": session["scope"],
        }
        if "openid" in session["scope"].split():
            answer["id_token"] = await self._signer.id_token(session, account, nonce)
        return answer

    def _code(self, form: Mapping[str, str]) -> tuple[str, str]:
        grant = self._once(CODE, form.get("code", ""))
        data = grant["data"]
        is_same = data["redirect_uri"] == form.get("redirect_uri")
        if not is_same or not _proves(form.get("code_verifier", ""), data["code_challenge"]):
            raise Refused("invalid_grant")
        return grant["session_id"], data["nonce"]

    def _refresh(self, form: Mapping[str, str]) -> str:
        return str(self._once(REFRESH, form.get("refresh_token", ""))["session_id"])

    def _once(self, kind: str, secret: str) -> Any:
        """Return the grant; a second use ends its session, because one of the two users has stolen it."""
        grant = self._database.grant(kind, secret)
        if grant is None or self._clock() >= grant["expires_at"]:
            raise Refused("invalid_grant")
        if not self._database.use_grant(secret):
            self._database.revoke(grant["session_id"])
            raise Refused("invalid_grant")
        return grant

    def _device(self, form: Mapping[str, str]) -> str:
        code, now = digest(form.get("device_code", "")), self._clock()
        device = self._database.one("SELECT * FROM devices WHERE hash = ?", code)
        if device is None or device["state"] == "used":
            raise Refused("invalid_grant")
        if now >= device["expires_at"]:
            raise Refused("expired_token")
        self._database.run("UPDATE devices SET asked_at = ? WHERE hash = ?", now, code)
        if now - device["asked_at"] < device["interval"]:
            longer = device["interval"] + SLOW_DOWN_SECONDS
            self._database.run("UPDATE devices SET interval = ? WHERE hash = ?", longer, code)
            raise Refused("slow_down")
        if device["state"] == "pending":
            raise Refused("authorization_pending")
        if not _proves(form.get("code_verifier", ""), device["challenge"]):
            raise Refused("invalid_grant")
        self._database.run("UPDATE devices SET state = 'used' WHERE hash = ?", code)
        if device["state"] == "denied":
            raise Refused("access_denied")
        return str(device["session_id"])


def _proves(verifier: str, challenge: str) -> bool:
    """Return whether the verifier is the one of the challenge (RFC 7636, 4.6)."""
    found = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(found.encode(), challenge.encode())
