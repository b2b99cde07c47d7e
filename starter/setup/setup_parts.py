"""The complete list of parts, built from the settings and the clients."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from clients.host.protocol import Host
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay
from contracts.templates.template import Template
from contracts.temporal.task_queues import OwnQueues
from starter.auth.oidc.issuers import load_issuers
from starter.auth.tokens import load_tokens
from starter.catalogue.loader import load_catalogue
from starter.setup.areas import Area
from starter.setup.bookings import Bookings
from starter.setup.check import Found, SetupCheck, well
from starter.setup.control_plane import ControlPlane
from starter.setup.environments import Environments
from starter.setup.group_probe import GroupProbe
from starter.setup.hosts import HostCluster
from starter.setup.identity import Identity
from starter.setup.notices import Notices
from starter.setup.temporal import Temporal
from starter.setup.warm_pools import WarmPools
from worker.data_converter import data_converter
from worker.settings.groups.expiry import Sweep
from worker.settings.models import HostWorkerSettings, Settings

#: Part of the names of resources that setup creates temporarily. No environment can have this name, because
#: an environment's name does not begin with a digit.
_TRIAL = "0-setup-check"


def all_checks(
    settings: Settings,
    rafay: Rafay,
    directory: IdentityProvider | None,
    hosts: Mapping[str, Host],
    *,
    running: bool = False,
) -> Sequence[SetupCheck]:
    """Return every part, each after the parts that it needs.

    With `running`, the list includes the parts that are well only while Moorage runs.
    """
    files = Files(settings.templates, settings.api.tokens_file, settings.api.issuers_file)
    templates, *tokens = files.parts()
    plane = ControlPlane(
        rafay,
        settings.control_plane.url,
        settings.control_plane.host_project,
        mark=f"{settings.installation}/setup",
        templates=files.templates,
    )
    key, project, repositories, roles, blueprints = plane.parts(templates)
    trial = GroupProbe(
        rafay,
        directory,
        name=f"{settings.prefix}-{_TRIAL}-{settings.installation}",
        mark=f"{settings.installation}/{_TRIAL}",
        host_project=settings.control_plane.host_project,
        role=lambda: files.templates()[0].role,
    )
    where = settings.identity.url if settings.identity else settings.control_plane.url
    identity = Identity(rafay, directory, where, settings.sso, trial, files.people, settings.identity)
    of_hosts = [
        part
        for name, host in hosts.items()
        for part in HostCluster(name, host, settings.installation, settings.prefix, files.templates).parts(
            templates
        )
    ]
    temporal = Temporal(
        data_converter(settings.encryption.keyring),
        settings.sweep,
        settings.reconcile,
        settings.own_queues,
    )
    of_temporal = temporal.parts()
    attributes = next(part for part in of_temporal if part.name == "search attributes")
    schedules = next(part for part in of_temporal if part.name == "schedules")
    of_running: tuple[SetupCheck, ...] = ()
    if running:
        of_pools = WarmPools(temporal, files.templates).parts(templates, schedules)
        of_bookings = Bookings(temporal).parts(schedules)
        of_running = (*temporal.running_parts(schedules), *of_pools, *of_bookings)
    return (
        templates,
        *tokens,
        *(key, project, repositories, roles, blueprints),
        *identity.parts(key, project, roles, tokens[0] if tokens else None),
        *Notices(settings.notices).parts(),
        *of_hosts,
        *of_temporal,
        *Environments(temporal, hosts).parts(attributes),
        *of_running,
    )


def host_checks(settings: HostWorkerSettings, name: str, host: Host) -> Sequence[SetupCheck]:
    """Return the parts that matter to the worker beside a host, each after the parts that it needs."""
    files = Files(settings.templates, None)
    (templates,) = files.parts()
    of_host = HostCluster(name, host, settings.installation, settings.prefix, files.templates)
    temporal = Temporal(
        data_converter(settings.encryption.keyring), Sweep(), own_queues=OwnQueues(hosts=frozenset({name}))
    )
    return (templates, *of_host.parts(templates), *temporal.host_worker_parts(name))


class Files:
    """The files that users write, templates and tokens; it keeps valid content for the other parts."""

    def __init__(self, templates: Path, tokens: Path | None, issuers: Path | None = None) -> None:
        self._folder = templates
        self._file = tokens
        self._issuers_file = issuers
        self._templates: Sequence[Template] = ()
        self._people: Sequence[str] = ()

    def parts(self) -> tuple[SetupCheck, ...]:
        """Return the parts of the files; the part of the tokens only if there is a tokens file."""
        area = Area.FILES
        templates = SetupCheck(area, "templates", "catalogue", str(self._folder), self._read_templates)
        if self._file is None:
            return (templates,)
        return templates, SetupCheck(area, "tokens", "people", str(self._file), self._read_tokens)

    def templates(self) -> Sequence[Template]:
        """Return all templates; empty until the check has read them."""
        return self._templates

    def people(self) -> Sequence[str]:
        """Return the e-mail addresses of all people with a token; empty until they are read."""
        return self._people

    async def _read_templates(self) -> Found:
        found = await asyncio.to_thread(load_catalogue, self._folder)
        self._templates = found.offered_to([], everything=True)
        return well(f"no problem: {', '.join(template.name for template in self._templates)}")

    async def _read_tokens(self) -> Found:
        if self._file is not None:
            self._people = (await asyncio.to_thread(load_tokens, self._file)).people
        issuers = 0
        if self._issuers_file is not None:
            issuers = len(await asyncio.to_thread(load_issuers, self._issuers_file))
        accepted = f" and tokens of {issuers} issuers" if issuers else ""
        return well(f"no problem: {len(set(self._people))} with a token{accepted}")
