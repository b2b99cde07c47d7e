"""The settings of the HTTP API."""

from pathlib import Path

from pydantic import (
    Field,
)

from worker.settings.types import (
    Group,
    HeaderSecret,
    Networks,
    NonEmptySecret,
    Origin,
    SingleLineSecret,
    SocketAddress,
)


class Api(Group):
    """The HTTP API, the only public interface of the installation."""

    bind: str = Field(default="127.0.0.1", description="address to listen on; in a container 0.0.0.0")
    port: int = Field(default=7400, ge=1, le=65535, description="port to listen on")
    tokens_file: Path | None = Field(
        default=None, description="file of the bearer tokens and whose they are; the API needs it"
    )
    issuers_file: Path | None = Field(
        default=None,
        description="file of the OpenID Connect issuers whose tokens the API accepts too; not secret",
    )
    public_url: Origin | None = Field(
        default=None,
        description="where people open the page, without a path: the issuers send them back there after the "
        "sign-in; without it, the address that the browser asked for",
        examples=["https://moorage.example.com"],
    )
    control_plane_api_key: HeaderSecret | None = Field(
        default=None,
        description="API key of the control plane for the API, which only looks people up there, and only "
        "without an identity provider; without it, the API uses the worker's",
    )
    identity_client_id: str | None = Field(
        default=None,
        description="client of the identity provider for the API, instead of identity_token",
    )
    identity_client_secret: SingleLineSecret | None = Field(default=None, description="secret of that client")
    identity_private_key: NonEmptySecret | None = Field(
        default=None, description="private key of that client instead of its secret, as for the worker"
    )
    identity_key_id: str | None = Field(default=None, description="id by which okta knows that key")
    identity_token: HeaderSecret | None = Field(
        default=None,
        description="bearer token of the identity provider for the API, which only looks people up there; "
        "without it, the API uses the worker's",
    )
    max_connections: int = Field(
        default=1000,
        ge=16,
        le=50000,
        description="connections at once, streams of events included; fewer where the limit of open files is "
        "lower. One address has a half of them at most, a trusted proxy all",
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="addresses or networks of the proxies before the API: only from them, the headers "
        "X-Forwarded-For and X-Forwarded-Proto are believed",
        examples=["10.1.2.3", "10.0.0.0/24"],
    )
    metrics: SocketAddress | None = Field(
        default=None,
        description="address and port of the API's Prometheus endpoint, which needs no token; off without it",
        examples=["127.0.0.1:9465"],
    )
