"""Routes about the caller: how a client signs in, which needs no token, and who a token belongs to."""

from fastapi import APIRouter

from contracts.types.models import Frozen
from starter.api.dependencies import CallerDep, IssuersDep
from starter.auth.policy import Role

#: Clients call it before they have a token; it has nothing that a page of the issuer does not show.
SIGN_IN_PATH = "/sign-in"

router = APIRouter(tags=["sign-in"])


class IssuerView(Frozen):
    """An OpenID Connect issuer, and the public client that people sign in with there."""

    url: str
    client_id: str
    scopes: str


class SignInOptions(Frozen):
    """The issuers at which people sign in; the first one is the default."""

    issuers: tuple[IssuerView, ...]


class CallerView(Frozen):
    """The person of the token."""

    person: str
    email: str
    teams: tuple[str, ...]
    role: Role


@router.get(SIGN_IN_PATH)
async def sign_in_options(issuers: IssuersDep) -> SignInOptions:
    """List the issuers for `moorage login`. Needs no token."""
    return SignInOptions(
        issuers=tuple(
            IssuerView(url=issuer.url, client_id=issuer.client_id, scopes=issuer.scopes)
            for issuer in (issuers.current() if issuers else ())
            if issuer.client_id
        )
    )


@router.get("/whoami")
async def whoami(caller: CallerDep) -> CallerView:
    """Show who your token belongs to: address, teams and role."""
    return CallerView(person=caller.person, email=caller.email, teams=caller.teams, role=caller.role)
