"""The embedded stack: one at a time, its state kept, and no process left however it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from embedded.asgi_server import listening_socket
from embedded.faults import CALLS_PATH, Fault, FaultKind
from embedded.stack.options import STAND_INS
from embedded.stack.processes import ISSUERS_FILE, ProcessSpecs
from embedded.stack.stack import AlreadyRunning, ChildFailed, Options, Part, Stack, StackError, up
from embedded.stack.state_dir import StackFolder, free_port
from embedded.stack.supervisor import get
from tests.lifecycle.environment_client import Asking
from tests.support.deadline import HANG
from tests.support.stack import hurried
from tests.support.stand_ins import CHECKOUT, TLS, control, set_faults

pytestmark = pytest.mark.slow

#: Longest wait for what should take a second or two.
MAX_WAIT = HANG
#: One that ends with its parent by itself, and one that knows nothing of parents.
MIXED = (Part.CONTROL_PLANE, Part.TEMPORAL)


def small(**changes: object) -> Options:
    """The part that starts quickest and needs no other one; what holds for it holds for all."""
    return hurried(parts=frozenset({Part.CONTROL_PLANE}), **changes)


def processes_of(folder: Path) -> list[psutil.Process]:
    """All living processes whose command or environment names the folder, or that hold its lock."""
    found = []
    for process in psutil.process_iter():
        try:
            texts = (*process.cmdline(), *process.environ().values())
            files = [file.path for file in process.open_files()]
            living = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if living and any(str(folder) in text for text in (*texts, *files)):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a stack in `tmp_path / "state"` as its own process, and wait until it is up."""
    with a_stack(tmp_path / "state", MIXED) as process:
        yield process


@contextmanager
def a_stack(folder: Path, parts: Sequence[Part]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.run_stack", str(folder), *parts],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    assert process.stdout is not None
    try:
        if not any(line.startswith("logs ") for line in iter(process.stdout.readline, "")):
            _, err = process.communicate(timeout=MAX_WAIT)
            pytest.fail(f"it did not start: {err}")
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=MAX_WAIT)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stops_on_a_signal(running: subprocess.Popen[str], tmp_path: Path, how: signal.Signals) -> None:
    """Ensures that a stopped stack ends all its processes before it ends itself, with 0."""
    assert len(processes_of(tmp_path / "state")) == len(MIXED) + 2
    running.send_signal(how)
    out, err = running.communicate(timeout=MAX_WAIT)
    assert (running.returncode, err) == (0, "")
    assert out.endswith("Stopping.\n")
    assert processes_of(tmp_path / "state") == []
    assert not (tmp_path / "state" / "connection.json").exists()


def test_killed(tmp_path: Path) -> None:
    """Ensures that nothing outlives a stack that is killed, and that the next one starts from its state."""
    folder = tmp_path / "state"
    with a_stack(folder, [*STAND_INS, Part.TEMPORAL, Part.WORKER]) as process:
        process.kill()
        process.wait()
        # At once: the lock tells that the first one's processes are still on their way out.
        with a_stack(folder, [Part.CONTROL_PLANE]):
            names = sorted(process.name() for process in processes_of(folder))
            # A name has 15 characters.
            assert [name for name in names if not name.startswith("python")] == ["stand-in server"]
    assert processes_of(folder) == []


def test_a_part_ends_by_itself(running: subprocess.Popen[str], tmp_path: Path) -> None:
    """Ensures that when one part ends the rest is stopped, and the error names the part."""
    [server] = [process for process in processes_of(tmp_path / "state") if "start-dev" in process.cmdline()]
    server.kill()
    _, err = running.communicate(timeout=MAX_WAIT)
    assert running.returncode == 1
    assert "the Temporal server ended by itself; its log is " in err
    assert processes_of(tmp_path / "state") == []


