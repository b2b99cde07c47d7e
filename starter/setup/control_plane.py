"""The parts of the control plane: API key, host project and its chart repositories, roles, blueprints."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clients.errors import AlreadyExists, Rejected
from clients.rafay import Project, Rafay, Repository, Role, same_repository
from contracts.templates.template import Template
from starter.config_files.validation_messages import did_you_mean
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well

SYSTEM = "control plane"
#: The role that may create projects, groups and associations in the whole organisation.
ORGANIZATION_ADMIN = "ADMIN"
#: Roles that are known to be insufficient. For others, such as custom roles, the name does not show it.
_TOO_LITTLE = frozenset({"ADMINISTRATOR_READ_ONLY", "FINOPS_ADMIN", "PROJECT_READ_ONLY", "PROJECT_ADMIN"})
_LACKS_A_RIGHT = (
    "its key lacks a right",
    f"give the key's user the organisation role {ORGANIZATION_ADMIN}, or set the key of a user who has it",
)
#: Maximum length of a repository's name, the same as that of a project's name.
_NAME_LENGTH = 63

Templates = Callable[[], Sequence[Template]]


@dataclass(frozen=True)
class ControlPlane:
    """Checks and repairs of one control plane. `mark` identifies resources that setup has created."""

    rafay: Rafay
    url: str
    host_project: str
    mark: str
    templates: Templates

    def parts(self, files: SetupCheck) -> tuple[SetupCheck, ...]:
        """Return the parts in order: key, host project, chart repositories, roles, blueprints."""
        area = Area.CONTROL_PLANE
        denied = (
            "refuses our credentials",
            "correct its credentials in the settings: MOORAGE_CONTROL_PLANE__API_KEY",
        )
        key = SetupCheck(area, SYSTEM, "API key", self.url, self._key, denied=denied)
        project = SetupCheck(
            area,
            SYSTEM,
            "host project",
            self.host_project,
            self._project,
            self._make_project,
            needs=(key,),
            denied=_LACKS_A_RIGHT,
        )
        repositories = SetupCheck(
            area,
            SYSTEM,
            "chart repositories",
            self.host_project,
            self._repositories,
            self._apply_repositories,
            needs=(project, files),
            denied=_LACKS_A_RIGHT,
        )
        where = "of the templates"
        roles = SetupCheck(
            area, SYSTEM, "roles", where, self._roles, needs=(key, files), denied=_LACKS_A_RIGHT
        )
        blueprints = SetupCheck(
            area, SYSTEM, "blueprints", where, self._blueprints, needs=(project, files), denied=_LACKS_A_RIGHT
        )
        return key, project, repositories, roles, blueprints

    async def _key(self) -> Found:
        organisation = await self.rafay.check()
        account = await self.rafay.account()
        held = ", ".join(account.roles)
        who = f"{account.username}{f' ({held})' if held else ''}"
        if account.roles and set(account.roles) <= _TOO_LITTLE:
            detail = f"the key is that of {who}, who may not make projects, groups and clusters"
            return Found(Kind.REFUSED, detail, _LACKS_A_RIGHT[1])
        return well(f"credentials accepted: {who}, organisation {organisation}")

    async def project(self) -> Project | None:
        """Return the host project, or None if it does not exist."""
        return await self.rafay.find_project(self.host_project)

    async def _project(self) -> Found:
        found = await self.project()
        if found is None:
            return Found(Kind.MISSING, f"there is no project {self.host_project}", "make it")
        return well(self.host_project)

    async def _make_project(self) -> str:
        try:
            await self.rafay.create_project(self.host_project, self.mark)
        except AlreadyExists:  # Another process was faster; the check will find the project.
            return f"found project {self.host_project}"
        return f"made project {self.host_project}"

    # Chart repositories. An existing repository of the same name is overwritten only if it has our mark.

    def wanted(self) -> list[Repository]:
        """Return one repository for each chart repository URL in the templates."""
        places = {one.chart.repository.rstrip("/") for one in self.templates() if one.chart.repository}
        return [
            Repository(repository_name(place), "Helm", place, self.mark)
            for place in sorted(places)
            if place.startswith(("https://", "http://", "oci://"))
        ]

    async def _repositories(self) -> Found:
        missing: list[str] = []
        wrong: list[str] = []
        strange: list[str] = []
        wanted = self.wanted()
        for one in wanted:
            found = await self.rafay.find_repository(self.host_project, one.name)
            if found is None:
                missing.append(one.name)
            elif not same_repository(found, one):
                says = f"{found.name} leads to {found.endpoint or 'nowhere'} instead of {one.endpoint}"
                (wrong if found.description == self.mark else strange).append(says)
        if strange:
            detail = f"{'; '.join(strange)}, and setup did not make it"
            return Found(Kind.BY_HAND, detail, "correct it in the console, or delete it and run setup again")
        if wrong:
            return Found(Kind.WRONG, "; ".join(wrong), "correct it")
        if missing:
            return Found(Kind.MISSING, f"there is no repository {', '.join(missing)}", "make it")
        if not wanted:
            return well("none needed: the templates name none")
        return well(", ".join(f"{one.name} ({one.endpoint})" for one in wanted))

    async def _apply_repositories(self) -> str:
        applied = []
        for one in self.wanted():
            found = await self.rafay.find_repository(self.host_project, one.name)
            if found is not None and same_repository(found, one):
                continue
            if found is not None and found.description != self.mark:
                raise Rejected(
                    SYSTEM, f"apply repository {one.name}", "it is there, and setup did not make it"
                )
            await self.rafay.apply_repository(self.host_project, one)
            applied.append(one.name)
        return f"provisioned {', '.join(applied)}"

    # Roles and blueprints that the templates name.

    async def _roles(self) -> Found:
        known = {role.name: role for role in await self.rafay.roles()}
        fit = [role.name for role in known.values() if not _unfit(role)]

        def problem(template: Template) -> str:
            if role := known.get(template.role):
                return _unfit(role)
            return f"there is no role {template.role}; those for projects are {_listed(fit)}"

        if problems := self._problems(problem):
            remedy = "correct the template's role, or make the role in the control plane"
            return Found(Kind.REFUSED, problems, remedy)
        return well(_listed(one.role for one in self.templates()))

    async def _blueprints(self) -> Found:
        project = await self.project()
        if project is None:
            return Found(Kind.REFUSED, f"project {self.host_project} has just gone", "run setup again")
        system = await self.rafay.system_blueprints(project.id)
        own = await self.rafay.project_blueprints(project.id)
        usable = {one.name for one in (*system, *own) if one.published}
        unpublished = {one.name for one in (*system, *own)} - usable

        def problem(template: Template) -> str:
            name = template.blueprint
            if name in unpublished:
                return f"blueprint {name} is not published"
            return "" if name in usable else f"there is no blueprint {name}{did_you_mean(name, usable)}"

        if problems := self._problems(problem):
            remedy = "correct the template's blueprint, or publish one of that name in the control plane"
            return Found(Kind.REFUSED, problems, remedy)
        named = {one.blueprint for one in self.templates()} - {one.name for one in system}
        shared = f"; see that {_listed(named)} is shared with all projects" if named else ""
        return well(_listed(one.blueprint for one in self.templates()) + shared)

    def _problems(self, problem: Callable[[Template], str]) -> str:
        """Return each problem once with the templates that have it; "" if there is none."""
        found: dict[str, list[str]] = {}
        for template in self.templates():
            if sentence := problem(template):
                found.setdefault(sentence, []).append(template.name)
        return "; ".join(
            f"template{'s' if len(names) > 1 else ''} {', '.join(names)}: {sentence}"
            for sentence, names in found.items()
        )


def repository_name(endpoint: str) -> str:
    """Return the name of the repository object for a chart repository URL; it is deterministic."""
    place = endpoint.removeprefix("https://")
    name = "moorage-" + re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-")
    if len(name) <= _NAME_LENGTH:
        return name
    suffix = hashlib.sha256(endpoint.encode()).hexdigest()[:8]
    return f"{name[: _NAME_LENGTH - 9].rstrip('-')}-{suffix}"


def _unfit(role: Role) -> str:
    """Return why environments must not get the role; "" if they can."""
    match role.scope.upper():
        case "ORGANIZATION":
            return (
                f"role {role.name} is one of the whole organisation: its group would rule over all projects"
            )
        case "NAMESPACE":
            return f"role {role.name} is one of namespaces: it cannot be given on a project"
    return ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
