"""The settings that apply to all environments of an installation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.capacity.models import Limits
from contracts.environment_workflow import LifecycleTimeouts
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues
from contracts.types.naming import Prefix
from worker.settings.models import Settings


@dataclass(frozen=True)
class InstallationConfig:
    """The settings that apply to all environments of the installation. `hosts`: the labels of each host."""

    installation: str
    prefix: Prefix
    hosts: Mapping[str, Mapping[str, str]]
    default_host: str | None
    has_identity_provider: bool
    timeouts: LifecycleTimeouts
    team_quotas: Mapping[str, Limits] = field(default_factory=dict)
    person_quota: Limits = field(default_factory=Limits)
    own_queues: OwnQueues = NO_OWN_QUEUES

    @classmethod
    def of(cls, settings: Settings) -> "InstallationConfig":
        """Take the values from the settings."""
        return cls(
            installation=settings.installation,
            prefix=settings.prefix,
            hosts={name: cluster.labels for name, cluster in settings.hosts.items()},
            default_host=settings.default_host,
            has_identity_provider=settings.identity is not None,
            timeouts=settings.lifecycle_timeouts,
            team_quotas={name: share.limits for name, share in settings.quotas.teams.items()},
            person_quota=settings.quotas.person.limits,
            own_queues=settings.own_queues,
        )
