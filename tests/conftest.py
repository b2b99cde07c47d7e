"""Servers that tests share for the whole session; how to use them is written in `tests.support.stack`."""

import gc
import os
import re
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from structlog.dev import ConsoleRenderer, plain_traceback
from temporalio.testing import WorkflowEnvironment
from xdist.scheduler import LoadFileScheduling

from embedded.stack import supervisor
from embedded.stack.stack import Stack
from tests.api.caller import Caller, calling
from tests.support.pending_tasks import pending_tasks
from tests.support.processes import disown_fork_server, fork_launcher, own_fork_server
from tests.support.stack import ALICE, BOB, CAROL, DAVE, hurried
from tests.support.temporal_server import running_temporal_server
from tests.support.worker_processes import with_workers
from worker.data_converter import PLAIN


@pytest.fixture(scope="session")
async def temporal_server() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal server as the product runs it, in memory."""
    async with running_temporal_server(PLAIN) as environment:
        yield environment


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A whole stack, in a hurry."""
    async with Stack(tmp_path_factory.mktemp("stack"), hurried()) as stack, with_workers(stack):
        yield stack


@pytest.fixture
async def alice(stack: Stack) -> AsyncIterator[Caller]:
    """Of the platform team; team blue."""
    async with calling(stack, ALICE.email) as caller:
        yield caller


@pytest.fixture
async def bob(stack: Stack) -> AsyncIterator[Caller]:
    """A developer of team blue."""
    async with calling(stack, BOB.email) as caller:
        yield caller


@pytest.fixture
async def carol(stack: Stack) -> AsyncIterator[Caller]:
    """A developer of team blue."""
    async with calling(stack, CAROL.email) as caller:
        yield caller


@pytest.fixture
async def dave(stack: Stack) -> AsyncIterator[Caller]:
    """A developer of team green."""
    async with calling(stack, DAVE.email) as caller:
        yield caller


@pytest.fixture
async def stranger(stack: Stack) -> AsyncIterator[Caller]:
    """A caller without a token."""
    async with calling(stack, None) as caller:
        yield caller


@pytest.fixture
def stopped_throttles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock of this process's rate limits, which allow more the longer a test takes."""
    now = time.monotonic()
    monkeypatch.setattr("starter.auth.rate_limit.time", SimpleNamespace(monotonic=lambda: now))


#: No example has to be done in a certain time: machines are busy.
settings.register_profile("moorage", deadline=None)
settings.load_profile("moorage")


#: Variables that configure the product for the person who runs the tests. Those of tests begin with `TEST_`.
PERSONAL_VARIABLES = ("MOORAGE_", "OTEL_", "KUBECONFIG", "TRACEPARENT")


def pytest_configure() -> None:
    """Keep a person's settings out of the tests, log as the product does, and share the fork server."""
    for name in [name for name in os.environ if name.startswith(PERSONAL_VARIABLES)]:
        del os.environ[name]
    # As in the product. The own format of structlog has the local variables of all frames: for one error of
    # the API it takes five seconds of processor.
    ConsoleRenderer.get_active().exception_formatter = plain_traceback
    own_fork_server()
    # Each process of a run starts stacks; a separate launcher takes four seconds of processor for imports.
    supervisor._start_launcher = fork_launcher  # type: ignore[assignment]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is imported and collected out of garbage collection: it stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say what a test waited for whose time was over."""
    report = yield
    if call.excinfo and str(call.excinfo.value).startswith("Timeout (>"):
        report.sections.append((f"Pending tasks of {item.name}", "\n".join(pending_tasks())))
    return report


def pytest_unconfigure() -> None:
    """Remove what they shared; the server ends with this process."""
    disown_fork_server()


#: Where tests take long: started last, one of them would keep one process busy when the others are done.
LONGEST = (
    "runbook",
    "test_install.py",
    "test_client_package.py",
    "lifecycle",
    "workflows",
    "activities",
    "api",
    "cli",
    "starter",
    "worker",
    "embedded",
    "chaos",
    "replay",
)
#: Files whose tests share nothing: alone, one process would take too long for one of them.
DIVIDED = ("tests/runbook/test_runbook.py", "tests/test_install.py")
_ROOT = Path(__file__).parent
#: Fixtures that run a Temporal server, and what a module imports that starts one itself.
RUNNING = {"temporal_server", "stack", "plain_stack", "house", "ground"}
STARTERS = ("Stack", "WorkflowEnvironment", "running_temporal_server", "a_house", "a_bench", "Bench")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give whole files to each process, because their tests share servers; of `DIVIDED` single tests."""
    if config.option.dist != "loadfile":
        return None
    scheduler = LoadFileScheduling(config, log)
    file_of = scheduler._split_scope
    scheduler._split_scope = lambda nodeid: nodeid if nodeid.startswith(DIVIDED) else file_of(nodeid)
    return scheduler


#: What marks all tests of a file as slow.
_ALL_SLOW = re.compile(r"^pytestmark = .*pytest\.mark\.slow", re.MULTILINE)
#: Folders whose `conftest.py` marks every test in them with the folder's own name.
MARKED_WHOLE = ("e2e", "chart", "keycloak", "ui")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what `-m` leaves out whole: every process of a run would import it, even a browser."""
    folder, chosen = collection_path.name, config.option.markexpr
    if collection_path.parent == _ROOT and folder in MARKED_WHOLE:
        return f"not {folder}" in chosen or None
    if collection_path.suffix != ".py" or "slow" not in chosen:
        return None
    text = collection_path.read_text(encoding="utf-8")
    is_left_out = _ALL_SLOW.search(text) if "not slow" in chosen else "pytest.mark.slow" not in text
    return bool(is_left_out) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, each file's tests in their own order; mark those that may run a stack."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & RUNNING or any(hasattr(getattr(item, "module", None), name) for name in STARTERS):
            item.add_marker(pytest.mark.stack)
    order = {folder: number for number, folder in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(_ROOT).parts[0], len(order)))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a set by its sorted members: all processes of a run must collect the same names."""
    return " ".join(sorted(map(str, val))) or "none" if isinstance(val, set | frozenset) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse tests whose order differs between the processes of a run."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if isinstance(mark.args[1], set | frozenset):
            pytest.fail(f"sort the values of {mark.args[0]}: a set has another order in each process")
        values = (each for row in mark.args[1] for each in (row if isinstance(row, tuple) else (row,)))
        has_set = any(isinstance(each, set | frozenset) for each in values)
        if has_set and mark.kwargs.get("ids") in (str, repr):
            pytest.fail(f"give {mark.args[0]} no ids of sets: their order differs in each process")
