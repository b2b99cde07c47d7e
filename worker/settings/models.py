"""The models of all settings, read once at start: names, meanings, defaults and their reasons.

Each group has a module with its name; `worker.settings.loading` reads them. `worker.connection` reads
Temporal's own settings (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, TLS).
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from contracts.environment.models import System
from contracts.environment_workflow import LifecycleTimeouts
from contracts.temporal.task_queues import OwnQueues
from contracts.types.durations import format_duration
from contracts.types.naming import Installation, Prefix
from worker.settings.groups.api import Api
from worker.settings.groups.capacity import Capacity, Labels, Quotas
from worker.settings.groups.codec import CodecServer, Encryption
from worker.settings.groups.control_plane import ControlPlane
from worker.settings.groups.expiry import AuditLogSettings, Notices, Sweep
from worker.settings.groups.hosts import HostCluster
from worker.settings.groups.identity import IdentityProvider, SignIn
from worker.settings.groups.process import Log, WorkerProcess
from worker.settings.groups.reconcile import Reconcile
from worker.settings.groups.temporal import TemporalPages
from worker.settings.groups.timeouts import LATE_RESPONSE_MARGIN, LifecycleTimeoutSettings
from worker.settings.types import (
    Group,
    HostName,
)

#: The folder is located relative to the code, so that an installed checkout and the image find the same
#: files.
SHIPPED_TEMPLATES = Path(__file__).resolve().parents[2] / "starter" / "templates"


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
    temporal: TemporalPages = TemporalPages()
    worker: WorkerProcess = WorkerProcess()
    sweep: Sweep = Sweep()
    reconcile: Reconcile = Reconcile()
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
    def own_queues(self) -> OwnQueues:
        """The hosts and systems whose steps have task queues of the host or system."""
        limited = {System.CONTROL_PLANE: self.control_plane, System.IDENTITY_PROVIDER: self.identity}
        return OwnQueues(
            hosts=frozenset(name for name, cluster in self.hosts.items() if cluster.own_worker),
            systems=frozenset(
                system for system, group in limited.items() if group and group.max_steps_per_second
            ),
        )

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


class HostWorkerSettings(BaseModel):
    """The part of the settings that a worker beside a host needs: it gets no credentials of other systems."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    installation: Installation = Field(description="as in the settings of all other processes")
    encryption: Encryption = Field(description="how what Temporal keeps is encrypted")
    hosts: dict[HostName, HostCluster] = Field(description="the host that it stands beside")
    prefix: Prefix = Field(default="mrg", description="as in the settings of all other processes")
    templates: Path = Field(
        default=SHIPPED_TEMPLATES, description="the catalogue, which only `moorage doctor --host` reads"
    )
    worker: WorkerProcess = WorkerProcess()
    log: Log = Log()


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
