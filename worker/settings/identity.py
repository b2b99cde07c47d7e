"""The settings of the identity provider: which kind it is, where it is, and the worker's credential."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    StringConstraints,
    model_validator,
)

from clients.identity.keycloak import admin_url
from worker.settings.types import (
    Group,
    HeaderSecret,
    PositiveDuration,
    ProtectedUrl,
    SingleLineSecret,
)


class IdentityKind(StrEnum):
    """The interface of an identity provider."""

    SCIM = "scim"
    KEYCLOAK = "keycloak"


class IdentityProvider(Group):
    """The identity provider. Without this group, members are local users of the control plane."""

    kind: IdentityKind = Field(
        default=IdentityKind.SCIM,
        description="scim for a directory with SCIM 2.0, keycloak for Keycloak's Admin REST API",
    )
    url: ProtectedUrl = Field(
        description="base URL of the SCIM 2.0 service, or the issuer of the Keycloak realm",
        examples=["https://idp.example/scim/v2", "https://sso.example.com/realms/acme"],
    )
    token: HeaderSecret | None = Field(
        default=None, description="bearer token that may read users and manage groups; or client_id"
    )
    client_id: str | None = Field(
        default=None,
        description="client whose credentials get an access token, instead of token; keycloak needs it",
        examples=["moorage-directory"],
    )
    client_secret: SingleLineSecret | None = Field(default=None, description="secret of that client")
    token_url: ProtectedUrl | None = Field(
        default=None, description="where that client gets its token; keycloak does not need it"
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30), description="longest wait for one answer; directories can be slow"
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed its certificate, if a private one"
    )

    @model_validator(mode="after")
    def _has_one_credential(self) -> "IdentityProvider":
        has_client = self.client_id is not None and self.client_secret is not None
        if (self.client_id is None) is not (self.client_secret is None):
            raise ValueError("needs client_id and client_secret together")
        if self.token is not None and has_client:
            raise ValueError("has token and client_id: give one of them")
        if self.kind is IdentityKind.KEYCLOAK:
            if not has_client:
                raise ValueError("needs client_id and client_secret, because kind is keycloak")
            try:
                admin_url(self.url)
            except ValueError as error:
                raise ValueError(f"url {error}, because kind is keycloak") from None
        elif self.token is None and not (has_client and self.token_url):
            raise ValueError("needs token, or client_id with client_secret and token_url")
        return self


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
