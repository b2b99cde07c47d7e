"""The settings of the identity provider: which kind it is, where it is, and the worker's credential."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    Field,
    StringConstraints,
    model_validator,
)

from clients.identity.keycloak import admin_url
from worker.settings.types import (
    Group,
    HeaderSecret,
    NonEmptySecret,
    PositiveDuration,
    ProtectedUrl,
    Rate,
    SingleLineSecret,
)


class IdentityKind(StrEnum):
    """The interface of an identity provider."""

    SCIM = "scim"
    KEYCLOAK = "keycloak"
    OKTA = "okta"
    ENTRA = "entra"


class IdentityProvider(Group):
    """The identity provider. Without this group, members are local users of the control plane."""

    kind: IdentityKind = Field(
        default=IdentityKind.SCIM,
        description="scim for a directory with SCIM 2.0, keycloak for Keycloak's Admin REST API, okta for "
        "Okta's management API, entra for Microsoft Graph",
    )
    url: ProtectedUrl = Field(
        description="base URL of the SCIM 2.0 service, the issuer of the Keycloak realm, the address of the "
        "Okta organization, or Microsoft Graph",
        examples=[
            "https://idp.example/scim/v2",
            "https://sso.example.com/realms/acme",
            "https://acme.okta.com",
            "https://graph.microsoft.com/v1.0",
        ],
    )
    token: HeaderSecret | None = Field(
        default=None,
        description="bearer token, or Okta's API token, that may read users and manage groups; or client_id",
    )
    client_id: str | None = Field(
        default=None,
        description="client whose credentials get an access token, instead of token; keycloak and entra need "
        "it, okta takes it with private_key",
        examples=["moorage-directory"],
    )
    client_secret: SingleLineSecret | None = Field(default=None, description="secret of that client")
    private_key: NonEmptySecret | None = Field(
        default=None,
        description="private key of that client instead of its secret: for okta PEM or JWK, for entra PEM "
        "with the certificate",
    )
    key_id: str | None = Field(
        default=None, description="id by which okta knows the private key; a JWK has it itself (kid)"
    )
    token_url: ProtectedUrl | None = Field(
        default=None,
        description="where that client gets its token; keycloak and okta do not need it",
        examples=["https://login.microsoftonline.com/TENANT-ID/oauth2/v2.0/token"],
    )
    scope: str | None = Field(
        default=None, description="scope of that token; okta and entra have one that fits by default"
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30), description="longest wait for one answer; directories can be slow"
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed its certificate, if a private one"
    )
    max_steps_per_second: Rate | None = Field(
        default=None,
        description="how many steps and undos that call it all workers together start in a second; without "
        "it, there is no limit",
        examples=["5"],
    )

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "IdentityProvider":
        _check_url(self.kind, self.url)
        if self.client_id is None:
            given = [name for name in ("client_secret", "private_key") if getattr(self, name) is not None]
            if given:
                raise ValueError(f"needs client_id and {given[0]} together")
        elif self.token is not None:
            raise ValueError("has token and client_id: give one of them")
        elif self.client_secret is not None and self.private_key is not None:
            raise ValueError("has client_secret and private_key: give one of them")
        elif self.client_secret is None and self.private_key is None:
            raise ValueError(f"needs client_id and {_PROOFS[self.kind]} together")
        _check_credential(self)
        if self.private_key is not None:
            _check_key(self.kind, self.private_key.get_secret_value(), self.key_id)
        return self


#: What proves who a client is, by kind.
_PROOFS = {
    IdentityKind.SCIM: "client_secret",
    IdentityKind.KEYCLOAK: "client_secret",
    IdentityKind.OKTA: "private_key",
    IdentityKind.ENTRA: "client_secret or private_key",
}


def _check_url(kind: IdentityKind, url: str) -> None:
    parts = urlsplit(url)
    if kind is IdentityKind.KEYCLOAK:
        try:
            admin_url(url)
        except ValueError as error:
            raise ValueError(f"url {error}, because kind is keycloak") from None
    elif kind is IdentityKind.OKTA:
        if parts.path or parts.query:
            raise ValueError("url must be the organization's address alone, such as https://acme.okta.com")
        if (parts.hostname or "").partition(".")[0].endswith("-admin"):
            raise ValueError("url is that of Okta's admin console: leave -admin out")
    elif kind is IdentityKind.ENTRA and parts.path != "/v1.0":
        raise ValueError("url must be Microsoft Graph's, such as https://graph.microsoft.com/v1.0")


def _check_credential(settings: IdentityProvider) -> None:
    has_token, has_client = settings.token is not None, settings.client_id is not None
    proof = _PROOFS[settings.kind]
    if settings.kind is IdentityKind.SCIM:
        if not has_token and not (has_client and settings.token_url):
            raise ValueError("needs token, or client_id with client_secret and token_url")
    elif settings.kind is IdentityKind.OKTA:
        if not has_token and not has_client:
            raise ValueError("needs token, or client_id with private_key, because kind is okta")
    elif not has_client:
        raise ValueError(f"needs client_id and {proof}, because kind is {settings.kind}")
    if settings.kind is IdentityKind.ENTRA and settings.token_url is None:
        raise ValueError(
            "needs token_url, such as https://login.microsoftonline.com/TENANT-ID/oauth2/v2.0/token, because "
            "kind is entra"
        )
    for name in ("client_secret", "private_key"):
        if getattr(settings, name) is not None and name not in proof:
            raise ValueError(f"takes no {name}, because kind is {settings.kind}: give {proof}")


def _check_key(kind: IdentityKind, text: str, key_id: str | None) -> None:
    # Import here because the libraries of signatures take long to import, and most installations have none.
    from clients.identity.client_assertion import SigningKey

    try:
        SigningKey(text, key_id=key_id, needs_certificate=kind is IdentityKind.ENTRA)
    except ValueError as error:
        raise ValueError(f"private_key {error}") from None


class SignIn(Group):
    """Sign-in to the control plane through the identity provider. Only `moorage setup` needs it."""

    domain: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")] = Field(
        description="domain of the addresses whose people the control plane sends to the identity provider",
        examples=["example.com"],
    )
    metadata_url: ProtectedUrl = Field(
        description="where the identity provider shows its SAML metadata",
        examples=["https://idp.example/saml/metadata"],
    )
    group_attribute: str = Field(
        default="groups", description="attribute in which the identity provider says a person's groups"
    )
    confirmed: bool = Field(
        default=False,
        description="that a user has signed in this way; for control planes that do not show their "
        "identity providers",
    )
