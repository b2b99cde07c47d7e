"""Compares a ready environment with what is there, step by step: what is missing or altered. Only reads."""

from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass

from activities.parts.host_lookup import is_own_namespace
from activities.reconcile.guards import GuardDifference, GuardReader
from activities.reconcile.inventory import MarkedSystems
from clients.errors import NotFound
from clients.host.models import Namespace, ReleaseStatus
from clients.host.protocol import Host
from clients.rafay import Project
from contracts.environment import Environment, System
from contracts.phases import StepName
from contracts.reconcile.drift import Deviation
from contracts.reconcile.life_mark import LifeMark
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


async def deviations_of(
    systems: MarkedSystems,
    mark: OwnerMark,
    host_name: str,
    *,
    in_directory: Set[str] = frozenset(),
    guards: GuardLook | None = None,
) -> tuple[Deviation, ...]:
    """Return what is missing or altered of a life that is ready.

    A part that builds on a missing one is not named as well. A life whose mark is among those that were
    listed `in_directory` is not looked up there again: directories limit how many calls they take. Without
    `guards` these are not compared.

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
        namespace = await host.get_namespace(name)
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
            release = await host.get_release(name, name)
            has_vcluster = release is not None and release.status is ReleaseStatus.DEPLOYED
            if not has_vcluster:
                what = "is missing" if release is None else f"is {release.status.value}"
                note(StepName.VCLUSTER, f"Helm release {name} on host {host_name} {what}")
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
    if systems.directory is not None and needs_identity and mark.text not in in_directory:
        groups = await systems.directory.groups_by_name(name)
        if not any(mark.matches_text(one.external_id) for one in groups):
            note(StepName.IDENTITY, f"group {name} is missing in the {System.IDENTITY_PROVIDER}")
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
