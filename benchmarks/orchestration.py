"""Orchestration time per step: from an activity's completion to the next one's start, against the floor."""

import statistics
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from benchmarks.support.floor import TASK_QUEUE, BareWorkflow, Calls
from benchmarks.support.harness import floor_worker, ground
from contracts.types.naming import workflow_id

#: Steps of an environment with an identity provider.
STEPS = 8
TARGET = 1.5


async def measure(folder: Path, runs: int = 20) -> dict[str, Any]:
    """Alternate between one environment and one bare workflow, `runs` times each; the median of each step."""
    ours: list[float] = []
    bare: list[float] = []
    async with ground(folder) as here, floor_worker(here):
        for number in range(runs + 2):
            name = f"one-{number}"
            await here.request(name)
            await here.until(f"WorkflowId = '{workflow_id(name)}' AND EnvPhase = 'ready'", 1)
            own = await _gaps(here.client.get_workflow_handle(workflow_id(name)))
            await here.gone([name])
            handle = await here.bare.start_workflow(
                BareWorkflow.run, [Calls()] * STEPS, id=f"bare-{number}", task_queue=TASK_QUEUE
            )
            await handle.result()
            floor = await _gaps(handle)
            if number >= 2:  # the first ones of a process pay for its imports
                ours.append(statistics.mean(own))
                bare.append(statistics.mean(floor))
    ratio = statistics.median(ours) / statistics.median(bare)
    return {
        "what": "orchestration per step",
        "ours_ms": round(statistics.median(ours), 2),
        "floor_ms": round(statistics.median(bare), 2),
        "ours_min_ms": round(min(ours), 2),
        "floor_min_ms": round(min(bare), 2),
        "runs": runs,
        "ratio": round(ratio, 2),
        "target": f"<= {TARGET}",
        "reached": ratio <= TARGET,
    }


async def _gaps(handle: WorkflowHandle[Any, Any]) -> list[float]:
    """Milliseconds between each activity's completion and the next one's start, from the history."""
    completed: float | None = None
    gaps: list[float] = []
    async for event in handle.fetch_history_events():
        moment = event.event_time.ToNanoseconds() / 1e6
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            completed = moment
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED and completed is not None:
            gaps.append(moment - completed)
            completed = None
    return gaps[: STEPS - 1]
