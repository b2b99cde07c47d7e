"""The accounts of the provider, and the check of their passwords."""

import hmac
import secrets
from collections.abc import Iterable

from embedded.openid.guess_limit import GuessLimit
from embedded.standin_options import Account


class Accounts:
    """Finds accounts by address, and people by name and password."""

    def __init__(self, accounts: Iterable[Account], guesses: GuessLimit) -> None:
        self._by_email = {account.email.lower(): account for account in accounts}
        self._by_name = {email.partition("@")[0]: account for email, account in self._by_email.items()}
        self._guesses = guesses

    def find(self, email: str) -> Account | None:
        """Return the account with this address."""
        return self._by_email.get(email)

    def check(self, form: dict[str, str]) -> tuple[Account | None, str]:
        """Return the account of `username` and `password`; or None and what to tell the user."""
        name = form.get("username", "").strip().lower()
        account = self._by_email.get(name) or self._by_name.get(name)
        # One key for all unknown names, so that inventing them needs no memory.
        key = f"password of {account.email}" if account else "unknown names"
        if self._guesses.is_reached(key):
            return None, "Too many wrong passwords: wait a minute."
        expected = account.password if account else secrets.token_urlsafe()
        is_right = hmac.compare_digest(expected.encode(), form.get("password", "").encode())
        if account is None or not is_right:
            self._guesses.record_failure(key)
            return None, "Name or password is wrong."
        return account, ""
