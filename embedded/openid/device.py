"""The device flow: a device shows a code, and a person approves it on another one (RFC 8628)."""

import secrets
from collections.abc import Callable
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from embedded.openid.database import Database, digest
from embedded.openid.forms import answer, is_s256, read_form, scope_of
from embedded.openid.guess_limit import GuessLimit
from embedded.openid.pages import device_page, message_page
from embedded.openid.passwords import Accounts
from embedded.standin_options import OpenIdOptions

#: RFC 8628, 6.1: letters that no one confuses, and that form no words.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8
_GUESSES = "user codes"


class DeviceFlow:
    """Starts the flow, and asks the person; the device polls the token endpoint."""

    def __init__(
        self,
        database: Database,
        options: OpenIdOptions,
        issuer: str,
        accounts: Accounts,
        guesses: GuessLimit,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._options = options
        self._issuer = issuer
        self._accounts = accounts
        self._guesses = guesses
        self._clock = clock

    async def start(self, request: Request) -> Response:
        """Answer a device with its two codes."""
        form, now = await read_form(request), self._clock()
        if form.get("client_id") != self._options.client_id:
            return answer({"error": "invalid_client"}, 401)
        if not is_s256(form):
            return answer({"error": "invalid_request"}, 400)
        self._database.remove_expired(now)
        code = secrets.token_urlsafe(32)
        user_code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        interval, lifetime = self._options.device_interval_seconds, self._options.device_code_seconds
        self._database.run(
            "INSERT INTO devices VALUES (?, ?, ?, ?, 'pending', NULL, ?, ?, ?)",
            digest(code), user_code, scope_of(form), form["code_challenge"],
            interval, now - interval, now + lifetime,
        )  # fmt: skip
        shown = f"{user_code[:4]}-{user_code[4:]}"
        return answer(
            {
                "device_code": code,
                "user_code": shown,
                "verification_uri": f"{self._issuer}/device",
                "verification_uri_complete": f"{self._issuer}/device?{urlencode({'user_code': shown})}",
                "expires_in": lifetime,
                "interval": interval,
            }
        )

    async def show(self, request: Request) -> Response:
        """Show the page on which a person enters the code."""
        return device_page(request.query_params.get("user_code", "")[:20], where=self._options.where)

    async def decide(self, request: Request) -> Response:
        """Approve or deny the code of the form, as the person of the form."""
        form = await read_form(request)
        shown, where = form.get("user_code", "")[:20], self._options.where
        account, problem = self._accounts.check(form)
        if account is None:
            hint = form.get("username", "")
            return device_page(shown, hint=hint, where=where, problem=problem, status=401)
        if self._guesses.is_reached(_GUESSES):
            problem = "Too many wrong codes: wait a minute."
            return device_page(shown, hint=account.email, where=where, problem=problem, status=429)
        code = "".join(letter for letter in shown.upper() if letter.isalpha())
        query = "SELECT * FROM devices WHERE user_code = ? AND state = 'pending' AND expires_at > ?"
        device = self._database.one(query, code, self._clock())
        if device is None:
            self._guesses.record_failure(_GUESSES)
            problem = "There is no such code."
            return device_page(shown, hint=account.email, where=where, problem=problem, status=400)
        session_id = self._database.new_session(account.email.lower(), device["scope"])
        state = "approved" if form.get("decision") == "approve" else "denied"
        update = "UPDATE devices SET state = ?, session_id = ? WHERE hash = ?"
        self._database.run(update, state, session_id, device["hash"])
        return message_page("Done", f"You have {state} the sign-in of the device. You can close this page.")
