"""The parts of Temporal: its server, the namespace, our search attributes, and our schedules."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from contracts.sweeps.expiry import SWEEP_SCHEDULE
from contracts.temporal import search_attributes
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues
from contracts.temporal.worker_versions import DEPLOYMENT
from contracts.types.durations import format_duration
from starter.expiry.freeze import ExpiryFreeze, describe_sweep
from starter.expiry.schedules import CALL_TIMEOUT, Difference, differences, reconcile
from starter.monitoring.encryption_keys import Use, keys_in_use
from starter.monitoring.warnings import find_unpolled_queues, overdue_sweep, stuck_environments
from starter.monitoring.worker_versions import versions_in_use
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well
from starter.setup.search_attributes import find_unindexed, has_worker, index_again
from worker.codec import EncryptionCodec
from worker.connection import address, connect, namespace_name, search_attributes_of
from worker.settings.groups.expiry import Sweep
from worker.settings.groups.reconcile import Reconcile

SYSTEM = "Temporal"
#: Retention of closed runs in a namespace that setup creates: a month, so that a failure can still be
#: investigated after a holiday; a history has about 100 kB. It can be changed at any time.
RETENTION = timedelta(days=30)
#: Longest wait until all services of the server know a new resource: they refresh every 10 s.
KNOWN_TIMEOUT = timedelta(seconds=45)
_PAUSE_SECONDS = 0.5
#: Status codes of a server that shows such information only to administrators, as Temporal Cloud does.
_NOT_SHOWN = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED})


@dataclass
class Temporal:
    """Checks and repairs of the server and namespace that the TEMPORAL_* settings name."""

    converter: DataConverter
    sweep: Sweep
    reconcile: Reconcile = field(default_factory=Reconcile)
    own_queues: OwnQueues = NO_OWN_QUEUES
    _client: Client | None = field(default=None, init=False)
    _connecting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def parts(self) -> tuple[SetupCheck, ...]:
        """Return the parts, in order."""
        area = Area.TEMPORAL
        server = SetupCheck(area, SYSTEM, "server", address(), self._server)
        namespace = SetupCheck(
            area,
            SYSTEM,
            "namespace",
            namespace_name(),
            self._namespace,
            self._make_namespace,
            needs=(server,),
            denied=_denied("make namespaces", "ask a user who has it to make it"),
        )
        attributes = SetupCheck(
            area,
            SYSTEM,
            "search attributes",
            namespace_name(),
            self._attributes,
            self._add_attributes,
            needs=(namespace,),
            denied=_denied("register search attributes", "ask a user who has it to register them"),
        )
        schedules = SetupCheck(
            area,
            SYSTEM,
            "schedules",
            SWEEP_SCHEDULE,
            self._schedules,
            self._reconcile,
            needs=(attributes,),
            denied=_denied("see and make schedules", "no worker can start without it"),
        )
        return server, namespace, attributes, schedules

    def host_worker_parts(self, host: str) -> tuple[SetupCheck, ...]:
        """Return the parts that the worker beside a host needs: the server, and that workers poll."""
        server, namespace, *_ = self.parts()
        workers = SetupCheck(Area.TEMPORAL, SYSTEM, "workers", host, self._workers, needs=(namespace,))
        return server, namespace, workers

    def running_parts(self, schedules: SetupCheck) -> tuple[SetupCheck, ...]:
        """Return the parts that are well only while Moorage runs: workers poll, and work progresses."""
        where = namespace_name()
        return tuple(
            SetupCheck(Area.TEMPORAL, SYSTEM, name, where, check, needs=(schedules,))
            for name, check in (
                ("workers", self._workers),
                ("sweep", self._sweep_runs),
                ("progress", self._environments),
                ("encryption keys", self._keys),
                ("worker versions", self._versions),
            )
        )

    async def _workers(self) -> Found:
        found = await find_unpolled_queues(await self.client(), self.own_queues)
        if found:
            return Found(Kind.BY_HAND, " ".join(found), "start a worker")
        return well("every task queue has been asked for work within a minute")

    async def _sweep_runs(self) -> Found:
        found = await overdue_sweep(await self.client(), self.sweep)
        if found:
            return Found(Kind.BY_HAND, " ".join(found), "start a worker, and look at the sweep in Temporal")
        return well("runs when it should")

    async def _environments(self) -> Found:
        sentences, names = await stuck_environments(await self.client())
        if sentences:
            detail = f"{' '.join(sentences)} {', '.join(names)}"
            return Found(Kind.BY_HAND, detail, "moorage list --stuck, then mend the cause")
        return well("none is stuck")

    async def client(self) -> Client:
        """Return the connection, which is opened once; raise NotConnected if that fails."""
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self.converter, timeout=timedelta(0))
            return self._client

    async def _server(self) -> Found:
        client = await self.client()
        return well(f"reachable, credentials accepted, at {client.service_client.config.target_host}")

    async def _namespace(self) -> Found:
        client = await self.client()
        name = client.namespace
        request = DescribeNamespaceRequest(namespace=name)
        try:
            found = await client.workflow_service.describe_namespace(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return Found(Kind.MISSING, f'there is no namespace "{name}"', "make it")
            if error.status in _NOT_SHOWN:
                return well(f'"{name}"; this server does not show it to us')
            raise
        kept = found.config.workflow_execution_retention_ttl.ToTimedelta()
        return well(f'"{name}", which keeps what has ended for {format_duration(kept)}')

    async def _make_namespace(self) -> str:
        client = await self.client()
        kept = Duration()
        kept.FromTimedelta(RETENTION)
        request = RegisterNamespaceRequest(
            namespace=client.namespace,
            description="Moorage's environments",
            workflow_execution_retention_period=kept,
        )
        try:
            await client.workflow_service.register_namespace(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.ALREADY_EXISTS:
                raise
        await self._until_known()
        return f'made namespace "{client.namespace}"'

    async def _until_known(self) -> None:
        """Wait until the server's other services also know the namespace."""
        client = await self.client()
        until = _now() + KNOWN_TIMEOUT.total_seconds()
        while True:
            try:
                await search_attributes_of(client)
                [one async for one in await client.list_schedules(page_size=1, rpc_timeout=CALL_TIMEOUT)]
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND and _now() < until:
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                if error.status not in _NOT_SHOWN:
                    raise
            return

    # Search attributes

    async def _attributes(self) -> Found:
        client = await self.client()
        try:
            there = await search_attributes_of(client)
        except RPCError as error:
            if error.status not in _NOT_SHOWN:
                raise
            names = ", ".join(key.name for key in search_attributes.ALL)
            return well(f"this server does not show them to us: see that it has {names}")
        types = {key.name: int(key.indexed_value_type) for key in search_attributes.ALL}
        wrong = [name for name, number in types.items() if there.get(name, number) != number]
        if wrong:
            detail = f"{', '.join(wrong)}: there already, with another type"
            return Found(Kind.REFUSED, detail, "use a namespace of Moorage's own: types cannot be changed")
        if missing := [name for name in types if name not in there]:
            return Found(Kind.MISSING, f"{', '.join(missing)}: not registered", "register them")
        return await self._values(well(", ".join(types)))

    async def _values(self, found: Found) -> Found:
        """Return `found`, unless running environments lack values of search attributes."""
        client = await self.client()
        if not (runs := await find_unindexed(client)):
            return found
        detail = (
            f"{found.detail}; {_environments(len(runs))} lost values: not every list and sweep finds them"
        )
        if not await has_worker(client):
            return well(f"{detail}: start a worker, then run `moorage setup` again")
        return Found(Kind.WRONG, detail, "have them set their values again")

    async def _add_attributes(self) -> str:
        client = await self.client()
        did = [await self._register(client)]
        if (runs := await find_unindexed(client)) and await has_worker(client):
            count = await index_again(client, runs)
            did.append(f"{count} of {len(runs)} environments have set their values again")
            until = _now() + KNOWN_TIMEOUT.total_seconds()
            while count == len(runs) and await find_unindexed(client):  # Visibility is late.
                if _now() > until:
                    break
                await asyncio.sleep(_PAUSE_SECONDS)
        return "; ".join(filter(None, did))

    async def _register(self, client: Client) -> str:
        there = await search_attributes_of(client)
        adding = {
            key.name: key.indexed_value_type.value for key in search_attributes.ALL if key.name not in there
        }
        if not adding:
            return ""
        request = AddSearchAttributesRequest(namespace=client.namespace)
        for name, number in adding.items():
            request.search_attributes[name] = number  # type: ignore[assignment]
        try:
            await client.operator_service.add_search_attributes(request)
        except RPCError as error:
            if error.status is not RPCStatusCode.ALREADY_EXISTS:
                raise
        until = _now() + KNOWN_TIMEOUT.total_seconds()
        while not set(adding) <= set(await search_attributes_of(client)):
            if _now() > until:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        return f"registered {', '.join(adding)}"

    # Encryption keys

    async def _keys(self) -> Found:
        client = await self.client()
        codec = client.data_converter.payload_codec
        if not isinstance(codec, EncryptionCodec):
            return well("nothing is encrypted")
        in_use, (first, *others) = await keys_in_use(client), codec.keys.ids
        lacking = {key: use for key, use in in_use.items() if key not in codec.keys.ids}
        if any(use.is_open for use in lacking.values()):
            return Found(Kind.BY_HAND, f"not given any more, and needed: {_key_uses(lacking)}", _ADD_KEYS)
        former = {key: use for key, use in in_use.items() if key in others}
        unused = ", ".join(f'"{key}"' for key in others if key not in in_use)
        words = [
            f'"{first}" encrypts',
            f"still needed: {_key_uses(former)}" if former else "",
            f"needed by nothing: {unused}" if unused else "",
            f"not given any more, so unreadable: {_key_uses(lacking)}" if lacking else "",
        ]
        return well("; ".join(filter(None, words)))

    # Worker versions

    async def _versions(self) -> Found:
        client = await self.client()
        versions = await versions_in_use(client)
        if versions is None:
            return well("workers have no versions")
        if not versions.current:
            known = ", ".join(f'"{build_id}"' for build_id in versions.open_runs)
            return Found(
                Kind.BY_HAND, f"none is current, so no worker gets work; there are {known}", _SET_CURRENT
            )
        former = [
            f'"{build_id}" by {count} open run{"s" if count > 1 else ""}'
            for build_id, count in versions.open_runs.items()
            if count and build_id != versions.current
        ]
        needed = f"; still needed: {', '.join(former)}" if former else ""
        return well(f'"{versions.current}" is current{needed}')

    # Schedules

    async def _schedules(self) -> Found:
        client = await self.client()
        found = await differences(client, self.sweep, self.reconcile)
        if found:
            detail = "; ".join(f"{id} {difference}" for id, difference in found.items())
            new = all(difference is Difference.MISSING for difference in found.values())
            kind = Kind.MISSING if new else Kind.WRONG
            return Found(
                kind, f"{detail}; without it no environment ends" if new else detail, "bring in line"
            )
        state = await ExpiryFreeze(client, self.sweep).state()
        if state and not state.by:
            detail = f"ALL ENDS ARE FROZEN, and not by `moorage freeze`: {state.reason}"
            remedy = "if it is a mistake, `moorage thaw`; else `moorage thaw` and `moorage freeze --reason …`"
            return Found(Kind.BY_HAND, detail, remedy)
        return well(f"the sweep is scheduled: {await describe_sweep(client, self.sweep)}")

    async def _reconcile(self) -> str:
        client = await self.client()
        found = await differences(client, self.sweep, self.reconcile)
        await reconcile(client, self.sweep, self.reconcile)
        verbs = {
            Difference.MISSING: "made",
            Difference.OTHER: "corrected",
            Difference.FORMER: "removed",
        }
        return ", ".join(f"{verbs[difference]} {id}" for id, difference in found.items())


def _environments(count: int) -> str:
    return "1 running environment has" if count == 1 else f"{count} running environments have"


_SET_CURRENT = (
    f"temporal worker deployment set-current-version --deployment-name {DEPLOYMENT} --build-id …, "
    "with one whose workers run"
)
_ADD_KEYS = "add them to MOORAGE_ENCRYPTION__KEYS of worker, API and codec server again, after the first one"


def _key_uses(keys: Mapping[str, Use]) -> str:
    return ", ".join(f'"{key}" by {use.words}' for key, use in keys.items())


def _denied(right: str, otherwise: str) -> tuple[str, str]:
    return f"our credentials may not {right}", f"give them the right to {right}: {otherwise}"


def _now() -> float:
    return asyncio.get_running_loop().time()
