"""The run of a worker process: registration, concurrency limits, and graceful shutdown."""

import asyncio
import functools
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.runtime import Runtime
from temporalio.worker import Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import contracts
import workflows
from activities.interceptor import ActivityInterceptor
from activities.registry import Clients, all_activities, host_activities
from clients.host.protocol import Host
from clients.private_files import write_private
from contracts.environment.models import System
from contracts.environment_workflow import TASK_QUEUE, undo_queue
from contracts.telemetry.metrics import DROPPED_SPANS
from contracts.temporal.task_queues import RATE_SHARE, system_queue
from contracts.temporal.worker_versions import DEPLOYMENT
from worker.client_factory import open_clients, open_hosts
from worker.connection import check_namespace, connect
from worker.data_converter import data_converter
from worker.metrics import WorkerMetrics, measuring
from worker.settings.groups.process import WorkerProcess
from worker.settings.models import HostWorkerSettings, Settings
from worker.telemetry import telemetry_runtime
from worker.tracing.process import exported_traces
from workflows.registry import HOST_WORKFLOWS, WORKFLOWS

#: Longest delay between two heartbeats that the SDK sends. A cancellation reaches an activity with the
#: response to its next heartbeat, so this is how late it can be. By default the SDK holds heartbeats back for
#: up to a minute, to spare servers of thousands of activities.
HEARTBEAT_THROTTLE = timedelta(seconds=2)

#: Workflow tasks that run concurrently. They use the CPU, so more of them only take turns, and each that
#: takes longer than Temporal's ten seconds is done again: with the SDK's hundred, deleting 250 environments
#: of which a worker had 100 in memory took 439 s, with these 257 s.
WORKFLOW_TASKS = 16

#: Requests of the API that a worker beside a host has in memory: each lasts a second.
MAX_CACHED_REQUESTS = 50

#: The sandbox would load these modules again for each environment: 90 kB and half again as much CPU time.
#: What the sandbox finds that way (a clock that one of our modules reads) the tests find too: the replays
#: load all modules but the contracts again. For builtins, and for modules that are imported while a workflow
#: runs, the sandbox's restrictions apply here as well.
_PASSED_THROUGH = ("contracts", "workflows")

#: What a workflow ran on is said by a hash of these packages, where workers have no versions.
_WORKFLOW_CODE = tuple(Path(package.__path__[0]) for package in (workflows, contracts))

_Result = TypeVar("_Result")
#: Makes the workers of a process with the clients of its systems.
_MakeWorkers = Callable[[Client], Sequence[Worker]]

log = structlog.stdlib.get_logger("moorage.worker")


def make_workers(client: Client, clients: Clients, settings: Settings) -> list[Worker]:
    """Return a worker for all workflows and activities, one for undos, and two for each limited system.

    Each runs once its `run` is awaited. Steps that wait for minutes may take all activity slots of the first
    worker; an undo never waits for them, because it has its own worker.
    """
    activities = all_activities(clients, client)
    worker = functools.partial(
        _worker, client, activities, settings.worker, deployment=deployment_of(settings.worker.version)
    )
    main_worker = worker(
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(),
        max_cached_workflows=settings.worker.max_cached_workflows,
        max_concurrent_workflow_tasks=WORKFLOW_TASKS,
    )
    groups = {System.CONTROL_PLANE: settings.control_plane, System.IDENTITY_PROVIDER: settings.identity}
    limited = [
        worker(task_queue=system_queue(queue, system, ""), rate=group.max_steps_per_second)
        for system, group in groups.items()
        if group and system in settings.own_queues.systems
        for queue in (TASK_QUEUE, undo_queue(TASK_QUEUE))
    ]
    return [main_worker, worker(task_queue=undo_queue(TASK_QUEUE)), *limited]


def make_host_workers(
    client: Client, host: str, hosts: Mapping[str, Host], settings: HostWorkerSettings
) -> list[Worker]:
    """Return a worker for the forward steps on the host, and one for everything else there.

    They have no version: a run that stays on one version would wait for a worker of it beside every host.
    """
    worker = functools.partial(
        _worker,
        client,
        host_activities(hosts, client),
        settings.worker,
        rate=settings.hosts[host].max_steps_per_second,
    )
    # Requests of the API are with the undos, because steps may take all activity slots of the other worker.
    return [
        worker(task_queue=system_queue(TASK_QUEUE, System.HOST_CLUSTER, host)),
        worker(
            task_queue=system_queue(undo_queue(TASK_QUEUE), System.HOST_CLUSTER, host),
            workflows=HOST_WORKFLOWS,
            workflow_runner=workflow_runner(),
            max_cached_workflows=MAX_CACHED_REQUESTS,
            max_concurrent_workflow_tasks=WORKFLOW_TASKS,
        ),
    ]


def _worker(
    client: Client,
    activities: Sequence[Callable[..., Any]],
    process: WorkerProcess,
    *,
    deployment: WorkerDeploymentConfig | None = None,
    rate: float | None = None,
    **more: Any,
) -> Worker:
    """Return a worker; `rate` is the limit of its system, of which the queue has its share."""
    return Worker(
        client,
        activities=activities,
        interceptors=[ActivityInterceptor()],
        max_concurrent_activities=process.max_concurrent_activities,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=process.graceful_shutdown,
        # The SDK's own build id reads the bytecode of every imported module: half the CPU time of a start.
        build_id=None if deployment else build_id(*_WORKFLOW_CODE),
        deployment_config=deployment,
        max_task_queue_activities_per_second=None if rate is None else rate * RATE_SHARE,
        # An activity that a worker takes without the server is not counted there.
        disable_eager_activity_execution=rate is not None,
        **more,
    )


