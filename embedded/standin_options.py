"""Options of the stand-ins: what one process serves, and how each of them behaves.

They reach the process in its environment, as JSON: they hold secrets, and every user sees arguments.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from embedded.cloud_directory_behaviour import EntraBehaviour, OktaBehaviour
from embedded.rafay_behaviour import Behaviour

#: The variable that holds `StandInOptions`.
VARIABLE = "STAND_INS"

#: Users of a new directory, so that a first environment has an owner and possible collaborators.
PEOPLE = tuple(f"{name}@example.com" for name in ("alice", "bob", "carol", "dave", "erin", "frank"))


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int = Field(ge=1, le=65535, description="port on 127.0.0.1")


class RafayOptions(_Options):
    """Options of the stand-in for a Rafay controller.

    `api_key` may do everything, `read_only_key` may read. Agents reach it at `endpoint`, by default its port.
    """

    database: Path
    api_key: str = Field(min_length=1, repr=False)
    read_only_key: str | None = Field(default=None, min_length=1, repr=False)
    endpoint: str | None = None
    agent_image: str = "rafay-agent"
    users: tuple[str, ...] = ()
    behaviour: Behaviour = Behaviour()


class DirectoryOptions(_Options):
    """Options of the SCIM directory. RFC 7643 allows several groups of one name, most products do not."""

    database: Path
    token: str = Field(min_length=1, repr=False)
    people: tuple[str, ...] = PEOPLE
    allow_duplicate_groups: bool = False


class OktaClient(BaseModel):
    """A service app: its public keys (as JSON Web Keys), and the scopes that are granted to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: str = Field(min_length=1)
    keys: tuple[dict[str, Any], ...] = ()
    scopes: tuple[str, ...] = ("okta.groups.manage", "okta.users.read")


class OktaOptions(_Options):
    """Options of the stand-in for Okta.

    `read_only_token` is of an administrator who may only read. `group_attributes` are those of a group's
    profile that its schema has beside name and description.
    """

    database: Path
    api_token: str = Field(min_length=1, repr=False)
    read_only_token: str | None = Field(default=None, min_length=1, repr=False)
    clients: tuple[OktaClient, ...] = ()
    people: tuple[str, ...] = PEOPLE
    group_attributes: tuple[str, ...] = ()
    behaviour: OktaBehaviour = OktaBehaviour()


class EntraApp(BaseModel):
    """An app registration: its credentials, and the application permissions that are granted to it.

    `certificates` are public ones, in PEM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: str = Field(min_length=1)
    client_secret: str | None = Field(default=None, min_length=1, repr=False)
    certificates: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ("Group.ReadWrite.All", "User.Read.All")


class EntraOptions(_Options):
    """Options of the stand-in for Microsoft Entra ID: Microsoft Graph and the token endpoint at one URL."""

    database: Path
    tenant: str = Field(default="11111111-2222-3333-4444-555555555555", min_length=1)
    apps: tuple[EntraApp, ...] = ()
    people: tuple[str, ...] = PEOPLE
    behaviour: EntraBehaviour = EntraBehaviour()


class HostOptions(_Options):
    """Options of the simulated host cluster.

    `start_seconds` is the average start of a vCluster, `stop_seconds` the average end of a pod or namespace.
    `virtual_address` is the ADDRESS:PORT on which the virtual API servers listen, for a container;
    kubeconfigs name 127.0.0.1 in any case. By default it is a free port, which is kept with the data. `cpu`
    and `memory` are the capacity of its node: it runs nothing, so it has room for thousands.
    """

    folder: Path
    token: str = Field(min_length=1, repr=False)
    start_seconds: float = Field(default=2.0, ge=0)
    stop_seconds: float = Field(default=0.4, ge=0)
    virtual_address: str | None = Field(default=None, pattern=r".+:\d+$")
    cpu: str = "100000"
    memory: str = "400Ti"


class Account(BaseModel):
    """A person who can sign in at the OpenID provider, by address or by what is before its @."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    email: str
    name: str
    password: str = Field(min_length=1, repr=False)
    groups: tuple[str, ...] = ()
    is_email_verified: bool = True


class OpenIdOptions(_Options):
    """Options of the OpenID provider.

    It has one public client, which must use PKCE; its redirects go to `/callback` of any port on loopback,
    or to one of `redirect_uris`. `where` tells on its pages where the passwords are. Polls of a device are
    at least `device_interval_seconds` apart.
    """

    database: Path
    accounts: tuple[Account, ...] = ()
    client_id: str = "moorage"
    audience: str = "moorage-api"
    redirect_uris: tuple[str, ...] = ()
    where: str = ""
    access_token_seconds: int = Field(default=300, ge=1)
    device_interval_seconds: int = Field(default=5, ge=1)
    device_code_seconds: int = Field(default=600, ge=1)


class StandInOptions(BaseModel):
    """Options of the stand-ins that one process serves: at least one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    control_plane: RafayOptions | None = None
    directory: DirectoryOptions | None = None
    okta: OktaOptions | None = None
    entra: EntraOptions | None = None
    host: HostOptions | None = None
    openid_provider: OpenIdOptions | None = None

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("name at least one stand-in")
        return self
