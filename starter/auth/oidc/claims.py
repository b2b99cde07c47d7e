"""Who a verified token belongs to: a person by e-mail and groups, or a robot by its claims."""

from collections.abc import Mapping
from typing import Any

from contracts.types.printable_text import ensure_printable
from starter.auth.oidc.issuers import Issuer
from starter.auth.policy import Principal, Role
from starter.auth.tokens import read_email

#: A longer name of a person is cut: the claim is the issuer's, and the name is only shown.
NAME_LENGTH = 100
#: More groups than this are not read. Issuers leave the claim out above a few hundred (Entra ID: 200).
MAX_GROUPS = 2000


class TokenRefused(Exception):
    """The token does not identify a principal; the text says why, and never repeats the token."""


def principal_from_claims(claims: Mapping[str, Any], issuer: Issuer) -> Principal:
    """Return the principal of a verified token; raise TokenRefused if it belongs to no one.

    A robot is recognised by its claims before a person is, because its token may have an address too.
    """
    for robot in issuer.robots:
        if all(_is_equal(claims.get(name), value) for name, value in robot.claims.items()):
            return Principal(person=robot.email, email=robot.email.lower(), teams=robot.teams)
    email = _email(claims, issuer)
    groups = _groups(claims, issuer)
    teams = _teams(groups, issuer)
    is_platform = not groups.isdisjoint(issuer.platform_groups)
    if not teams and not is_platform:
        raise TokenRefused(
            f"{email} is in no group that is a team here: ask the platform team which group to join"
        )
    return Principal(
        person=_name(claims, issuer) or email,
        email=email,
        teams=teams or ("platform",),
        role=Role.PLATFORM if is_platform else Role.DEVELOPER,
    )


def _is_equal(claim: object, value: str) -> bool:
    # A number and a truth value in a token are compared as JSON writes them.
    if isinstance(claim, bool):
        return value == str(claim).lower()
    return isinstance(claim, str | int) and str(claim) == value


def _email(claims: Mapping[str, Any], issuer: Issuer) -> str:
    text = claims.get(issuer.email_claim)
    if not isinstance(text, str) or not text:
        raise TokenRefused(
            f"the token has no claim {issuer.email_claim}: sign in with the scope that gives it"
        )
    try:
        email = read_email(text)
    except ValueError:
        raise TokenRefused(f"the token's claim {issuer.email_claim} is no e-mail address") from None
    if issuer.verified_claim is not None and claims.get(issuer.verified_claim) is not True:
        raise TokenRefused(f"the address {email} is not verified at the issuer: verify it there")
    return email


def _name(claims: Mapping[str, Any], issuer: Issuer) -> str:
    name = claims.get(issuer.name_claim)
    try:
        return ensure_printable(name.strip())[:NAME_LENGTH] if isinstance(name, str) else ""
    except ValueError:
        return ""


def _groups(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    """Return the groups in the claim; none if it is absent, as it is for people without any group."""
    groups = claims.get(issuer.groups_claim)
    if isinstance(groups, str):
        groups = [groups]
    if not isinstance(groups, list):
        return frozenset()
    # Keycloak names groups by path, unless its mapper is configured otherwise: `/team-a`.
    return frozenset(group.removeprefix("/") for group in groups[:MAX_GROUPS] if isinstance(group, str))


def _teams(groups: frozenset[str], issuer: Issuer) -> tuple[str, ...]:
    teams = {issuer.teams[group] for group in groups if group in issuer.teams}
    if prefix := issuer.team_prefix:
        teams |= {
            group.removeprefix(prefix) for group in groups if group.startswith(prefix) and group != prefix
        }
    return tuple(sorted(team for team in teams if _is_team(team)))


def _is_team(text: str) -> bool:
    try:
        return 0 < len(ensure_printable(text).strip()) <= NAME_LENGTH
    except ValueError:
        return False
