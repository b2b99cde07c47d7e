"""Runs a worker: registration, its limits, and a clean end."""

import asyncio
import functools
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.interceptor import ActivityEdge
from activities.registry import Clients, all_activities
from clients.private_files import write_private
from contracts.environment_workflow import TASK_QUEUE, undo_queue
from worker.client_factory import open_clients
from worker.connection import check_namespace, connect
from worker.data_converter import data_converter
from worker.settings.models import Settings
from worker.telemetry import telemetry_runtime
from workflows.registry import WORKFLOWS

#: A cancellation reaches an activity with the answer to its next heartbeat: this is how late it can be.
#: The SDK holds heartbeats back for up to a minute, to spare servers of thousands of activities.
HEARTBEAT_THROTTLE = timedelta(seconds=2)

#: Workflow tasks that are done at once. They are the processor's work, so more of them only take turns, and
#: each that takes longer than Temporal's ten seconds is done again: with the SDK's hundred, deleting 250
#: environments of which a worker had 100 in memory took 439 s, with these 257 s.
WORKFLOW_TASKS = 16

#: The sandbox would load these anew for each environment: 90 kB and half again as much processor time. What
#: it finds that way, a clock that is read in a module of ours, it finds in the tests: the replays load all
#: but the contracts anew. Builtins, and what is imported while a workflow runs, it restricts here as well.
_PASSED_THROUGH = ("contracts", "workflows")

_Result = TypeVar("_Result")

log = structlog.stdlib.get_logger("moorage.worker")


def make_workers(client: Client, clients: Clients, settings: Settings) -> tuple[Worker, Worker]:
    """One with all workflows and activities, and one for undos; each runs once its `run` is awaited.

    Steps that wait for minutes may hold all that the first one does at once. An undo never waits for them.
    """
    worker = functools.partial(
        Worker,
        client,
        activities=all_activities(clients, client),
        interceptors=[ActivityEdge()],
        max_concurrent_activities=settings.worker.max_concurrent_activities,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=settings.worker.graceful_shutdown,
    )
    does = worker(
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(),
        max_cached_workflows=settings.worker.max_cached_workflows,
        max_concurrent_workflow_tasks=WORKFLOW_TASKS,
    )
    return does, worker(task_queue=undo_queue(TASK_QUEUE))


def workflow_runner() -> SandboxedWorkflowRunner:
    """What runs workflows: Temporal's sandbox, with our modules loaded once for all environments."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*_PASSED_THROUGH)
    )


async def run_worker(
    settings: Settings,
    *,
    prepare: Callable[[Client], Coroutine[Any, Any, None]] | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Take work until SIGTERM or SIGINT, then let running steps finish or hand them back.

    `prepare` is awaited before any is taken, `ready` is called once it is. Raises SettingsError,
    NotConnected, or ValueError when it cannot begin, and what the SDK gives as fatal when it cannot go on.
    """
    with _told_to_stop() as stop:
        runtime = telemetry_runtime(settings.worker.metrics)
        async with open_clients(settings) as clients:
            client = await _unless(stop, _connected(settings, runtime))
            if client is None:
                return
            if prepare is not None:
                await _unless(stop, prepare(client))
            workers = make_workers(client, clients, settings)
            running = [asyncio.create_task(worker.run()) for worker in workers]
            stopping = asyncio.create_task(stop.wait())
            log.info("taking work", task_queue=TASK_QUEUE, installation=settings.installation)
            with _ready_file():
                if ready is not None:
                    ready()
                await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            log.info("stopping", grace=settings.worker.graceful_shutdown.total_seconds())
            # Also when one has failed: the other one hands back what it does.
            await asyncio.gather(*(worker.shutdown() for worker in workers))
            await asyncio.gather(*running)
            log.info("stopped")


async def _connected(settings: Settings, runtime: Runtime) -> Client:
    client = await connect(data_converter(settings.encryption.keyring), runtime=runtime)
    await check_namespace(client)
    return client


async def _unless(stop: asyncio.Event, coming: Coroutine[Any, Any, _Result]) -> _Result | None:
    """What `coming` gives, or None as soon as `stop` is set: waiting for a server can take a while."""
    task, stopping = asyncio.create_task(coming), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None


@contextmanager
def _told_to_stop() -> Iterator[asyncio.Event]:
    """An event that SIGTERM, SIGINT or SIGHUP sets, from the first moment on."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    numbers = [signal.SIGTERM, signal.SIGINT]
    # A closed terminal stops it as well, unless it was started to outlive that (nohup).
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, told.set)
    try:
        yield told
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def _ready_file() -> Iterator[None]:
    """While it takes work the file that `MOORAGE_READY_FILE` names is there: a worker has no port to ask."""
    name = os.environ.get("MOORAGE_READY_FILE")
    file = Path(name) if name else None
    if file is not None:
        write_private(file, f"{os.getpid()}\n")
    try:
        yield
    finally:
        if file is not None:
            file.unlink(missing_ok=True)
