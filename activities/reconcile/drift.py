"""Compares a ready environment with what is there, step by step: what is missing or altered. Only reads."""

from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass

from activities.parts.host_lookup import is_own_namespace
from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.members import (
    ExpectedPeople,
    MemberDifference,
    MemberGroups,
    MemberReader,
    describe_members,
)
from activities.reconcile.namespace_guards import GuardDifference, GuardReader
from clients.errors import NotFound
from clients.host.models import Namespace, ReleaseStatus
from clients.host.protocol import Host
from clients.rafay import Project
from contracts.environment.models import Environment, System
from contracts.phases import DriftKind, StepName
from contracts.reconcile.drift import MAX_EXTRA, Deviation
from contracts.reconcile.recovery_mark import LifeMark
from contracts.types.naming import OwnerMark


@dataclass(frozen=True)
class GuardLook:
    """How the guards of one environment are compared.

    `template` is the name of its template as listed. `current` asks the environment for what it is now, and
    returns None while that is being changed.
    """

    reader: GuardReader
    template: str
    current: Callable[[], Awaitable[Environment | None]]

    async def difference(
        self, host: Host, namespace: Namespace, life_mark: LifeMark | None
    ) -> GuardDifference | None:
        """Return how the guards differ from those that the environment should have now; None if they do not.

        The life mark is as of the request. The environment itself is asked only if its template may have
        changed since, because that takes a worker.
        """
        asked = life_mark.environment if life_mark else None
        is_as_asked = asked is not None and asked.template.name == self.template
        if is_as_asked and asked and not (await self.reader.difference(host, namespace, asked)).what:
            return None
        now = await self.current()
        if now is None:
            return None
        difference = await self.reader.difference(host, namespace, now)
        return difference if difference.what else None


@dataclass(frozen=True)
class MemberLook:
    """How the members of the groups of one environment are compared.

    `current` asks the environment who its people are now, and returns None while that is being changed.
    """

    reader: MemberReader
    current: Callable[[], Awaitable[ExpectedPeople | None]]

    async def differences(
        self, name: str, groups: MemberGroups, asked: Environment | None
    ) -> list[Deviation]:
        """Return how the members differ from those that the groups should have now.

        `asked` is the environment as it was requested. It is asked itself only if its people may have changed
        since, because that takes a worker.
        """
        if asked is not None:
            expected = ExpectedPeople(asked.people, asked.has_identity_provider)
            if not await self._compare(name, groups, expected):
                return []
        now = await self.current()
        if now is None:
            return []
        found = await self._compare(name, groups, now)
        # Who was added or removed while the members were read is no difference.
        return found if found and await self.current() == now else []

    async def _compare(self, name: str, groups: MemberGroups, expected: ExpectedPeople) -> list[Deviation]:
        found = []
        if groups.control_plane:
            local = await self.reader.in_control_plane(groups.control_plane, expected)
            found += _member_deviations(StepName.ROLE_BINDING, name, System.CONTROL_PLANE, local)
        if groups.directory and expected.has_identity_provider:
            difference = await self.reader.in_directory(groups.directory, expected)
            found += _member_deviations(StepName.IDENTITY, name, System.IDENTITY_PROVIDER, difference)
        return found


def _member_deviations(
    step: StepName, name: str, system: System, difference: MemberDifference
) -> list[Deviation]:
    where = f"group {name} in the {system}"
    found = []
    if difference.missing:
        what = describe_members(difference.missing, where, extra=False)
        found.append(Deviation(step=step, what=what, members=DriftKind.MEMBERS))
    if extra := difference.extra[:MAX_EXTRA]:
        what = describe_members([label for _, label in extra], where, extra=True)
        ids = tuple(id for id, _ in extra)
        found.append(Deviation(step=step, what=what, members=DriftKind.EXTRA_MEMBERS, extra=ids))
    return found


