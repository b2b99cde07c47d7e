"""What happens between the commands of a page: systems fail, and people repair them."""

import asyncio
import base64
import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Options, Part
from tests.postgres.deployment import make_current
from tests.runbook.consoles import Command
from tests.runbook.operator import Operator
from tests.support.stack import ALICE, BOB, HURRY, hurried
from tests.support.stand_ins import set_faults
from tests.support.worker_processes import WorkerProcess

Happens = Callable[[Operator], Awaitable[None]]

#: Longest wait for one answer: no system here swallows one, and a busy machine is slow.
TIMEOUT = timedelta(seconds=15)
#: Retries at once, as in all tests; what waits for a person waits as long as it does in earnest.
IN_EARNEST = HURRY.model_copy(
    update={
        "step_timeout": None,
        "undo_timeout": timedelta(seconds=20),
        "give_up_after": timedelta(days=3),
        "late_response_window": 1.2 * TIMEOUT,
    }
)
#: Encryption keys; the id of a key is made from it, so that the pages can name them.
FIRST, SECOND, THIRD = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
#: What differs by page.
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "stuck-teardown": {"first_pause": timedelta(minutes=25), "longest_pause": timedelta(minutes=25)}
}

#: By the name that the pages give them.
SITUATIONS: dict[str, Happens] = {}


def situation(name: str) -> Callable[[Happens], Happens]:
    """Give a situation its name."""

    def keep(happens: Happens) -> Happens:
        SITUATIONS[name] = happens
        return happens

    return keep


def options_of(page: str) -> Options:
    """Return the options of the stack that a page is tried on."""
    return hurried(
        people=(ALICE, BOB),
        timeout=TIMEOUT,
        timeouts=IN_EARNEST.model_copy(update=_TIMEOUTS.get(page, {})),
        own_process=frozenset({Part.HOST}) if page == "hosts" else frozenset(),
        # A new limit holds from the next audit on.
        environment={
            "MOORAGE_CAPACITY__AUDIT": "2s",
            **({"MOORAGE_ENCRYPTION__KEYS": FIRST} if page == "keys" else {}),
        },
        environment_of={Part.WORKER: _version("1.4.2")} if page == "upgrade" else {},
        # There, the worker's version gets work when the page says so.
        waits_for_host=page != "upgrade",
    )


@situation("the environment demo is ready")
async def make_demo(operator: Operator) -> None:
    await operator.stack.wait_for_host()
    await operator.succeed("moorage request demo small")


@situation("the control plane does not delete groups")
async def keep_groups(operator: Operator) -> None:
    set_faults(
        operator.stack.url(Part.CONTROL_PLANE),
        Fault(operation="group.delete", kind=FaultKind.STATUS, status=500),
    )


@situation("the control plane is down")
async def control_plane_down(operator: Operator) -> None:
    set_faults(operator.stack.url(Part.CONTROL_PLANE), Fault(kind=FaultKind.STATUS, status=503))


@situation("the control plane is repaired")
async def control_plane_up(operator: Operator) -> None:
    set_faults(operator.stack.url(Part.CONTROL_PLANE))


@situation("Temporal is killed")
async def kill_temporal(operator: Operator) -> None:
    await operator.stack.kill(Part.TEMPORAL)


@situation("Temporal is started")
async def start_temporal(operator: Operator) -> None:
    await operator.stack.start(Part.TEMPORAL)


@situation("the installation is set up")
async def set_up(operator: Operator) -> None:
    await operator.succeed("moorage setup")


@situation("demo is deleted and its first pass is over")
async def delete_demo(operator: Operator) -> None:
    await operator.succeed("moorage delete demo --yes --no-wait")
    await operator.type(Command("moorage show demo", 0, ("…", "next pass: …", "…")), "the first pass")


@situation("fresh is being made")
async def start_fresh(operator: Operator) -> None:
    await operator.succeed("moorage request fresh small --no-wait")


@situation("the environment lost was terminated in Temporal")
async def terminate_lost(operator: Operator) -> None:
    await _terminate(operator, "lost")


@situation("two environments were terminated in Temporal")
async def terminate_two(operator: Operator) -> None:
    for name in ("one", "two"):
        await _terminate(operator, name)


async def _terminate(operator: Operator, name: str) -> None:
    await operator.succeed(f"moorage request {name} small")
    await operator.succeed(
        f"temporal workflow terminate --workflow-id environment/{name} --reason mistake"
        f" --address {operator.stack.temporal_address}"
    )


@situation("the directory is down")
async def directory_down(operator: Operator) -> None:
    set_faults(operator.stack.url(Part.DIRECTORY), Fault(kind=FaultKind.STATUS, status=503))


@situation("the directory is repaired")
async def directory_up(operator: Operator) -> None:
    set_faults(operator.stack.url(Part.DIRECTORY))