async def test_whole(stack: Stack) -> None:
    """Ensures that all parts work together, and that the API serves only callers with a token."""
    port = port_of(stack, Part.API)
    assert (await get(port, "/readyz"))[0] == 200
    assert (await get(port, "/docs"))[0] == 200
    assert (await get(port, "/api/v1/templates"))[0] == 401
    async with httpx.AsyncClient(base_url=stack.api_url, trust_env=False, verify=TLS) as http:
        bobs = {"Authorization": f"Bearer {stack.token_of('bob@example.com')}"}
        answer = await http.get("/api/v1/templates", headers=bobs)
    assert "small" in {template["name"] for template in answer.json()["templates"]}


async def test_operators_commands_find_it(stack: Stack) -> None:
    """Ensures that the file of variables is all that setup and doctor need to find every system well."""
    for verb in ("setup", "doctor"):
        command = f". {stack.folder / 'environment'} && {sys.executable} -m moorage {verb}"
        process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE, cwd=CHECKOUT)
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()


async def test_second_one_is_refused(tmp_path: Path) -> None:
    """Ensures that a second stack in the same folder says that one is running, and where."""
    async with Stack(tmp_path, small()) as stack:
        with pytest.raises(AlreadyRunning) as error:
            async with Stack(tmp_path, small(fresh=True)):
                pass
        assert stack.api_url in str(error.value)
        assert stack.ui_url in str(error.value)
        assert str(os.getpid()) in str(error.value)
        assert (await get(port_of(stack, Part.CONTROL_PLANE), "/"))[0] != 0


async def test_state_is_kept(tmp_path: Path) -> None:
    """Ensures that names, secrets and ports are those of the last run, so that kubeconfigs go on working."""
    async with Stack(tmp_path, small()) as stack:
        first = stack.env
        connection = json.loads((tmp_path / "connection.json").read_text())
        assert connection == {"url": stack.api_url, "token": stack.token, "person": "alice@example.com"}
        kept = (tmp_path / "control-plane.sqlite").stat().st_ino
    assert not (tmp_path / "connection.json").exists()
    async with Stack(tmp_path, small()) as stack:
        assert stack.env == first
        assert (tmp_path / "control-plane.sqlite").stat().st_ino == kept


async def test_fresh(tmp_path: Path) -> None:
    """Ensures that --fresh removes what the stack has made, and nothing else."""
    (tmp_path / "mine.txt").write_text("not the stack's")
    async with Stack(tmp_path, small()) as stack:
        first = stack.env
    async with Stack(tmp_path, small(fresh=True)) as stack:
        assert stack.installation != first["MOORAGE_INSTALLATION"]
        assert stack.env["MOORAGE_CONTROL_PLANE__API_KEY"] != first["MOORAGE_CONTROL_PLANE__API_KEY"]
    assert (tmp_path / "mine.txt").read_text() == "not the stack's"


async def test_secrets_are_their_owners_only(tmp_path: Path) -> None:
    """Ensures that no file of the stack can be read by anybody else."""
    async with Stack(tmp_path / "state", small()) as stack:
        modes = modes_in(stack.folder)
    names = {"state.json", "tokens.yaml", "connection.json", "stand-in-server.log", "control-plane.sqlite"}
    assert names <= set(modes)
    assert {name for name, mode in modes.items() if mode & 0o077} == set()


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode for path in folder.rglob("*") if path.is_file()}


async def test_given_ports(tmp_path: Path) -> None:
    """Ensures that given ports are used, and that the error for a taken one says what to do."""
    with listening_socket() as sock:
        taken = sock.getsockname()[1]
        with pytest.raises(StackError, match=f"port {taken} for the API is taken"):
            async with Stack(tmp_path, small(api_port=taken)):
                pass
    async with Stack(tmp_path, small(api_port=taken)) as stack:
        assert stack.api_url == f"http://127.0.0.1:{taken}"