async def deviations_of(
    systems: MarkedSystems,
    mark: OwnerMark,
    host_name: str,
    *,
    in_directory: Set[str] = frozenset(),
    guards: GuardLook | None = None,
    members: MemberLook | None = None,
) -> tuple[Deviation, ...]:
    """Return what is missing or altered of a life that is ready.

    A part that builds on a missing one is not named as well. A life whose mark is among those that were
    listed `in_directory` is not looked up there again: directories limit how many calls they take. Without
    `guards` or `members` these are not compared.

    Raises:
        ClientError: A system does not answer; nothing can be said about the life.
    """
    name = systems.derived_name(mark)
    found: list[Deviation] = []

    def note(step: StepName, what: str) -> None:
        found.append(Deviation(step=step, what=what))

    life_mark = None
    has_vcluster = False
    if host := systems.hosts.get(host_name):
        namespace = await systems.namespace_of(host, mark)
        if namespace is None:
            note(StepName.NAMESPACE, f"namespace {name} is missing on host {host_name}")
        elif not is_own_namespace(namespace, mark):
            note(StepName.NAMESPACE, f"namespace {name} on host {host_name} bears another mark")
        elif namespace.terminating:
            note(StepName.NAMESPACE, f"namespace {name} on host {host_name} is being deleted")
        else:
            life_mark = systems.life_mark_of(namespace, mark, host_name)
            if guards and (altered := await guards.difference(host, namespace, life_mark)):
                found.append(Deviation(step=StepName.NAMESPACE, what=altered.what, guards=altered.can_repair))
            release = await host.get_release(namespace.name, namespace.name)
            has_vcluster = release is not None and release.status is ReleaseStatus.DEPLOYED
            if not has_vcluster:
                what = "is missing" if release is None else f"is {release.status.value}"
                note(StepName.VCLUSTER, f"Helm release {namespace.name} on host {host_name} {what}")
    project, group = await systems.rafay.find_project(name), await systems.rafay.find_group(name)
    is_own_project = project is not None and mark.matches_text(project.description)
    is_own_group = group is not None and mark.matches_text(group.description)
    if not is_own_project:
        what = "bears another mark" if project else "is missing"
        note(StepName.PROJECT, f"project {name} {what} in the {System.CONTROL_PLANE}")
    if not is_own_group:
        what = "bears another mark" if group else "is missing"
        note(StepName.GROUP, f"group {name} {what} in the {System.CONTROL_PLANE}")
    if is_own_project and is_own_group and group and project:
        roles = await _roles_of(systems, group.id, project.name)
        wanted = life_mark.environment.template.role if life_mark else ""
        if not roles or (wanted and roles != (wanted,)):
            held = f"has {', '.join(roles)}" if roles else "has no role"
            note(StepName.ROLE_BINDING, f"group {name} {held} on its project, instead of {wanted or 'one'}")
    needs_identity = life_mark.environment.has_identity_provider if life_mark else True
    directory_group = ""
    if systems.directory is not None and needs_identity and (members or mark.text not in in_directory):
        groups = await systems.directory.groups_by_name(name)
        directory_group = next((one.id for one in groups if mark.matches_text(one.external_id)), "")
        if not directory_group and mark.text not in in_directory:
            note(StepName.IDENTITY, f"group {name} is missing in the {System.IDENTITY_PROVIDER}")
    if members:
        own = MemberGroups(group.id if is_own_group and group else "", directory_group)
        asked = life_mark.environment if life_mark else None
        found.extend(await members.differences(name, own, asked))
    if (
        is_own_project
        and project
        and has_vcluster
        and (what := await _cluster_problem(systems, project, mark))
    ):
        note(StepName.IMPORT, what)
    return tuple(sorted(found, key=lambda one: list(StepName).index(one.step)))


async def _roles_of(systems: MarkedSystems, group_id: str, project_name: str) -> tuple[str, ...]:
    try:
        bindings = await systems.rafay.bindings(group_id)
    except NotFound:
        return ()
    return next((one.role_names for one in bindings if one.project_name == project_name), ())


async def _cluster_problem(systems: MarkedSystems, project: Project, mark: OwnerMark) -> str:
    name = systems.derived_name(mark)
    try:
        cluster = await systems.rafay.find_cluster(project.id, name)
    except NotFound:
        cluster = None
    if cluster is None:
        return f"cluster {name} is missing in the {System.CONTROL_PLANE}"
    if not mark.matches_labels(cluster.labels):
        return f"cluster {name} in the {System.CONTROL_PLANE} bears another mark"
    if not cluster.ready:
        return f"the agent of cluster {name} does not report that it is ready and healthy"
    return ""
