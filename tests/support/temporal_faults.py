"""Faults in the calls to Temporal of a stack's worker and API: killed in a call, or without its answer.

The processes of a stack that is started `with_temporal_faults` run `tests.support.faulty_process`, which is
`moorage` with a client of Temporal that looks for faults.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedded.stack.fork_server import PYTHON
from embedded.stack.processes import ProcessSpecs
from embedded.stack.stack import Part, Stack
from embedded.stack.supervisor import ProcessSpec
from tests.support.deadline import pauses, soon
from tests.support.faulty_process import FAULTS_FILE, CallFault, read_faults, write_faults

_PARTS = (Part.WORKER, Part.API)


@contextmanager
def with_temporal_faults() -> Iterator[None]:
    """Let the worker and the API of stacks look for faults."""
    usual: Callable[[ProcessSpecs, Part], ProcessSpec] = ProcessSpecs.spec

    def spec(specs: ProcessSpecs, part: Part) -> ProcessSpec:
        found = usual(specs, part)
        if part not in _PARTS:
            return found
        return dataclasses.replace(
            found,
            command=[*PYTHON, "tests.support.faulty_process", *found.command[len(PYTHON) + 1 :]],
            environment={**found.environment, FAULTS_FILE: str(_file(specs.ready_file.parent, part))},
        )

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ProcessSpecs, "spec", spec)
        yield


def fault_calls(stack: Stack, part: Part, *faults: CallFault) -> None:
    """Replace the faults of the part by these; each strikes one call."""
    write_faults(_file(stack.folder, part), faults)


async def struck(stack: Stack, part: Part) -> None:
    """Wait until each fault of the part has struck its call."""
    file = _file(stack.folder, part)
    async with soon(f"there was no call for {read_faults(file)}"):
        for pause in pauses(0.05, 0.2):
            if not read_faults(file):
                return
            await asyncio.sleep(pause)


def _file(folder: Path, part: Part) -> Path:
    return folder / f"temporal-faults-of-{part.lower()}.json"
