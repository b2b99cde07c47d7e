"""Finds what bears our marks: lists of whole systems, and a close look at one life. It only reads.

A list that is short or contradicts itself raises an error of `clients.errors`: a system that tells half is
never taken for one that has no more.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from activities.parts.host_lookup import is_own_namespace, namespace_mark
from clients.errors import ClientError, NotFound
from clients.host.models import Namespace, ReleaseStatus
from clients.host.protocol import Host
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay
from contracts.environment.models import System
from contracts.reconcile.models import SurveyedSystem
from contracts.reconcile.orphan_rules import Findings
from contracts.reconcile.recovery_mark import LifeMark, LifeSigner
from contracts.types.naming import (
    ANNOTATION_LIFE,
    ANNOTATION_LIFE_SIGNATURE,
    ANNOTATION_OWNER,
    LABEL_INSTALLATION,
    LABEL_LIFE,
    STANDBY_NAME_START,
    OwnerMark,
    Prefix,
)

#: All pages of one system's list: thousands of entries take seconds.
LIST_TIMEOUT = timedelta(minutes=2)


@dataclass(frozen=True)
class Inventory:
    """The lives that have left something anywhere, and a reason for each system that was skipped.

    `systems` are all that were asked. `in_directory` are the marks of the groups in the identity provider, as
    texts.
    """

    marks: tuple[OwnerMark, ...]
    skipped: tuple[str, ...]
    systems: tuple[SurveyedSystem, ...] = ()
    in_directory: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MarkedSystems:
    """The systems of one installation. `elsewhere` are the hosts that only their own worker reaches.

    With `signer`, only life marks count that it has signed.
    """

    installation: str
    prefix: Prefix
    rafay: Rafay
    directory: IdentityProvider | None
    hosts: Mapping[str, Host]
    elsewhere: frozenset[str] = frozenset()
    signer: LifeSigner | None = None

    def derived_name(self, mark: OwnerMark) -> str:
        """Return the name of everything of this environment."""
        return f"{self.prefix}-{mark.name}"

    def life_mark_of(self, namespace: Namespace, mark: OwnerMark, host: str) -> LifeMark | None:
        """Return the life mark of a namespace; None if Moorage has not written it for this life and host."""
        text = namespace.annotations.get(ANNOTATION_LIFE, "")
        signature = namespace.annotations.get(ANNOTATION_LIFE_SIGNATURE, "")
        if self.signer and not self.signer.has_signed_life(text, signature):
            return None
        found = LifeMark.parse(text, mark)
        if found is None or (found.environment.host, found.environment.prefix) != (host, self.prefix):
            return None
        if namespace.name not in found.environment.host_names:
            return None
        return found

    def why_unseen(self, host: str, seen_on: str = "") -> str:
        """Return why a life on `host` may have a part there that is not seen; "" if it cannot.

        `host` is "" if it is not known where the life was. That there is a namespace with its mark, `seen_on`
        a host, does not say so: others can write marks there.
        """
        if seen_on and seen_on == host:
            return ""
        if seen_on and host:
            return f"it was made on host {host}, and host {seen_on} has a namespace with its mark"
        if host in self.elsewhere or (not host and self.elsewhere):
            return f"only its own worker reaches host {host or ', '.join(sorted(self.elsewhere))}"
        return f"its host {host} is not in the settings" if host and host not in self.hosts else ""

    async def namespace_of(self, host: Host, mark: OwnerMark) -> Namespace | None:
        """Return the namespace of the life on the host.

        That is the one of its derived name, or of the standby that its life mark says it was given.
        """
        namespace = await host.get_namespace(self.derived_name(mark))
        if is_own_namespace(namespace, mark):
            return namespace
        for one in await host.list_namespaces(LABEL_LIFE, mark.life):
            if is_own_namespace(one, mark) and self.life_mark_of(one, mark, host.name):
                return one
        return namespace

    def _is_taken_over(self, name: str) -> bool:
        return name.startswith(f"{self.prefix}-{STANDBY_NAME_START}")

    async def list_all(self) -> Inventory:
        """Return every life whose marks are on something with its derived name."""
        directory = SurveyedSystem(system=System.IDENTITY_PROVIDER)
        lists: dict[SurveyedSystem, Coroutine[None, None, list[tuple[str, str | None]]]] = {
            SurveyedSystem(system=System.CONTROL_PLANE): self._in_control_plane(),
            **{
                SurveyedSystem(system=System.HOST_CLUSTER, host=host.name): self._on_host(host)
                for host in self.hosts.values()
            },
        }
        if self.directory is not None:
            lists[directory] = self._in_directory(self.directory)
        found: dict[SurveyedSystem, list[tuple[str, str | None]]] = {}
        skipped: list[str] = []

        async def read(system: SurveyedSystem) -> None:
            try:
                async with asyncio.timeout(LIST_TIMEOUT.total_seconds()):
                    found[system] = await lists[system]
            except TimeoutError:
                skipped.append(f"{system.label}: no answer within {LIST_TIMEOUT.total_seconds():.0f} s")
            except ClientError as error:
                skipped.append(f"{system.label}: {error}")

        await asyncio.gather(*map(read, lists))
        marks = {
            mark.text: mark
            for entries in found.values()
            for name, text in entries
            if (mark := OwnerMark.parse(text))
            and mark.installation == self.installation
            and (name == self.derived_name(mark) or self._is_taken_over(name))
        }
        return Inventory(
            tuple(marks[text] for text in sorted(marks)),
            tuple(sorted(skipped)),
            tuple(one if one in found else one.model_copy(update={"skipped": 1}) for one in lists),
            frozenset(text for _, text in found.get(directory, ()) if text),
        )

    async def _in_control_plane(self) -> list[tuple[str, str | None]]:
        projects, groups = await self.rafay.projects(), await self.rafay.groups()
        return [
            *((one.name, one.description) for one in projects),
            *((one.name, one.description) for one in groups),
        ]

    async def _in_directory(self, directory: IdentityProvider) -> list[tuple[str, str | None]]:
        groups = await directory.groups_starting_with(f"{self.prefix}-")
        return [(one.display_name, one.external_id) for one in groups]

    async def _on_host(self, host: Host) -> list[tuple[str, str | None]]:
        namespaces = await host.list_namespaces(LABEL_INSTALLATION, self.installation)
        found = []
        for one in namespaces:
            mark = OwnerMark.parse(one.annotations.get(ANNOTATION_OWNER))
            # Only one of its two marks may be ours, so that no step touches such a namespace.
            found.append((one.name, namespace_mark(one, mark) if mark else None))
        return found

    async def examine(self, mark: OwnerMark) -> Findings:
        """Return all that bears the mark, asked for by name in every system.

        Raises:
            ClientError: A system does not answer; nothing can be said about the life.
        """
        name = self.derived_name(mark)
        found = Findings()
        things: list[str] = []
        project, group = await self.rafay.find_project(name), await self.rafay.find_group(name)
        if project is not None and mark.matches_text(project.description):
            things.append(f"project {name}")
            found = replace(found, has_project=True)
            found = replace(found, is_imported=await self._is_imported(project.id, mark, things))
        if group is not None and mark.matches_text(group.description):
            things.append(f"group {name} in the {System.CONTROL_PLANE}")
        if self.directory is not None:
            groups = await self.directory.groups_by_name(name)
            ours = [one for one in groups if mark.matches_text(one.external_id)]
            things.extend(f"group {name} in the {System.IDENTITY_PROVIDER}" for _ in ours)
        for host in self.hosts.values():
            namespace = await self.namespace_of(host, mark)
            if namespace is not None and is_own_namespace(namespace, mark):
                things.append(f"namespace {namespace.name} on host {host.name}")
                found = await self._in_namespace(found, host, namespace, mark, things)
        return replace(found, things=tuple(things))

    async def _is_imported(self, project_id: str, mark: OwnerMark, things: list[str]) -> bool:
        try:
            cluster = await self.rafay.find_cluster(project_id, self.derived_name(mark))
        except NotFound:
            return False
        if cluster is None or not mark.matches_labels(cluster.labels):
            return False
        things.append(f"cluster {cluster.name}")
        return cluster.agent_has_reported

    async def _in_namespace(
        self, found: Findings, host: Host, namespace: Namespace, mark: OwnerMark, things: list[str]
    ) -> Findings:
        release = await host.get_release(namespace.name, namespace.name)
        life_mark = self.life_mark_of(namespace, mark, host.name)
        standby = life_mark.environment.standby if life_mark else None
        is_ours = release is not None and any(
            one.matches_labels(release.labels) for one in (mark, standby) if one
        )
        if is_ours:
            things.append(f"release {namespace.name} on host {host.name}")
        return replace(
            found,
            host=host.name,
            is_on_several_hosts=bool(found.host),
            is_terminating=namespace.terminating,
            has_release=is_ours and release is not None and release.status is ReleaseStatus.DEPLOYED,
            is_asleep=is_ours and await _is_asleep(host, namespace.name),
            made_at=namespace.made_at,
            life_mark=life_mark,
        )


async def _is_asleep(host: Host, name: str) -> bool:
    try:
        return await host.is_paused(name, name)
    except NotFound:
        return False