@situation("the worker is killed")
async def kill_worker(operator: Operator) -> None:
    await operator.stack.kill(Part.WORKER)


@situation("the worker is started")
async def start_worker(operator: Operator) -> None:
    await operator.stack.start(Part.WORKER)


@situation("the host is down")
async def host_down(operator: Operator) -> None:
    set_faults(operator.stack.url(Part.HOST), Fault(kind=FaultKind.CUT_BEFORE))


@situation("the host is repaired")
async def host_up(operator: Operator) -> None:
    set_faults(operator.stack.url(Part.HOST))


@situation("the first key was replaced, and not kept")
async def lose_first_key(operator: Operator) -> None:
    await _set_keys(operator, SECOND)


@situation("the first key is added again")
async def add_first_key(operator: Operator) -> None:
    await _set_keys(operator, SECOND, FIRST)


@situation("the third key decrypts")
async def add_third_key(operator: Operator) -> None:
    await _set_keys(operator, SECOND, FIRST, THIRD)


@situation("the third key encrypts")
async def prefer_third_key(operator: Operator) -> None:
    await _set_keys(operator, THIRD, SECOND, FIRST)


@situation("the third key is lost")
async def lose_third_key(operator: Operator) -> None:
    await _set_keys(operator, SECOND, FIRST)


async def _set_keys(operator: Operator, *keys: str) -> None:
    await operator.configure(MOORAGE_ENCRYPTION__KEYS=" ".join(keys))


@situation("Temporal's database is backed up")
async def back_up(operator: Operator) -> None:
    await _copy_database(operator, operator.stack.folder, operator.folder / "backup")


@situation("Temporal's database is that of the backup, and no worker runs")
async def restore(operator: Operator) -> None:
    await operator.stack.kill(Part.WORKER)
    await _copy_database(operator, operator.folder / "backup", operator.stack.folder)


async def _copy_database(operator: Operator, source: Path, target: Path) -> None:
    await operator.stack.stop(Part.TEMPORAL)
    await asyncio.to_thread(_replace_files, source, target)
    await operator.stack.start(Part.TEMPORAL)


def _replace_files(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for file in target.glob("temporal.sqlite*"):
        file.unlink()
    for file in source.glob("temporal.sqlite*"):
        shutil.copy(file, target)


@situation("demo was deleted after the backup, and later was made")
async def live_on(operator: Operator) -> None:
    for command in ("moorage delete demo --yes", "moorage request later small"):
        await operator.succeed(command)


@situation("a host of two environments")
async def small_host(operator: Operator) -> None:
    await operator.configure(MOORAGE_HOSTS__LOCAL__CAPACITY__ENVIRONMENTS="2")


@situation("the host of three environments")
async def larger_host(operator: Operator) -> None:
    await operator.configure(MOORAGE_HOSTS__LOCAL__CAPACITY__ENVIRONMENTS="3")


@situation("1.4.2 is the current version")
async def first_version(operator: Operator) -> None:
    await make_current(operator.stack, "1.4.2")


@situation("a worker of 1.5.0 is started, and fresh is being made")
async def start_new_version(operator: Operator) -> None:
    await start_fresh(operator)
    operator.workers["1.5.0"] = WorkerProcess(operator.stack, "worker-1.5.0", _version("1.5.0"))
    await operator.workers["1.5.0"].start()


@situation("the worker of 1.4.2 is stopped")
async def stop_old_version(operator: Operator) -> None:
    await operator.stack.stop(Part.WORKER)


@situation("the worker of 1.4.2 is started again")
async def start_old_version(operator: Operator) -> None:
    await operator.stack.start(Part.WORKER)


@situation("the worker of 1.5.0 is stopped")
async def stop_new_version(operator: Operator) -> None:
    await operator.workers["1.5.0"].drain()


def _version(name: str) -> dict[str, str]:
    return {"MOORAGE_WORKER__VERSION": name}


@situation("the host is closed")
async def close_host(operator: Operator) -> None:
    await operator.configure(MOORAGE_HOSTS__LOCAL__CAPACITY__ENVIRONMENTS="0")


@situation("an empty cluster has the name of the host")
async def new_host(operator: Operator) -> None:
    await operator.stack.stop(Part.HOST)
    shutil.rmtree(operator.stack.databases[Part.HOST].parent)
    await operator.stack.start(Part.HOST)
    await operator.configure(MOORAGE_HOSTS__LOCAL__CAPACITY__ENVIRONMENTS="9")


@situation("the host refuses new vClusters")
async def refuse(operator: Operator) -> None:
    set_faults(operator.stack.url(Part.HOST), Fault(operation="release.*", kind=FaultKind.STATUS, status=503))
