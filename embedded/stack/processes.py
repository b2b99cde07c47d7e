"""The processes of a stack: ports, commands, environments and readiness probes."""

import dataclasses
import json
import os
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from embedded.stack import temporal_server
from embedded.stack.fork_server import PYTHON
from embedded.stack.options import KNOWN_PEOPLE, SIGN_IN_PEOPLE, STAND_INS, Options, Part, Person
from embedded.stack.state_dir import StackFolder
from embedded.stack.supervisor import ProcessSpec, Ready, get
from embedded.standin_options import (
    VARIABLE,
    Account,
    DirectoryOptions,
    HostOptions,
    OpenIdOptions,
    RafayOptions,
    StandInOptions,
)

#: Name of the host cluster in the settings.
HOST = "local"
UI = "Web UI"
_TEMPORAL_HTTP = "Temporal HTTP API"
_TEMPORAL_METRICS = "Temporal metrics"
_ENCRYPTION_KEY = "encryption key"
#: What the API trusts the OpenID provider by, and who can sign in there; JSON is YAML too.
ISSUERS_FILE, ACCOUNTS_FILE = "issuers.yaml", "accounts.json"
TEAM_PREFIX, PLATFORM_GROUP = "team-", "platform"

#: Readiness probe of the API.
_API_READY_PATH = "/readyz"
#: Longest start of another server than the dev server, which makes a database first.
OTHER_TEMPORAL_SECONDS = 300.0
#: How long steps may finish when the worker stops; it resumes interrupted ones at its next start.
_WORKER_GRACE = timedelta(seconds=3)

#: The folder of our packages: the processes import them from there and from nowhere else.
_CODE = Path(__file__).resolve().parents[2]

_CLIENT = ("httpcore",)
_SERVER = ("uvicorn.protocols.http.auto",)
_OURS = ("moorage", *_CLIENT)
#: What each part imports before it is forked; it imports the rest itself.
MODULES = {
    Part.CONTROL_PLANE: ("embedded.rafay.app", *_SERVER),
    Part.DIRECTORY: ("embedded.directory.application", *_SERVER),
    Part.HOST: ("embedded.host.application", *_CLIENT, *_SERVER),
    Part.OPENID_PROVIDER: ("embedded.openid.app", *_SERVER),
    Part.WORKER: (*_OURS, "worker.runner", "starter.expiry.schedules", "starter.placement.reservations"),
    Part.API: (
        *_OURS,
        "worker.client_factory",
        "starter.api.app",
        "starter.api.server",
        "starter.page.pages",
        "fastapi_offline",
    ),
    Part.CODEC_SERVER: (*_OURS, "starter.codec_server.app", *_SERVER),
}
#: The process that the stand-ins share.
_STAND_IN_SERVER = "stand-in server"