def test_a_port_for_two(tmp_path: Path) -> None:
    """Ensures that a port requested twice is refused, and that two parts may swap ports between starts."""
    first, second = free_port(), free_port()
    with opened(tmp_path) as folder:
        assert (folder.port("API", first), folder.port("Web UI", second)) == (first, second)
    with opened(tmp_path) as folder:
        assert (folder.port("API", second), folder.port("Web UI", first)) == (second, first)
        with pytest.raises(StackError, match=f"port {second} for the server is taken by the API"):
            folder.port("server", second)
    with opened(tmp_path) as folder:
        assert (folder.port("API", first), folder.port("Web UI")) != (first, first)


@contextmanager
def opened(path: Path) -> Iterator[StackFolder]:
    folder = StackFolder(path)
    folder.open(fresh=False)
    yield folder
    folder.close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """Ensures that a file in place of the folder is reported in one sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot be used: Not a directory"):
        StackFolder(tmp_path / "file").open(fresh=False)


async def test_settings_of_others_do_not_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a stack never talks to the real systems that its caller has set up."""
    monkeypatch.setenv("MOORAGE_IDENTITY__URL", "https://real.example")
    monkeypatch.setenv("TEMPORAL_API_KEY", "real")
    async with Stack(tmp_path, small()) as stack:
        assert "MOORAGE_IDENTITY__URL" not in stack.env
        assert "TEMPORAL_API_KEY" not in stack.env


def test_the_temporal_server_has_a_variable_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        specs = ProcessSpecs(folder, Options(environment_of={Part.TEMPORAL: {"ITS_OWN": "1"}}))
        assert specs.spec(Part.TEMPORAL).environment["ITS_OWN"] == "1"
        assert "ITS_OWN" not in specs.settings()


def test_the_api_trusts_the_provider_by_the_options_that_it_has(tmp_path: Path) -> None:
    given = {"audience": "another-api", "client_id": "another"}
    folder = StackFolder(tmp_path)
    folder.open(fresh=False)
    try:
        ProcessSpecs(folder, Options(stand_ins={Part.OPENID_PROVIDER: given})).write_sign_in()
    finally:
        folder.close()
    [issuer] = json.loads((tmp_path / ISSUERS_FILE).read_text())["issuers"]
    assert {name: issuer[name] for name in given} == given


async def test_a_part_does_not_start(tmp_path: Path) -> None:
    """Ensures that a failed start names the part, its log and the reason, and leaves nothing running."""
    options = hurried(
        parts=frozenset({Part.HOST, Part.CONTROL_PLANE}),
        # An address that is none of this machine.
        stand_ins={Part.HOST: {"virtual_address": "192.0.2.1:1"}},
    )
    expected = r"the stand-in server ended at its start; its log is .*stand-in-server\.log"
    with pytest.raises(ChildFailed, match=expected) as error:
        async with Stack(tmp_path / "state", options):
            pass
    assert "the stand-ins cannot start: " in str(error.value)
    assert processes_of(tmp_path / "state") == []


class StackOfASilentHost(Stack):
    """One whose host does not answer the first `times` looks at what it has, or none if `times` is None."""

    def __init__(self, folder: Path, options: Options, *, times: int | None = None) -> None:
        super().__init__(folder, options)
        self._times = times
        self._host_is_there = asyncio.Event()

    async def start(self, part: Part) -> None:
        """Start the part; the worker after the host."""
        if part is Part.WORKER:
            await self._host_is_there.wait()
            fault = Fault(operation="node.list", kind=FaultKind.STATUS, status=500, times=self._times)
            set_faults(self.url(Part.HOST), fault)
        await super().start(part)
        if part in STAND_INS:
            self._host_is_there.set()


async def test_environments_can_be_requested_once_a_stack_has_started(tmp_path: Path) -> None:
    """Ensures that no request meets a host that has not reported yet, however late it does."""
    times = 8
    options = hurried(environment={"MOORAGE_CAPACITY__AUDIT": "1s"})
    async with StackOfASilentHost(tmp_path, options, times=times) as stack, Asking(stack) as asking:
        assert control(stack.url(Part.HOST), "GET", CALLS_PATH)["node.list"] > times
        body = {"name": "first", "template": "small"}
        answer = await asking.call("POST", "/environments", json=body)
        assert answer.status_code == 202, answer.text


