"""The models of all settings, read once at start: names, meanings, defaults and their reasons.

`worker.settings.sources` finds the values in the environment and in a file. `worker.connection` reads
Temporal's own settings (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, TLS).
"""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from contracts.durations import format_duration
from contracts.environment_workflow import LifecycleTimeouts
from contracts.naming import Installation, Prefix
from worker.settings.capacity import Capacity, Labels, Quotas
from worker.settings.codec import CodecServer, Encryption
from worker.settings.expiry import AuditLogSettings, Notices, Sweep
from worker.settings.hosts import HostCluster
from worker.settings.hosts import KubernetesHostCluster as KubernetesHostCluster
from worker.settings.hosts import SimulatedHostCluster as SimulatedHostCluster
from worker.settings.identity import IdentityProvider
from worker.settings.sources import SettingsError as SettingsError
from worker.settings.sources import Values, explain, read_sources
from worker.settings.types import (
    Group,
    HeaderSecret,
    HostName,
    Networks,
    PositiveDuration,
    ProtectedUrl,
    SingleLineSecret,
    SocketAddress,
)

#: How much longer than the longest client timeout a teardown waits before its last inspection
#: (`late_response_window`): a request may have been sent at the very end of the timeout, and the system needs
#: a while to show its effect.
LATE_RESPONSE_MARGIN = timedelta(seconds=15)

#: Placeholder for a credential that a process does not need.
NO_CREDENTIAL = "not-given-to-this-process"

#: The folder is located relative to the code, so that an installed checkout and the image find the same
#: files.
SHIPPED_TEMPLATES = Path(__file__).resolve().parents[2] / "starter" / "templates"


class ControlPlane(Group):
    """The system that manages clusters and access to them: Rafay."""

    url: ProtectedUrl = Field(
        description="base URL of the control plane's console", examples=["https://console.rafay.dev"]
    )
    api_key: HeaderSecret = Field(
        description="API key of a user who may manage projects, groups and clusters"
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30),
        description="longest wait for one answer; creating a cluster record takes it several seconds",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed its certificate, if a private one"
    )
    host_project: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = Field(
        default="moorage-hosts",
        description="project of the platform team, with the chart repositories; `moorage setup` makes it",
    )


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


class WorkerProcess(Group):
    """The process that runs workflows and activities."""

    max_concurrent_activities: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="steps that run at once; most of them wait, so it may be several times the calls that "
        "the control plane stands",
    )
    max_cached_workflows: int = Field(
        default=200,
        ge=1,
        le=10000,
        description="environments that it keeps in memory, at about 0.2 MB each; the others are read from "
        "Temporal again when something happens to them",
    )
    graceful_shutdown: PositiveDuration = Field(
        default=timedelta(seconds=25),
        description="how long running steps may finish after a signal to stop; shorter than the 30 s that "
        "Kubernetes gives a pod",
    )
    metrics: SocketAddress | None = Field(
        default=None,
        description="address and port of the Prometheus endpoint; off without it",
        examples=["127.0.0.1:9464"],
    )


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The format of log lines: `auto` is for people on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class Log(Group):
    """Logs of the worker and the API, on standard error."""

    level: LogLevel = Field(default=LogLevel.INFO, description="the least that is logged")
    format: LogFormat = Field(
        default=LogFormat.AUTO, description="auto is for people on a terminal, and JSON elsewhere"
    )


class LifecycleTimeoutSettings(Group):
    """The timeouts and retry intervals of a life. An environment keeps those that it was started with."""

    late_response_window: PositiveDuration | None = Field(
        default=None,
        description="pause after an answer that never came, before the last inspection; without it, the "
        f"longest timeout above and {format_duration(LATE_RESPONSE_MARGIN)}",
    )
    heartbeat_timeout: PositiveDuration = Field(
        default=LifecycleTimeouts().heartbeat_timeout,
        description="a worker that is silent on a running step for so long is taken for dead",
    )
    first_retry: PositiveDuration = Field(
        default=LifecycleTimeouts().first_retry,
        description="pause before the first retry of a step; then it doubles",
    )
    longest_retry: PositiveDuration = Field(
        default=LifecycleTimeouts().longest_retry, description="longest pause between two tries of a step"
    )
    step_timeout: PositiveDuration | None = Field(
        default=None, description="a ceiling for the time limits of all steps; without it, each has its own"
    )
    undo_timeout: PositiveDuration = Field(
        default=LifecycleTimeouts().undo_timeout,
        description="what one undo may take in one pass of a teardown",
    )
    first_pause: PositiveDuration = Field(
        default=LifecycleTimeouts().first_pause,
        description="pause between the first two passes of a teardown",
    )
    longest_pause: PositiveDuration = Field(
        default=LifecycleTimeouts().longest_pause,
        description="longest pause between two passes of a teardown",
    )
    give_up_after: PositiveDuration = Field(
        default=LifecycleTimeouts().give_up_after,
        description="when a teardown stops trying and asks for a person",
    )


