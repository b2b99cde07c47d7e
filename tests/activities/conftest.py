"""The real stand-ins, each in its own process, and the environments whose steps are tested on them."""

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from activities.registry import Clients
from activities.steps.cluster_import import ImportStep
from activities.steps.group import GroupStep
from activities.steps.identity_group import IdentityStep
from activities.steps.kubeconfig import KubeconfigStep
from activities.steps.namespace import NamespaceStep
from activities.steps.project import ProjectStep
from activities.steps.role_binding import RoleBindingStep
from activities.steps.vcluster import VClusterStep
from clients.identity.scim import Scim
from clients.rafay import Rafay
from clients.simulated_host.host import SimulatedHost
from contracts.activities.steps import EnsureInput, InspectInput, InspectResult, RemoveInput, RemoveResult
from contracts.environment.models import Environment, Receipt, Spec, StepName
from contracts.templates.supported_charts import NEWEST_TESTED
from contracts.templates.template import Chart, Size, Template, TimeToLive
from contracts.types.naming import OwnerMark
from embedded.faults import Fault, FaultKind
from embedded.rafay.app import CLUSTERS_PATH
from embedded.rafay_behaviour import BEHAVIOUR_PATH
from tests.activities.activity_runs import LIFE_START, Running
from tests.support.deadline import HANG
from tests.support.stand_ins import control, running_stand_ins, set_faults

HOST = "one"
KEY, TOKEN = "a-key-of-the-control-plane", "a-token-of-the-others"
INSTALLATION, OTHER_INSTALLATION = "ours000000", "theirs0000"
TIMEOUT = timedelta(seconds=HANG)
#: Seconds that the control plane takes over a deregistration by force.
FORCED_DELETE = 0.05


def an_environment(
    name: str,
    *,
    life: str = "request-1",
    installation: str = INSTALLATION,
    identity: bool = True,
    owner: str = "alice@example.com",
    collaborators: tuple[str, ...] = ("bob@example.com",),
    host: str = HOST,
    values: dict[str, Any] | None = None,
    **template: Any,
) -> Environment:
    """An environment of alice's and bob's. The same name, life and installation give the same one."""
    return Environment(
        mark=OwnerMark.for_request(installation, name, life),
        prefix="moor",
        owner=owner,
        spec=Spec(template="small", team="blue", collaborators=collaborators),
        template=Template(
            name="small",
            version=1,
            description="small",
            chart=Chart(version=NEWEST_TESTED),
            kubernetes="1.36.0",
            size=Size(cpu="2", memory="4Gi", storage="10Gi", pods=20),
            ttl=TimeToLive(default="8h", maximum="3d"),
            values=values or {},
            **template,
        ),
        ttl=timedelta(hours=8),
        host=host,
        has_identity_provider=identity,
    )