async def test_a_host_that_never_reports_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedded.stack.stack.REPORT_SECONDS", 2.0)
    expected = (
        r"not reported what it has within 2 s \(the API's status is 200\); see .*worker\.log and .*API\.log"
    )
    with pytest.raises(StackError, match=expected):
        async with StackOfASilentHost(tmp_path / "state", hurried()):
            pass
    assert processes_of(tmp_path / "state") == []


async def test_up_leaves_a_stack_running_that_cannot_place_anything_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that the operator can make the version of a worker current that has no work yet."""
    monkeypatch.setattr("embedded.stack.stack.REPORT_SECONDS", 2.0)
    shown: list[str] = []
    said = asyncio.Event()

    def show(text: str) -> None:
        shown.append(text)
        if "Nothing can be requested yet" in text:
            said.set()

    options = hurried(environment={"MOORAGE_WORKER__VERSION": "1.5.0"})
    running = asyncio.create_task(up(tmp_path / "state", options, show))
    async with asyncio.timeout(MAX_WAIT):
        await said.wait()
    assert not running.done()
    assert not any("Ready" in text for text in shown)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, MAX_WAIT)


async def test_parts_come_and_go(tmp_path: Path) -> None:
    """Ensures that a part can be killed and started again on the same port, and that this is no failure."""
    async with Stack(tmp_path, small()) as stack:
        failed = asyncio.create_task(stack.wait_for_failure())
        port, first = port_of(stack, Part.CONTROL_PLANE), stack.pid(Part.CONTROL_PLANE)
        await stack.kill(Part.CONTROL_PLANE)
        assert await get(port, "/") == (0, b"")
        await stack.start(Part.CONTROL_PLANE)
        await stack.restart(Part.CONTROL_PLANE)
        assert (await get(port, "/"))[0] != 0
        assert stack.pid(Part.CONTROL_PLANE) != first
        assert not failed.done()

        os.kill(stack.pid(Part.CONTROL_PLANE), signal.SIGKILL)
        with pytest.raises(ChildFailed, match="the stand-in server ended by itself"):
            await asyncio.wait_for(failed, MAX_WAIT)


async def test_worker_and_stand_ins_give_way_to_the_api(tmp_path: Path) -> None:
    """Ensures that people's reads come before the work on environments, where all share a few cores."""
    parts = frozenset({Part.TEMPORAL, Part.CONTROL_PLANE, Part.HOST, Part.WORKER})
    async with Stack(tmp_path, hurried(parts=parts, background_niceness=3)) as stack:
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        niceness = {part: os.getpriority(os.PRIO_PROCESS, stack.pid(part)) - usual for part in parts}
    assert niceness == {Part.TEMPORAL: 0, Part.CONTROL_PLANE: 3, Part.HOST: 3, Part.WORKER: 3}


async def test_a_stand_in_with_its_own_process_is_killed_alone(tmp_path: Path) -> None:
    """Ensures that a test can take one stand-in away and leave the others."""
    parts = frozenset({Part.CONTROL_PLANE, Part.HOST})
    async with Stack(tmp_path, hurried(parts=parts, own_process=frozenset({Part.HOST}))) as stack:
        await stack.kill(Part.HOST)
        assert await get(port_of(stack, Part.HOST), "/") == (0, b"")
        assert (await get(port_of(stack, Part.CONTROL_PLANE), "/"))[0] != 0
        await stack.start(Part.HOST)
        assert (await get(port_of(stack, Part.HOST), "/"))[0] != 0


def port_of(stack: Stack, part: Part) -> int:
    return int(stack.url(part).rpartition(":")[2])