class ProcessSpecs:
    """The processes of one stack, whose folder is open.

    Raises:
        StackError: a wanted port is taken.
    """

    def __init__(self, folder: StackFolder, options: Options) -> None:
        self._folder = folder
        self._options = options
        wanted: dict[str, int | None] = {
            Part.API: options.api_port,
            Part.TEMPORAL: options.temporal_port,
            UI: options.ui_port,
        }
        names = [str(part) for part in Part if part is not Part.WORKER]
        names += [UI, _TEMPORAL_HTTP, _TEMPORAL_METRICS]
        self.ports = {name: folder.port(name, wanted.get(name)) for name in names}

    def url(self, name: str) -> str:
        """Return the base URL of a part, or of the Web UI."""
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def temporal_address(self) -> str:
        """Host and port of the Temporal server."""
        return f"127.0.0.1:{self.ports[Part.TEMPORAL]}"

    @property
    def databases(self) -> Mapping[Part, Path]:
        """The SQLite files of the stand-ins."""
        return {
            Part.CONTROL_PLANE: self._folder.path / "control-plane.sqlite",
            Part.DIRECTORY: self._folder.path / "directory.sqlite",
            Part.HOST: self._folder.path / "host" / "host.sqlite",
            Part.OPENID_PROVIDER: self._folder.path / "openid-provider.sqlite",
        }

    def settings(self) -> dict[str, str]:
        """Return the environment of worker and API: all settings, and the caller's own variables."""
        secret = self._folder.secret
        timeout = _seconds(self._options.timeout)
        host = f"MOORAGE_HOSTS__{HOST.upper()}__"
        values = {
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": "default",
            "MOORAGE_INSTALLATION": self._folder.installation,
            "MOORAGE_ENCRYPTION__KEYS": self._folder.secret(_ENCRYPTION_KEY),
            "MOORAGE_CONTROL_PLANE__URL": self.url(Part.CONTROL_PLANE),
            "MOORAGE_CONTROL_PLANE__API_KEY": secret(Part.CONTROL_PLANE),
            "MOORAGE_CONTROL_PLANE__TIMEOUT": timeout,
            f"{host}KIND": "simulated",
            f"{host}URL": self.url(Part.HOST),
            f"{host}TOKEN": secret(Part.HOST),
            f"{host}TIMEOUT": timeout,
            # The stand-ins know one credential each; a real installation gives the API one that only reads.
            "MOORAGE_API__CONTROL_PLANE_API_KEY": secret(Part.CONTROL_PLANE),
            "MOORAGE_API__PORT": str(self.ports[Part.API]),
            "MOORAGE_API__TOKENS_FILE": str(self._folder.path / "tokens.yaml"),
            "MOORAGE_CODEC_SERVER__PORT": str(self.ports[Part.CODEC_SERVER]),
            "MOORAGE_CODEC_SERVER__UI": f"{self.url(UI)} http://localhost:{self.ports[UI]}",
            "MOORAGE_TEMPORAL__WEB_URL": self.url(UI),
            # The dev server's Web UI has no sign-in, and no option to send cookies with its calls.
            "MOORAGE_CODEC_SERVER__TRUST_SAME_USER": "true",
            "MOORAGE_WORKER__GRACEFUL_SHUTDOWN": _seconds(_WORKER_GRACE),
            "MOORAGE_READY_FILE": str(self.ready_file),
            "MOORAGE_AUDIT_LOG__FILE": str(self._folder.path / "audit-log.jsonl"),
        }
        if Part.DIRECTORY in self._options.parts:
            values |= {
                "MOORAGE_IDENTITY__URL": f"{self.url(Part.DIRECTORY)}/v2",
                "MOORAGE_IDENTITY__TOKEN": secret(Part.DIRECTORY),
                "MOORAGE_IDENTITY__TIMEOUT": timeout,
                "MOORAGE_API__IDENTITY_TOKEN": secret(Part.DIRECTORY),
            }
        if Part.OPENID_PROVIDER in self._options.parts:
            values["MOORAGE_API__ISSUERS_FILE"] = str(self._folder.path / ISSUERS_FILE)
        if self._options.timeouts is not None:
            for name, length in self._options.timeouts.model_dump(mode="json", exclude_none=True).items():
                values[f"MOORAGE_TIMEOUTS__{name.upper()}"] = length
        return base_environment() | values | dict(self._options.environment)

    @property
    def ready_file(self) -> Path:
        """The file in which the worker writes its process id when it accepts tasks."""
        return self._folder.path / "worker.ready"

    @property
    def modules(self) -> list[str]:
        """The modules that the processes of this stack import."""
        return [name for part in self._options.parts for name in MODULES.get(part, ())]

    def process_of(self, part: Part) -> str:
        """Return the name of the process that runs the part."""
        shares = part in STAND_INS and part not in self._options.own_process
        return _STAND_IN_SERVER if shares else part

    def spec(self, part: Part) -> ProcessSpec:
        """Return how to start the process of the part."""
        if part is Part.TEMPORAL:
            return self._temporal()
        if part in STAND_INS:
            return self._stand_ins(self.process_of(part))
        port = self.ports.get(part, 0)
        ready: Ready = {
            Part.API: partial(_serves, port),
            Part.CODEC_SERVER: partial(_responds, port),
        }.get(part, self._worker_is_ready)
        environment = self.settings() | dict(self._options.environment_of.get(part, {}))
        return ProcessSpec(
            part,
            [*PYTHON, "moorage", part.lower().replace(" ", "-")],
            environment,
            ready,
            niceness=self._options.background_niceness if part is Part.WORKER else 0,
        )

    def _stand_ins(self, process: str) -> ProcessSpec:
        parts = [part for part in self._options.parts if self.process_of(part) == process]
        options = {
            Part.CONTROL_PLANE: self._control_plane,
            Part.DIRECTORY: self._directory,
            Part.HOST: self._host,
            Part.OPENID_PROVIDER: self._openid_provider,
        }
        chosen = {part.name.lower(): options[part](**self._options.stand_ins.get(part, {})) for part in parts}
        environment = base_environment() | {VARIABLE: StandInOptions(**chosen).model_dump_json()}
        ports = [self.ports[part] for part in parts]

        async def ready() -> bool:
            return all([await _responds(port) for port in ports])

        return ProcessSpec(
            process,
            [*PYTHON, "embedded.standins"],
            environment,
            ready,
            niceness=self._options.background_niceness,
        )

    def _control_plane(self, **options: Any) -> RafayOptions:
        part = Part.CONTROL_PLANE
        return RafayOptions(
            port=self.ports[part],
            api_key=self._folder.secret(part),
            database=self.databases[part],
            users=self._people(),
            **options,
        )

    def _directory(self, **options: Any) -> DirectoryOptions:
        part = Part.DIRECTORY
        return DirectoryOptions(
            port=self.ports[part],
            token=self._folder.secret(part),
            database=self.databases[part],
            people=self._people(),
            **options,
        )

    def _host(self, **options: Any) -> HostOptions:
        part = Part.HOST
        return HostOptions(
            port=self.ports[part],
            token=self._folder.secret(part),
            folder=self.databases[part].parent,
            **options,
        )

    def _openid_provider(self, **options: Any) -> OpenIdOptions:
        part = Part.OPENID_PROVIDER
        return OpenIdOptions(
            port=self.ports[part],
            database=self.databases[part],
            accounts=self.accounts,
            where=f"The passwords are in {self._folder.path / ACCOUNTS_FILE}.",
            **{"redirect_uris": self._page_redirects(), **options},
        )

    def _page_redirects(self) -> tuple[str, ...]:
        """Return where the page of the API may be opened on this machine, for its sign-in."""
        port = self.ports[Part.API]
        return tuple(f"http://{host}:{port}/signed-in" for host in ("127.0.0.1", "localhost"))

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Those who can sign in: all people with a token, and others so that there are three of a team."""
        people = {person.email: person for person in (*SIGN_IN_PEOPLE, *self._options.people)}
        return tuple(self._account(person) for person in people.values())

    def _account(self, person: Person) -> Account:
        platform = (PLATFORM_GROUP,) if person.role == "platform" else ()
        return Account(
            email=person.email,
            name=f"{person.email.partition('@')[0].capitalize()} Example",
            password=self._folder.secret(f"password of {person.email}"),
            groups=(*(f"{TEAM_PREFIX}{team}" for team in person.teams), *platform),
        )

    def write_sign_in(self) -> None:
        """Write the API's file of issuers, and the file of accounts with their passwords."""
        part = Part.OPENID_PROVIDER
        provider = self._openid_provider(**self._options.stand_ins.get(part, {}))
        issuer = {
            "url": self.url(part),
            "audience": provider.audience,
            "client_id": provider.client_id,
            "team_prefix": TEAM_PREFIX,
            "platform_groups": [PLATFORM_GROUP],
        }
        self._folder.write(ISSUERS_FILE, json.dumps({"issuers": [issuer]}, indent=2))
        accounts = [account.model_dump(mode="json") for account in self.accounts]
        self._folder.write(ACCOUNTS_FILE, json.dumps({"accounts": accounts}, indent=2))

    def _people(self) -> tuple[str, ...]:
        return tuple(sorted({*(person.email for person in self._options.people), *KNOWN_PEOPLE}))

    def _temporal(self) -> ProcessSpec:
        http_port = self.ports[_TEMPORAL_HTTP]
        command = self._other_temporal() or temporal_server.server_command(
            port=self.ports[Part.TEMPORAL],
            http_port=http_port,
            metrics_port=self.ports[_TEMPORAL_METRICS],
            ui_port=self.ports[UI],
            database=self._folder.path / "temporal.sqlite",
            codec=self.url(Part.CODEC_SERVER) if Part.CODEC_SERVER in self._options.parts else None,
        )

        async def ready() -> bool:
            return temporal_server.is_ready(*await get(http_port, temporal_server.READY_PATH))

        environment = base_environment() | dict(self._options.environment_of.get(Part.TEMPORAL, {}))
        spec = ProcessSpec(Part.TEMPORAL, command, environment, ready)
        if not self._options.temporal_command:
            return spec
        return dataclasses.replace(spec, start_seconds=OTHER_TEMPORAL_SECONDS)

    def _other_temporal(self) -> list[str]:
        """Return the command of another server than the dev server, if the options name one."""
        arguments = {
            "--folder": self._folder.path / "temporal",
            "--port": self.ports[Part.TEMPORAL],
            "--http-port": self.ports[_TEMPORAL_HTTP],
            "--metrics-port": self.ports[_TEMPORAL_METRICS],
        }
        given = [part for name, value in arguments.items() for part in (name, str(value))]
        return [*self._options.temporal_command, *given] if self._options.temporal_command else []

    async def _worker_is_ready(self) -> bool:
        return self.ready_file.exists()


def base_environment() -> dict[str, str]:
    """Return the caller's environment without its settings, and with no proxy between the parts.

    Settings for real systems must not leak into the stack.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MOORAGE_", "TEMPORAL_")) and name.lower() != "no_proxy"
    }
    no_proxy = os.environ.get("NO_PROXY", os.environ.get("no_proxy", ""))
    no_proxy = f"{no_proxy},127.0.0.1" if no_proxy else "127.0.0.1"
    path = os.pathsep.join(filter(None, (str(_CODE), os.environ.get("PYTHONPATH"))))
    return kept | {"NO_PROXY": no_proxy, "no_proxy": no_proxy, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():g}s"


async def _responds(port: int) -> bool:
    return (await get(port, "/"))[0] != 0


async def _serves(port: int) -> bool:
    return (await get(port, _API_READY_PATH))[0] == 200