def deployment_of(version: str) -> WorkerDeploymentConfig | None:
    """Return how Temporal learns the version of a worker, to which every run that it begins is pinned.

    This is the default of the worker and not in the definitions of the workflows: Temporal refuses a pinned
    definition where workers have no versions.
    """
    if not version:
        return None
    return WorkerDeploymentConfig(
        WorkerDeploymentVersion(DEPLOYMENT, version),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


def build_id(*packages: Path) -> str:
    """Return a hash of the source of these packages, by which Temporal shows what a workflow ran on."""
    files = sorted(path for package in packages for path in package.rglob("*.py"))
    return hashlib.md5(b"\0".join(map(Path.read_bytes, files)), usedforsecurity=False).hexdigest()


def workflow_runner() -> SandboxedWorkflowRunner:
    """Return Temporal's sandbox, with our modules loaded once for all environments."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*_PASSED_THROUGH)
    )


async def run_worker(
    settings: Settings,
    *,
    prepare: Callable[[Client], Coroutine[Any, Any, None]] | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Poll for work until SIGTERM or SIGINT, then let running steps finish or hand them back.

    `prepare` is awaited before the worker polls, and `ready` is called once it polls.

    Raises:
        SettingsError: The clients cannot be built from the settings.
        NotConnected: Temporal cannot be used.
        ValueError: The metrics address cannot be listened on.

    An error that the SDK treats as fatal while the worker runs is raised as well.
    """

    @asynccontextmanager
    async def opened() -> AsyncIterator[_MakeWorkers]:
        async with open_clients(settings) as clients:
            yield lambda client: make_workers(client, clients, settings)

    await _run(settings, opened(), TASK_QUEUE, prepare=prepare, ready=ready)


async def run_host_worker(
    settings: HostWorkerSettings, host: str, *, ready: Callable[[], None] | None = None
) -> None:
    """Poll for the work on one host until SIGTERM or SIGINT; see `run_worker`."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[_MakeWorkers]:
        async with AsyncExitStack() as closing:
            hosts = open_hosts({host: settings.hosts[host]}, closing)
            yield lambda client: make_host_workers(client, host, hosts, settings)

    queue = system_queue(TASK_QUEUE, System.HOST_CLUSTER, host)
    await _run(settings, opened(), queue, ready=ready)


async def _run(
    settings: Settings | HostWorkerSettings,
    opened: AbstractAsyncContextManager[_MakeWorkers],
    task_queue: str,
    *,
    prepare: Callable[[Client], Coroutine[Any, Any, None]] | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    with _stop_on_signal() as stop, _runtime(settings) as runtime:
        metrics = WorkerMetrics(runtime.metric_meter) if settings.worker.metrics else None
        async with AsyncExitStack() as closing:
            make = await closing.enter_async_context(opened)
            client = await _unless_stopped(stop, _connected(settings, runtime, metrics))
            if client is None:
                return
            if metrics is not None:
                await closing.enter_async_context(measuring(metrics, settings, client))
            if prepare is not None:
                await _unless_stopped(stop, prepare(client))
            workers = make(client)
            running = [asyncio.create_task(worker.run()) for worker in workers]
            stopping = asyncio.create_task(stop.wait())
            log.info(
                "taking work",
                task_queue=task_queue,
                installation=settings.installation,
                version=settings.worker.version,
            )
            with _ready_file():
                if ready is not None:
                    ready()
                await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            log.info("stopping", grace=settings.worker.graceful_shutdown.total_seconds())
            # Shut all of them down, also when one has failed: the others then hand back their activities.
            await asyncio.gather(*(worker.shutdown() for worker in workers))
            await asyncio.gather(*running)
            log.info("stopped")


@contextmanager
def _runtime(settings: Settings | HostWorkerSettings) -> Iterator[Runtime]:
    """Yield the SDK's runtime. The traces of the block are exported; its metrics count the lost spans."""
    runtime = telemetry_runtime(settings.worker.metrics)
    dropped = runtime.metric_meter.create_counter(DROPPED_SPANS.name, DROPPED_SPANS.help)
    key_id = settings.encryption.keyring.first
    with exported_traces("moorage-worker", settings.installation, key_id, dropped.add):
        yield runtime


async def _connected(
    settings: Settings | HostWorkerSettings, runtime: Runtime, metrics: WorkerMetrics | None
) -> Client:
    on_refusal = metrics.count_refusal if metrics else None
    converter = data_converter(settings.encryption.keyring, on_refusal=on_refusal)
    client = await connect(converter, runtime=runtime)
    await check_namespace(client)
    return client


async def _unless_stopped(stop: asyncio.Event, coming: Coroutine[Any, Any, _Result]) -> _Result | None:
    """Return the result of `coming`, or None as soon as `stop` is set.

    This is needed because waiting for a server can take a while.
    """
    task, stopping = asyncio.create_task(coming), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None


@contextmanager
def _stop_on_signal() -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM, SIGINT or SIGHUP sets, from the first moment on."""
    loop, stop_event = asyncio.get_running_loop(), asyncio.Event()
    numbers = [signal.SIGTERM, signal.SIGINT]
    # A closed terminal (SIGHUP) stops the worker as well, unless it was started to outlive that (nohup).
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop_event.set)
    try:
        yield stop_event
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def _ready_file() -> Iterator[None]:
    """Keep the file that `MOORAGE_READY_FILE` names while the worker polls for work.

    Health checks use it, because a worker has no port that they could ask.
    """
    name = os.environ.get("MOORAGE_READY_FILE")
    file = Path(name) if name else None
    if file is not None:
        write_private(file, f"{os.getpid()}\n")
    try:
        yield
    finally:
        if file is not None:
            file.unlink(missing_ok=True)