@dataclass
class Systems:
    """Where the stand-ins run and keep their data. What is read here is read past the clients."""

    rafay: str
    directory: str
    host: str
    folder: Path
    _disturbed: bool = False

    def faults(self, *faults: Fault) -> None:
        """These strike from now on, each at the system that has its operation; none clears them all."""
        self._disturbed = True
        for url in (self.rafay, self.directory, self.host):
            set_faults(url, *faults)

    def switch(self, **switches: Any) -> None:
        """Set switches of the control plane."""
        self._disturbed = True
        control(self.rafay, "PUT", BEHAVIOUR_PATH, switches)

    def lose_the_answer(self, operation: str) -> None:
        """The next call of it is done, and its answer never comes."""
        self.faults(Fault(operation=operation, kind=FaultKind.CUT_AFTER, times=1))

    def hold_starts(self, environment: Environment, waiting_for: str, failed: str | None = None) -> None:
        """The environment's vCluster does not get ready."""
        self._disturbed = True
        trouble = {
            "namespace": environment.derived_name,
            "waiting_for": waiting_for,
            "failed": failed,
        }
        control(self.host, "PUT", "/-/trouble", trouble)

    def fail_snapshots(self, environment: Environment, failed: str) -> None:
        """The environment's vCluster cannot take snapshots."""
        self._disturbed = True
        trouble = {"namespace": environment.derived_name, "failed": failed}
        control(self.host, "PUT", "/-/snapshots", trouble)

    def fail_restores(self, environment: Environment, failed: str) -> None:
        """No pod can restore a snapshot of the environment."""
        self._disturbed = True
        trouble = {"namespace": environment.derived_name, "failed": failed}
        control(self.host, "PUT", "/-/restores", trouble)

    def leave_release(self, environment: Environment, status: str) -> None:
        """The environment's release is as a killed Helm leaves it."""
        name = environment.derived_name
        control(self.host, "PUT", f"/-/namespaces/{name}/releases/{name}/status", status)

    def be_stubborn(self, environment: Environment, *pods: str) -> None:
        """Pods of the environment's tenants end only by force."""
        control(self.host, "PUT", f"/-/namespaces/{environment.derived_name}/stubborn", list(pods))

    def hold_namespace(self, environment: Environment, *finalizers: str) -> None:
        """The environment's namespace does not go before these are taken away."""
        control(self.host, "PUT", f"/-/namespaces/{environment.derived_name}/finalizers", list(finalizers))

    def fail_import(self, environment: Environment, stage: str, reason: str) -> None:
        """The registration of the environment's cluster fails at this stage."""
        failure = {"stage": stage, "reason": reason}
        control(self.rafay, "PUT", f"{CLUSTERS_PATH}{environment.derived_name}", failure)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        if self._disturbed:
            self.faults()
            control(self.host, "DELETE", "/-/trouble")
            control(self.host, "DELETE", "/-/snapshots")
            control(self.host, "DELETE", "/-/restores")
            self.switch(bootstrap_misses=0, forced_delete=FORCED_DELETE)
            self._disturbed = False

    def rows(self, name: str) -> dict[str, list[Any]]:
        """All that the systems hold of what has this derived name, by kind."""
        rafay = self.folder / "rafay.sqlite"
        directory = self.folder / "directory.sqlite"
        host = self.folder / "host" / "host.sqlite"
        in_group = "group_id IN (SELECT id FROM groups WHERE name = :name)"
        queries = {
            "project": (rafay, "SELECT id, description FROM projects WHERE name = :name"),
            "group": (rafay, "SELECT id, description FROM groups WHERE name = :name"),
            "binding": (rafay, f"SELECT * FROM bindings WHERE {in_group}"),
            "member": (rafay, f"SELECT * FROM members WHERE {in_group}"),
            "cluster": (rafay, "SELECT id, labels, deleting FROM clusters WHERE name = :name"),
            "directory group": (directory, "SELECT id, document FROM resources WHERE name = :name"),
            "namespace": (host, "SELECT * FROM namespaces WHERE name = :name"),
            "object": (host, "SELECT * FROM objects WHERE namespace = :name"),
            "release": (host, "SELECT * FROM releases WHERE namespace = :name"),
            "pod": (host, "SELECT * FROM pods WHERE namespace = :name"),
            "volume": (host, "SELECT * FROM volumes WHERE namespace = :name"),
            "restore pod": (host, "SELECT * FROM restore_pods WHERE namespace = :name"),
            "request": (host, "SELECT * FROM requests WHERE namespace = :name"),
            "stubborn pod": (host, "SELECT * FROM stubborn WHERE namespace = :name"),
            "inner object": (host, "SELECT * FROM virtual_objects WHERE namespace = :name"),
        }
        return {kind: self._query(file, sql, name) for kind, (file, sql) in queries.items()}

    def counts(self, environment: Environment) -> dict[str, int]:
        """How many of each kind are there; kinds of which there are none are left out."""
        rows = self.rows(environment.derived_name)
        return {kind: len(found) for kind, found in rows.items() if found}

    def query(self, file: str, sql: str, name: str = "") -> list[Any]:
        """The rows of a query on the database of a stand-in."""
        return self._query(self.folder / file, sql, name)

    def _query(self, file: Path, sql: str, name: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return [list(row) for row in database.execute(sql, {"name": name})]

    def members_of(self, environment: Environment) -> list[str]:
        """Ids of the people in the directory's groups of that name."""
        groups = self.rows(environment.derived_name)["directory group"]
        return [
            member["value"] for _, document in groups for member in json.loads(document).get("members") or []
        ]


@dataclass(frozen=True)
class Bench:
    """All steps, made as a worker makes them, on the running systems."""

    systems: Systems
    clients: Clients

    @property
    def steps(self) -> dict[StepName, Any]:
        """The steps by name."""
        rafay, scim, hosts = self.clients.rafay, self.clients.directory, self.clients.hosts
        return {
            StepName.PROJECT: ProjectStep(rafay),
            StepName.GROUP: GroupStep(rafay),
            StepName.ROLE_BINDING: RoleBindingStep(rafay),
            StepName.IDENTITY: IdentityStep(scim),
            StepName.NAMESPACE: NamespaceStep(hosts),
            StepName.VCLUSTER: VClusterStep(hosts),
            StepName.KUBECONFIG: KubeconfigStep(hosts),
            StepName.IMPORT: ImportStep(rafay, hosts),
        }

    def ensuring(
        self, step: StepName, environment: Environment, *, in_place: bool = False, **more: Any
    ) -> Running:
        """Ensure, on its way."""
        input = EnsureInput(environment=environment, in_place=in_place)
        return Running(self.steps[step].ensure, input, **more)

    def removing(
        self, step: StepName, environment: Environment, *, force: bool = False, **more: Any
    ) -> Running:
        """Remove, on its way."""
        return Running(
            self.steps[step].remove,
            RemoveInput(environment=environment, life_started_at=LIFE_START, force=force),
            **more,
        )

    async def ensure(
        self, step: StepName, environment: Environment, *, in_place: bool = False, attempt: int = 1
    ) -> Receipt:
        """Do the step."""
        receipt = await self.ensuring(step, environment, in_place=in_place, attempt=attempt).result()
        assert isinstance(receipt, Receipt)
        return receipt

    async def remove(
        self, step: StepName, environment: Environment, *, force: bool = False, attempt: int = 1
    ) -> RemoveResult:
        """Undo the step."""
        result = await self.removing(step, environment, force=force, attempt=attempt).result()
        assert isinstance(result, RemoveResult)
        return result

    async def inspect(self, step: StepName, environment: Environment) -> tuple[str, ...]:
        """What the step says is left."""
        found = await Running(
            self.steps[step].inspect, InspectInput(environment=environment, life_started_at=LIFE_START)
        ).result()
        assert isinstance(found, InspectResult)
        return found.left

    async def make(self, environment: Environment, *, before: StepName) -> None:
        """Do all steps before this one."""
        for step in StepName:
            if step is before:
                return
            if step is not StepName.IDENTITY or environment.has_identity_provider:
                await self.ensure(step, environment)


@pytest.fixture(scope="package")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systems]:
    folder = tmp_path_factory.mktemp("systems")
    with running_stand_ins(
        control_plane={
            "database": folder / "rafay.sqlite",
            "api_key": KEY,
            "behaviour": {"forced_delete": FORCED_DELETE},
        },
        directory={"database": folder / "directory.sqlite", "token": TOKEN},
        host={"folder": folder / "host", "token": TOKEN, "start_seconds": 0.2, "stop_seconds": 0.1},
    ) as [rafay, directory, host]:
        yield Systems(rafay, directory, host, folder)


@pytest.fixture(scope="package")
async def clients(systems: Systems) -> AsyncIterator[Clients]:
    async with contextlib.AsyncExitStack() as stack:
        rafay = Rafay(systems.rafay, KEY, timeout=TIMEOUT)
        scim = Scim(f"{systems.directory}/v2", TOKEN, timeout=TIMEOUT)
        host = SimulatedHost(HOST, systems.host, TOKEN, timeout=TIMEOUT)
        for system in (rafay, scim, host):
            stack.push_async_callback(system.close)
        yield Clients(rafay=rafay, directory=scim, hosts={HOST: host})


@pytest.fixture
def bench(systems: Systems, clients: Clients) -> Iterator[Bench]:
    """All steps on systems in which nothing goes wrong yet."""
    yield Bench(systems, clients)
    systems.clear()


@pytest.fixture
def environment() -> Environment:
    """One that no other test has, with an identity provider."""
    return an_environment(fresh())


def fresh() -> str:
    """A name that no other test has."""
    return f"e{uuid4().hex[:10]}"
