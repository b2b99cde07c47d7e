"""PersistentVolumes that may outlive their claims: which are deleted, and which the template keeps.

They belong to no namespace and have no mark: only the name of the claim's namespace says whose they are, and
there may have been an earlier namespace of that name. So Moorage neither deletes nor waits for volumes that
are older than the namespace: if such a volume cannot be deleted, it would block the end of every later
environment of that name.
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from activities.parts.host_lookup import is_own_namespace
from clients.errors import NotFound
from clients.host.models import Namespace, PersistentVolume
from clients.host.protocol import Host
from contracts.environment.models import Environment
from contracts.templates.template import RetainedVolumes

#: How far the clocks of Temporal and of a host may differ on machines that are maintained. A volume that is
#: older than a life by less than this counts as the life's own.
MAX_CLOCK_SKEW = timedelta(seconds=30)


@dataclass(frozen=True)
class EnvironmentVolumes:
    """The volumes of an environment.

    `to_delete` must be deleted, with their claims or by `delete_retained`; `kept` stay; `earlier` belong to
    an earlier namespace of that name, and Moorage does not touch them.
    """

    to_delete: tuple[PersistentVolume, ...] = ()
    kept: tuple[PersistentVolume, ...] = ()
    earlier: tuple[PersistentVolume, ...] = ()

    @property
    def names_to_delete(self) -> list[str]:
        """The volumes that must be deleted, as text."""
        return [_named(each) for each in self.to_delete]

    @property
    def names_to_keep(self) -> tuple[str, ...]:
        """The volumes that stay, as text for the certificate."""
        older = [f"{_named(each)} (older than this environment)" for each in self.earlier]
        return (*(_named(each) for each in self.kept), *older)


async def volumes_of(
    host: Host, environment: Environment, life_started_at: datetime | None = None
) -> EnvironmentVolumes:
    """Return all volumes that were bound from the environment's namespace.

    Returns none while the namespace belongs to another owner. `life_started_at` is the start of the life by
    Temporal's clock: it decides which volumes are older when the namespace is gone.
    """
    namespace = await host.get_namespace(environment.host_name)
    if namespace is not None and not is_own_namespace(namespace, environment.mark):
        return EnvironmentVolumes()
    since = _since(namespace, life_started_at)
    to_delete, kept, earlier = [], [], []
    for each in await host.persistent_volumes(environment.host_name):
        if since is not None and each.made_at is not None and each.made_at < since:
            earlier.append(each)
        elif _must_be_deleted(each, environment, namespace):
            to_delete.append(each)
        else:
            kept.append(each)
    return EnvironmentVolumes(to_delete=tuple(to_delete), kept=tuple(kept), earlier=tuple(earlier))


async def delete_retained(host: Host, volumes: EnvironmentVolumes) -> None:
    """Request deletion of the volumes that would stay after their claims are gone."""
    for each in volumes.to_delete:
        if each.retained and each.released:
            with contextlib.suppress(NotFound):
                await host.delete_retained_volume(each)


def _since(namespace: Namespace | None, life_started_at: datetime | None) -> datetime | None:
    """Return the time before which volumes belong to an earlier namespace; None if it is unknown."""
    if namespace is not None:
        return namespace.made_at
    return None if life_started_at is None else life_started_at - MAX_CLOCK_SKEW


def _must_be_deleted(volume: PersistentVolume, environment: Environment, namespace: Namespace | None) -> bool:
    """Return whether a volume that is not known to be of an earlier namespace must be deleted."""
    if not volume.retained:
        return True
    # A deletion is permanent, so the host's own clock must prove that the volume is ours.
    known = namespace is not None and namespace.made_at is not None and volume.made_at is not None
    return known and environment.template.retained_volumes is RetainedVolumes.DELETE


def _named(volume: PersistentVolume) -> str:
    return f"PersistentVolume {volume.name}"
