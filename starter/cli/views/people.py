"""The API's answers about people and their credentials, as the command line reads them."""

from datetime import datetime

from starter.cli.views.base import View


class CredentialView(View, frozen=True, kw_only=True):
    """A client certificate for one environment."""

    certificate: str
    person: str
    life: str
    expires_at: datetime
    valid_seconds: int


class IssuerView(View, frozen=True, kw_only=True):
    """An issuer at which people sign in."""

    url: str
    client_id: str
    scopes: str


class SignInOptions(View, frozen=True, kw_only=True):
    """The issuers at which people sign in; the first one is the default."""

    issuers: tuple[IssuerView, ...]


class CallerView(View, frozen=True, kw_only=True):
    """The person of the token."""

    person: str
    email: str
    teams: tuple[str, ...]
    role: str
