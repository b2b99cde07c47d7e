"""Finds which lives of a name have left resources, by owner marks alone: Temporal may know none of them.

It only reads, and only the resources that bear the derived name. What the API may not read is reported as not
searched; the platform team can then name the life itself.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clients.errors import ClientError
from clients.host.protocol import Host
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay
from contracts.environment.models import System
from contracts.types.naming import ANNOTATION_OWNER, LABEL_INSTALLATION, LABEL_LIFE, LABEL_NAME, OwnerMark

#: A person waits for the answer. A system that takes longer counts as not searched.
SEARCH_SECONDS = 10.0


@dataclass(frozen=True)
class Marked:
    """A resource and the text in the place of its mark. `host` is empty for what is on no host."""

    text: str | None
    what: str
    host: str = ""
    made_at: datetime | None = None


@dataclass(frozen=True)
class FoundMarks:
    """What bears marks of a name, by life, and a reason for each system that could not be searched."""

    lives: Mapping[str, Sequence[Marked]]
    not_searched: Sequence[str] = ()


@dataclass(frozen=True)
class MarkSearch:
    """Searches the systems that this process has clients for. None: it has no credentials for that system.

    `elsewhere` are the hosts that only their own worker reaches.
    """

    installation: str
    prefix: str
    hosts: Mapping[str, Host]
    rafay: Rafay | None = None
    directory: IdentityProvider | None = None
    has_identity_provider: bool = False
    elsewhere: frozenset[str] = frozenset()

    async def find(self, name: str) -> FoundMarks:
        """Return all resources of the derived name that bear marks of this installation and name."""
        derived_name = f"{self.prefix}-{name}"
        searches: dict[str, Coroutine[None, None, list[Marked]]] = {
            f"host {host.name}": _on_host(host, derived_name) for host in self.hosts.values()
        }
        not_searched = [f"host {name}: only its own worker reaches it" for name in self.elsewhere]
        if self.rafay:
            searches[System.CONTROL_PLANE] = _in_control_plane(self.rafay, derived_name)
        else:
            not_searched.append(f"the API has no credentials for the {System.CONTROL_PLANE}")
        if self.directory:
            searches[System.IDENTITY_PROVIDER] = _in_directory(self.directory, derived_name)
        elif self.has_identity_provider:
            not_searched.append(f"the API has no credentials for the {System.IDENTITY_PROVIDER}")
        found: list[Marked] = []

        async def search(where: str) -> None:
            try:
                async with asyncio.timeout(SEARCH_SECONDS):
                    found.extend(await searches[where])
            except TimeoutError:
                not_searched.append(f"{where}: no answer within {SEARCH_SECONDS:.0f} s")
            except ClientError as error:
                not_searched.append(f"{where}: {error}")

        await asyncio.gather(*map(search, searches))
        lives: dict[str, list[Marked]] = defaultdict(list)
        for one in sorted(found, key=lambda one: one.what):
            mark = OwnerMark.parse(one.text)
            if mark and (mark.installation, mark.name) == (self.installation, name):
                lives[mark.life].append(one)
        return FoundMarks(lives, sorted(not_searched))


async def _on_host(host: Host, name: str) -> list[Marked]:
    namespace = await host.get_namespace(name)
    if namespace is None:
        return []
    text = namespace.annotations.get(ANNOTATION_OWNER)
    labels = (namespace.labels.get(key, "") for key in (LABEL_INSTALLATION, LABEL_NAME, LABEL_LIFE))
    if text != "/".join(labels):
        # Only one of its two marks may be ours, so the teardown leaves such a namespace alone.
        return []
    return [Marked(text, f"namespace {name} on host {host.name}", host.name, namespace.made_at)]


async def _in_control_plane(rafay: Rafay, name: str) -> list[Marked]:
    project, group = await rafay.find_project(name), await rafay.find_group(name)
    return [
        Marked(one.description, f"{kind} {name} in the {System.CONTROL_PLANE}")
        for kind, one in (("project", project), ("group", group))
        if one
    ]


async def _in_directory(directory: IdentityProvider, name: str) -> list[Marked]:
    groups = await directory.groups_by_name(name)
    return [Marked(one.external_id, f"group {name} in the {System.IDENTITY_PROVIDER}") for one in groups]
