"""Records one history for every path a life can take: `python -m tests.replay.record` adds what is missing.

When the replay test fails on histories that are there already, the workflow has
changed in a way that running environments cannot follow: guard the change with `workflow.patched`, do not
record over it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from contracts.environment import Phase, StepName
from contracts.messages import ByPerson, EnvironmentStart, ExtendInput
from embedded.temporal_server import extra_arguments, find_server
from tests.workflows.conftest import HURRY, Bench, Life, a_bench, a_start, until
from tests.workflows.scripted import fails, fails_for_good, waits
from tests.workflows.sweeping import SWEPT, lives_by
from workflows.environment import EnvironmentWorkflow

HISTORIES = Path(__file__).parent / "histories"
BY_ALICE = ByPerson(who="alice@example.com")

LifePath = Callable[[Bench, str], Awaitable[Life]]


async def _ready(life: Life) -> None:
    async def there() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(there, "it became ready")


async def _deleted(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _without_identity_provider(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name, identity=False))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _cancelled_in_temporal_when_ready(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name))
    await _ready(life)
    await life.handle.cancel()
    return life


def _failed(step: StepName) -> LifePath:
    async def path(bench: Bench, name: str) -> Life:
        bench.script.after[f"{step}.ensure"] = fails_for_good()
        return await bench.begin(a_start(name))

    return path


def _cancelled(step: StepName) -> LifePath:
    async def path(bench: Bench, name: str) -> Life:
        bench.script.before[f"{step}.ensure"] = waits
        life = await bench.begin(a_start(name))
        await bench.script.started[f"{step}.ensure"].wait()
        await life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE)
        return life

    return path


async def _torn_down_in_passes(bench: Bench, name: str) -> Life:
    bench.script.before["import.remove"] = fails(3)
    life = await bench.begin(
        a_start(name, pace=HURRY.model_copy(update={"longest_undo": HURRY.first_retry * 3}))
    )
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _resumed(bench: Bench, name: str) -> Life:
    bench.script.before["identity.remove"] = fails_for_good()
    pace = HURRY.model_copy(update={"give_up_after": HURRY.first_pause * 5})
    life = await bench.begin(a_start(name, pace=pace))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)

    async def stuck() -> bool:
        return (await life.status()).phase is Phase.TEARDOWN_INCOMPLETE

    await until(stuck, "it gave up the teardown")
    del bench.script.before["identity.remove"]
    await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    return life


async def _extended(bench: Bench, name: str) -> Life:
    life = await bench.begin(_living(name, timedelta(hours=8)))
    await _ready(life)
    for hours in (1, 2):
        await life.handle.execute_update(
            EnvironmentWorkflow.extend, ExtendInput(who=BY_ALICE.who, by=timedelta(hours=hours))
        )
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _warned_and_expired(bench: Bench, name: str) -> Life:
    life = await bench.begin(
        _living(
            name, timedelta(seconds=1), warnings=[timedelta(milliseconds=500), timedelta(milliseconds=200)]
        )
    )
    await _ready(life)
    await asyncio.sleep(1)
    await life.handle.execute_update(EnvironmentWorkflow.warn, SWEPT)
    await asyncio.sleep(0.5)
    await life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    return life


async def _expired_while_provisioning(bench: Bench, name: str) -> Life:
    bench.script.before["vcluster.ensure"] = waits
    life = await bench.begin(_living(name, timedelta(milliseconds=1)))
    await bench.script.started["vcluster.ensure"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    return life


def _living(name: str, ttl: timedelta, **policy: Any) -> EnvironmentStart:
    return lives_by(name, ttl, extension={"times": 3, "total": "3d"}, **policy)


PATHS: dict[str, LifePath] = {
    "deleted-with-account": _deleted,
    "extended": _extended,
    "warned-and-expired": _warned_and_expired,
    "expired-while-provisioning": _expired_while_provisioning,
    "deleted": _deleted,
    "without-identity-provider": _without_identity_provider,
    "cancelled-in-temporal-when-ready": _cancelled_in_temporal_when_ready,
    "torn-down-in-passes": _torn_down_in_passes,
    "resumed": _resumed,
    "failed-import-with-account": _failed(StepName.IMPORT),
    **{f"failed-{step}": _failed(step) for step in StepName},
    **{
        f"cancelled-{step}": _cancelled(step)
        for step in (StepName.PROJECT, StepName.VCLUSTER, StepName.IMPORT)
    },
}


def _without_machine(history: str) -> str:
    """The history as one line, without the names and paths of the machine on which it was made."""

    def scrubbed(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: scrubbed(v) for k, v in value.items() if k not in ("identity", "stackTrace")}
        return [scrubbed(item) for item in value] if isinstance(value, list) else value

    return json.dumps(scrubbed(json.loads(history)), separators=(",", ":")) + "\n"


async def record() -> None:
    """Live every path of which there is no history yet on a real server, and write it down."""
    HISTORIES.mkdir(exist_ok=True)
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=find_server(),
        data_converter=pydantic_data_converter,
        dev_server_extra_args=extra_arguments(),
    ) as server:
        for name, path in PATHS.items():
            if (HISTORIES / f"{name}.json").exists():
                continue
            async with a_bench(server) as bench:
                life = await path(bench, f"r-{name}"[:30].rstrip("-"))
                try:
                    await life.handle.result()
                except WorkflowFailureError:
                    assert name.startswith("failed-"), f"{name} failed"
                history = await life.handle.fetch_history()
                (HISTORIES / f"{name}.json").write_text(_without_machine(history.to_json()))


if __name__ == "__main__":
    asyncio.run(record())
