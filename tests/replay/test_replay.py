"""Ensures that today's workflow code can take over every environment that earlier code began."""

import ast
import shutil
import sys
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from contracts.environment.models import Finding
from tests.replay.record import (
    HISTORIES,
    OF_ENDED_BOOKING,
    OF_GIVEN_UP,
    OF_LOST_LIFE,
    OF_LOST_START,
    OF_THE_BOOKINGS,
    OF_THE_CAPACITY,
    OF_THE_POOLS,
    PATHS,
)
from worker.runner import workflow_runner
from workflows import saga, steps
from workflows.registry import HOST_WORKFLOWS, WORKFLOWS


def history_at(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json("environment/replayed", path.read_text())


async def replay(path: Path, runner: WorkflowRunner) -> None:
    history = history_at(path)
    replayer = Replayer(
        workflows=[*WORKFLOWS, *HOST_WORKFLOWS],
        data_converter=pydantic_data_converter,
        workflow_runner=runner,
    )
    try:
        await replayer.replay_workflow(history)
    except NondeterminismError as error:
        error.add_note(
            f"An environment that went the way of {path.stem} could not go on with this code: "
            "tests/replay/test_commands.py says how to guard a change."
        )
        raise


#: Two waits end in one turn there. Since Python 3.12 `asyncio.wait_for` takes a turn less, so another goes on
#: first; docs/how-to/upgrade.md says so.
ONLY_ON_3_11 = {"capacity-lost-life"}


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
async def test_every_recorded_history_replays(path: Path) -> None:
    if path.stem in ONLY_ON_3_11 and sys.version_info >= (3, 12):
        pytest.skip("its order of waits is that of Python 3.11")
    # In the whole sandbox: whatever of ours reads a clock, a random number or a file is found here.
    await replay(path, SandboxedWorkflowRunner())


def test_every_path_has_been_recorded() -> None:
    recorded = {path.stem for path in HISTORIES.glob("*.json")}
    missing = sorted(
        {
            *PATHS,
            *OF_THE_CAPACITY,
            *OF_THE_POOLS,
            *OF_THE_BOOKINGS,
            *OF_ENDED_BOOKING,
            *OF_LOST_START,
            *OF_LOST_LIFE,
            *OF_GIVEN_UP,
        }
        - recorded
    )
    assert not missing, f"run python -m tests.replay.record: no history of {missing}"


async def test_the_replay_finds_two_steps_that_changed_places(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = list(steps.STEPS)
    swapped[0], swapped[1] = swapped[1], swapped[0]
    monkeypatch.setattr(steps, "STEPS", tuple(swapped))
    with pytest.raises(NondeterminismError):
        await replay(HISTORIES / "deleted.json", workflow_runner())


async def test_the_replay_finds_an_inspection_that_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_look(self: saga.Saga, step: steps.Step) -> Finding:
        return Finding(step=step.name, system=step.system)

    monkeypatch.setattr(saga.Saga, "_inspect_step", no_look)
    with pytest.raises(NondeterminismError):
        await replay(HISTORIES / "deleted.json", workflow_runner())


def test_no_module_of_a_workflow_is_hidden_from_the_sandbox() -> None:
    hidden = [
        f"{path.name} imports {node.module}"
        for path in sorted(Path(saga.__file__).parent.rglob("*.py"))
        for block in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(block, ast.With)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workflows")
    ]
    assert not hidden, f"within imports_passed_through, where the replays cannot see what it does: {hidden}"


async def test_the_replay_finds_a_clock_that_is_read_in_any_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = tmp_path / "workflows"
    shutil.copytree(Path(saga.__file__).parent, mutant)
    source = (mutant / "saga.py").read_text(encoding="utf-8")
    read = "workflow.now() + self._timeouts.give_up_after"
    assert read in source, "the mutation does not fit the code any more"
    source = source.replace(read, "datetime.now().astimezone() + self._timeouts.give_up_after")
    (mutant / "saga.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match=r"datetime\.now"):
        await replay(HISTORIES / "deleted.json", SandboxedWorkflowRunner())
