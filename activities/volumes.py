"""PersistentVolumes that may outlive their claims: which of them go, and which the template keeps.

They belong to no namespace and bear no mark: only the name of the claim's namespace tells whose they are, and
there may have been one of that name before. So only those are given up that are younger than the namespace.
"""

import contextlib
from dataclasses import dataclass

from activities.hosts import is_own_namespace
from clients.errors import NotFound
from clients.host import Host, Namespace, PersistentVolume
from contracts.environment import Environment
from contracts.template import RetainedVolumes


@dataclass(frozen=True)
class Volumes:
    """Those of an environment. `going` have to go, with their claims or by being given up; `kept` stay."""

    going: tuple[PersistentVolume, ...] = ()
    kept: tuple[PersistentVolume, ...] = ()

    @property
    def names_going(self) -> list[str]:
        """Those that have to go, for people."""
        return [_named(each) for each in self.going]

    @property
    def names_kept(self) -> tuple[str, ...]:
        """Those that stay, for the certificate."""
        return tuple(_named(each) for each in self.kept)


async def volumes_of(host: Host, environment: Environment) -> Volumes:
    """All that were bound from the environment's namespace. None while that is somebody else's."""
    namespace = await host.get_namespace(environment.derived_name)
    if namespace is not None and not is_own_namespace(namespace, environment.mark):
        return Volumes()
    found = await host.persistent_volumes(environment.derived_name)
    goes = {each.uid: _goes(each, environment, namespace) for each in found}
    return Volumes(
        going=tuple(each for each in found if goes[each.uid]),
        kept=tuple(each for each in found if not goes[each.uid]),
    )


async def give_up(host: Host, volumes: Volumes) -> None:
    """Ask for the end of those that would not go by themselves, once their claims are gone."""
    for each in volumes.going:
        if each.retained and each.released:
            with contextlib.suppress(NotFound):
                await host.give_up_volume(each)


def _goes(volume: PersistentVolume, environment: Environment, namespace: Namespace | None) -> bool:
    if not volume.retained:
        return True
    if environment.template.retained_volumes is RetainedVolumes.KEEP:
        return False
    if namespace is None or namespace.made_at is None or volume.made_at is None:
        return False
    return volume.made_at >= namespace.made_at


def _named(volume: PersistentVolume) -> str:
    return f"PersistentVolume {volume.name}"
