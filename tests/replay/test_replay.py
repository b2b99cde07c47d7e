"""Ensures that today's workflow code can take over every environment that earlier code began."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from tests.replay.record import HISTORIES, OF_THE_CAPACITY, PATHS
from workflows import saga, steps
from workflows.registry import WORKFLOWS


def history_at(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json("environment/replayed", path.read_text())


async def replay(path: Path) -> None:
    history = history_at(path)
    try:
        await Replayer(workflows=WORKFLOWS, data_converter=pydantic_data_converter).replay_workflow(history)
    except NondeterminismError as error:
        error.add_note(
            f"An environment that went the way of {path.stem} could not go on with this code: "
            "tests/replay/test_commands.py says how to guard a change."
        )
        raise


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
async def test_every_recorded_history_replays(path: Path) -> None:
    await replay(path)


def test_every_path_has_been_recorded() -> None:
    recorded = {path.stem for path in HISTORIES.glob("*.json")}
    missing = sorted({*PATHS, *OF_THE_CAPACITY} - recorded)
    assert not missing, f"run python -m tests.replay.record: no history of {missing}"


async def test_the_replay_finds_two_steps_that_changed_places(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = list(steps.STEPS)
    swapped[0], swapped[1] = swapped[1], swapped[0]
    monkeypatch.setattr(steps, "STEPS", tuple(swapped))
    with pytest.raises(NondeterminismError):
        await replay(HISTORIES / "deleted.json")


async def test_the_replay_finds_an_inspection_that_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_look(self: saga.Saga) -> tuple[tuple[()], tuple[()]]:
        return (), ()

    monkeypatch.setattr(saga.Saga, "_inspect", no_look)
    with pytest.raises(NondeterminismError):
        await replay(HISTORIES / "deleted.json")