class Settings(Group):
    """All settings of an installation. Build it with `load_settings`."""

    installation: Installation = Field(
        description="8 to 16 letters and digits, chosen at random, that tell this installation from all "
        "others; on every resource, so never change it",
        examples=["k3x9q0vb"],
    )
    prefix: Prefix = Field(
        default="mrg",
        description="first part of every derived name: up to 10 of a-z, 0-9 and hyphen; never change it "
        "while there are environments",
    )
    encryption: Encryption = Field(description="how what Temporal keeps is encrypted")
    templates: Path = Field(default=SHIPPED_TEMPLATES, description="folder of the catalogue's templates")
    control_plane: ControlPlane = Field(description="the control plane")
    identity: IdentityProvider | None = Field(default=None, description="the identity provider, if any")
    sso: SignIn | None = Field(default=None, description="signing in by the identity provider, if wanted")
    hosts: dict[HostName, HostCluster] = Field(min_length=1, description="the host clusters, by name")
    default_host: HostName | None = Field(
        default=None,
        validate_default=True,
        description="host cluster when none is asked for; without it, the one with the most room",
    )
    quotas: Quotas = Quotas()
    capacity: Capacity = Capacity()
    api: Api = Api()
    codec_server: CodecServer = CodecServer()
    worker: WorkerProcess = WorkerProcess()
    sweep: Sweep = Sweep()
    notices: Notices = Notices()
    audit_log: AuditLogSettings = AuditLogSettings()
    log: Log = Log()
    timeouts: LifecycleTimeoutSettings = LifecycleTimeoutSettings()

    # Validators check single fields and not the whole model: pydantic skips a check of the whole model when
    # one field is wrong, and the error must name all problems at once.

    @field_validator("sso")
    @classmethod
    def _has_an_identity_provider(cls, sso: SignIn | None, info: ValidationInfo) -> SignIn | None:
        if sso is not None and info.data.get("identity", sso) is None:
            raise ValueError("needs an identity provider: set MOORAGE_IDENTITY__URL and its token")
        return sso

    @field_validator("default_host")
    @classmethod
    def _is_one_of_the_hosts(cls, default_host: str | None, info: ValidationInfo) -> str | None:
        hosts = info.data.get("hosts", {})
        if hosts and default_host and default_host not in hosts:
            raise ValueError(f"must be one of the hosts: {', '.join(sorted(hosts))}")
        return default_host

    @field_validator("timeouts")
    @classmethod
    def _window_is_longer_than_any_call(
        cls, timeouts: LifecycleTimeoutSettings, info: ValidationInfo
    ) -> LifecycleTimeoutSettings:
        longest = _longest_timeout(info.data)
        if timeouts.late_response_window is not None and timeouts.late_response_window <= longest:
            raise ValueError(
                "late_response_window must be longer than the longest timeout of the outside systems, "
                f"{format_duration(longest)}: what had no answer may come into being for that long"
            )
        return timeouts

    @property
    def lifecycle_timeouts(self) -> LifecycleTimeouts:
        """The timeouts of environments that start now."""
        values = self.timeouts.model_dump()
        late_response_window = (
            self.timeouts.late_response_window or _longest_timeout(dict(self)) + LATE_RESPONSE_MARGIN
        )
        return LifecycleTimeouts(**{**values, "late_response_window": late_response_window})


def _longest_timeout(values: Mapping[str, Any]) -> timedelta:
    systems = [values.get("control_plane"), values.get("identity"), *values.get("hosts", {}).values()]
    return max((system.timeout for system in systems if system is not None), default=timedelta(0))


class CodecServerSettings(BaseModel):
    """The part of the settings that the codec server needs: it gets no credentials of any system."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    encryption: Encryption = Field(description="how what Temporal keeps is encrypted")
    api: Api = Api()
    codec_server: CodecServer = CodecServer()
    log: Log = Log()


class LabelsOfHost(BaseModel):
    """The part of a host cluster that templates can select by: no credential is read."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    labels: Labels = Field(default_factory=dict, description="what templates choose hosts by")


class CatalogueSettings(BaseModel):
    """The part of the settings that the check of a catalogue needs."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    templates: Path = Field(default=SHIPPED_TEMPLATES, description="folder of the catalogue's templates")
    hosts: dict[HostName, LabelsOfHost] = Field(default_factory=dict, description="the host clusters")


_Model = TypeVar("_Model", bound=BaseModel)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings: `MOORAGE_*` variables override the file that `MOORAGE_CONFIG` names.

    Raises SettingsError with all problems at once; it never quotes a secret.
    """
    return _load(Settings, environ)


def load_api_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings for the API, with its own credentials in place of the worker's.

    The worker's credentials may be missing. Raises SettingsError.
    """
    return _load(Settings, environ, _with_credentials_of_the_api)


def load_codec_server_settings(environ: Mapping[str, str] | None = None) -> CodecServerSettings:
    """Load the settings for the codec server; settings that it does not need are not read.

    Raises SettingsError.
    """
    return _load(CodecServerSettings, environ)


def load_catalogue_settings(environ: Mapping[str, str] | None = None) -> CatalogueSettings:
    """Load the settings for `moorage templates check`, which works without any.

    Raises SettingsError.
    """
    return _load(CatalogueSettings, environ)


def has_control_plane_credential(settings: Settings) -> bool:
    """Return whether this process has an API key of the control plane."""
    return settings.control_plane.api_key.get_secret_value() != NO_CREDENTIAL


def _with_credentials_of_the_api(values: Values) -> None:
    api = values.get("api", {})
    control_plane, identity = values.get("control_plane"), values.get("identity")
    if isinstance(api, dict) and isinstance(control_plane, dict):
        if "control_plane_api_key" in api:
            control_plane["api_key"] = api["control_plane_api_key"]
        elif identity:
            # The API looks people up in the identity provider, so it sends no requests to the control plane.
            control_plane["api_key"] = NO_CREDENTIAL
    if isinstance(api, dict) and isinstance(identity, dict):
        names = ("token", "client_id", "client_secret")
        if own := {name: api[f"identity_{name}"] for name in names if f"identity_{name}" in api}:
            for name in names:
                identity.pop(name, None)
            identity.update(own)


def _load(
    model: type[_Model],
    environ: Mapping[str, str] | None,
    adapt: Callable[[Values], None] = lambda _: None,
) -> _Model:
    values, problems = read_sources(model, os.environ if environ is None else environ)
    adapt(values)
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*problems, *explain(model, error)]) from None
    if problems:
        raise SettingsError(problems)
    return settings
