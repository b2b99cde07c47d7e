"""PersistentVolumes that may outlive their claims: which of them go, and which the template keeps.

They belong to no namespace and bear no mark: only the name of the claim's namespace tells whose they are, and
there may have been one of that name before. So those that are older than the namespace are neither given up
nor waited for: one of them that cannot go would hold up the end of every later environment of its name.
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from activities.parts.host_lookup import is_own_namespace
from clients.errors import NotFound
from clients.host import Host, Namespace, PersistentVolume
from contracts.environment import Environment
from contracts.template import RetainedVolumes

#: How far the clocks of Temporal and of a host may be apart where somebody looks after them. What is older
#: than a life by less counts as its own.
CLOCKS_APART = timedelta(seconds=30)


@dataclass(frozen=True)
class Volumes:
    """Those of an environment. `going` have to go, with their claims or by being given up; `kept` stay.

    `earlier` are of an earlier namespace of that name, and nobody here has a say in them.
    """

    going: tuple[PersistentVolume, ...] = ()
    kept: tuple[PersistentVolume, ...] = ()
    earlier: tuple[PersistentVolume, ...] = ()

    @property
    def names_going(self) -> list[str]:
        """Those that have to go, for people."""
        return [_named(each) for each in self.going]

    @property
    def names_kept(self) -> tuple[str, ...]:
        """Those that stay, for the certificate."""
        older = [f"{_named(each)} (older than this environment)" for each in self.earlier]
        return (*(_named(each) for each in self.kept), *older)


async def volumes_of(host: Host, environment: Environment, begun_at: datetime | None = None) -> Volumes:
    """All that were bound from the environment's namespace. None while that is somebody else's.

    `begun_at` is when its life began, by Temporal's clock: ages are told by it when the namespace is gone.
    """
    namespace = await host.get_namespace(environment.derived_name)
    if namespace is not None and not is_own_namespace(namespace, environment.mark):
        return Volumes()
    since = _since(namespace, begun_at)
    going, kept, earlier = [], [], []
    for each in await host.persistent_volumes(environment.derived_name):
        if since is not None and each.made_at is not None and each.made_at < since:
            earlier.append(each)
        elif _goes(each, environment, namespace):
            going.append(each)
        else:
            kept.append(each)
    return Volumes(going=tuple(going), kept=tuple(kept), earlier=tuple(earlier))


async def give_up(host: Host, volumes: Volumes) -> None:
    """Ask for the end of those that would not go by themselves, once their claims are gone."""
    for each in volumes.going:
        if each.retained and each.released:
            with contextlib.suppress(NotFound):
                await host.give_up_volume(each)


def _since(namespace: Namespace | None, begun_at: datetime | None) -> datetime | None:
    """What is older than this is of an earlier namespace of that name; None if nobody can tell."""
    if namespace is not None:
        return namespace.made_at
    return None if begun_at is None else begun_at - CLOCKS_APART


def _goes(volume: PersistentVolume, environment: Environment, namespace: Namespace | None) -> bool:
    """Whether one that is not known to be of an earlier namespace has to go."""
    if not volume.retained:
        return True
    # To give one up is for good: that it is ours must be known by the host's own clock.
    known = namespace is not None and namespace.made_at is not None and volume.made_at is not None
    return known and environment.template.retained_volumes is RetainedVolumes.DELETE


def _named(volume: PersistentVolume) -> str:
    return f"PersistentVolume {volume.name}"
