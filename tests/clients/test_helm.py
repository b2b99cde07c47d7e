"""Calls of Helm in their few threads: which wait for which, and what becomes of one that is cancelled."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from clients.errors import (
    AlreadyExists,
    ClientError,
    DeadlineExceeded,
    Denied,
    Rejected,
    ServerFailed,
    Unreachable,
)
from clients.helm.chart_store import THREADS, ChartStore
from clients.helm.client import HelmSdk, map_helm_error
from clients.host.models import Chart
from clients.kubernetes.auth.credentials import CredentialSource
from clients.transport.write_deadline import set_deadline_check
from tests.clients.kubernetes.test_access import kubeconfig
from tests.support.deadline import HANG, soon


class Gate:
    """In place of Helm's SDK: each call stands here, in its thread, until the gate is opened."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.calls = 0
        self.open = threading.Event()

    def Config(self, **_: object) -> Any:  # noqa: N802 - the SDK calls it so
        self.calls += 1
        self.came.release()
        self.open.wait()
        raise Denied("host cluster h", "uninstall", "this is all that was to be seen")


@pytest.fixture
def one_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def gate(one_thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr("clients.helm.client.sdk", lambda: gate)
    yield gate
    gate.open.set()


@pytest.fixture
def helm(gate: Gate, one_thread: ThreadPoolExecutor, tmp_path: Path) -> HelmSdk:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig()))
    return HelmSdk("host cluster h", CredentialSource(path), cast(ChartStore, None), one_thread)


@pytest.fixture
async def running(gate: Gate, helm: HelmSdk) -> asyncio.Task[None]:
    """An uninstall that is under way, in the only thread."""
    running = asyncio.create_task(helm.uninstall("n", "running"))
    assert await asyncio.to_thread(gate.came.acquire, timeout=HANG)
    return running


async def test_one_that_waits_for_a_thread_is_not_made_when_it_is_cancelled(
    gate: Gate, helm: HelmSdk, running: asyncio.Task[None]
) -> None:
    waiting = asyncio.create_task(helm.uninstall("n", "waiting"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=HANG)
    assert waiting.cancelled(), "a cancelled call still waits for a thread"
    gate.open.set()
    for last in (running, asyncio.create_task(helm.uninstall("n", "last"))):
        with pytest.raises(Denied):
            await last
    assert gate.calls == 2, "it was made all the same, after its caller had gone"


async def test_one_whose_time_was_over_before_it_got_a_thread_is_not_made(
    gate: Gate, helm: HelmSdk, running: asyncio.Task[None]
) -> None:
    late = False

    async def uninstall_in_time() -> None:
        set_deadline_check(lambda: late)
        await helm.uninstall("n", "waiting")

    waiting = asyncio.create_task(uninstall_in_time())
    await asyncio.sleep(0.1)
    late = True
    gate.open.set()
    with pytest.raises(DeadlineExceeded):
        await waiting
    with pytest.raises(Denied):
        await running
    assert gate.calls == 1, "it was made although its caller's time was over"


async def test_one_that_runs_is_seen_to_its_end_when_it_is_cancelled(
    gate: Gate, running: asyncio.Task[None]
) -> None:
    for _ in range(2):
        running.cancel()
        await asyncio.wait({running}, timeout=0.2)
        assert not running.done(), "it is left behind in its thread"
    gate.open.set()
    await asyncio.wait({running}, timeout=HANG)
    assert running.cancelled()


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """A chart repository that takes connections and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_chart_repository_that_hangs_holds_up_no_uninstall(silent: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig()))
    charts = ChartStore()
    with ThreadPoolExecutor(THREADS) as threads:
        helm = HelmSdk("host cluster h", CredentialSource(path), charts, threads)
        waiting = [
            asyncio.create_task(helm.check(Chart(silent, f"dock-{number}", "1.2.3"), {}))
            for number in range(2 * THREADS)
        ]
        await asyncio.sleep(0.1)
        # No server listens at that host, which Helm reports at once: the error shows that it had its turn.
        with pytest.raises(Unreachable, match="refused"):
            async with soon("an uninstall waits for a chart repository"):
                await helm.uninstall("n", "x")
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        await charts.close()


#: As Helm 4.2 hands on what API servers say.
PREFIX = "create: failed to create: "


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f'{PREFIX}admission webhook "p.example" denied the request: Unauthorized registry', Rejected),
        (
            f"{PREFIX}pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with "
            "binding 'b' denied request: no",
            Rejected,
        ),
        (f'{PREFIX}pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is 2', Rejected),
        (f'{PREFIX}services "x" is forbidden: exceeded quota: moorage, requested: services=1', Rejected),
        (f'{PREFIX}roles "x" is forbidden: User "a" cannot create resource "roles" in API group ""', Denied),
        (
            f'{PREFIX}roles "x" is forbidden: user "a" (groups=["b"]) is attempting '
            "to grant RBAC permissions not "
            "currently held",
            Denied,
        ),
        (f"{PREFIX}Unauthorized", Denied),
        (
            f'{PREFIX}Internal error occurred: failed calling webhook "x": failed to call webhook: Post '
            '"https://x.y.svc:443/?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused',
            ServerFailed,
        ),
        (
            f'{PREFIX}Internal error occurred: failed calling webhook "x": Post '
            '"https://x": context deadline exceeded',
            ServerFailed,
        ),
        (
            f'{PREFIX}secrets "x" is forbidden: status unknown for quota: moorage, resources: secrets',
            ServerFailed,
        ),
        (f"{PREFIX}etcdserver: leader changed", ServerFailed),
        (f'{PREFIX}Operation cannot be fulfilled on secrets "x": the object has been modified', ServerFailed),
        ("cannot re-use a name that is still in use", AlreadyExists),
    ],
)
def test_what_helm_says_is_classified(text: str, kind: type[ClientError]) -> None:
    """Ensures that a policy's refusal renews no credentials, and that a temporary one is tried again."""
    error = map_helm_error("host cluster h", "install release x", RuntimeError(text))
    assert type(error) is kind
