"""What happens between the commands of a page: systems fail, and people repair them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Options, Part
from tests.runbook.consoles import Command
from tests.runbook.operator import Operator
from tests.support.stack import ALICE, BOB, HURRY, hurried
from tests.support.stand_ins import set_faults

Happens = Callable[[Operator], Awaitable[None]]

#: Retries at once, as in all tests; what waits for a person waits as long as it does in earnest.
IN_EARNEST = HURRY.model_copy(
    update={"step_timeout": None, "undo_timeout": timedelta(seconds=20), "give_up_after": timedelta(days=3)}
)
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
    return hurried(people=(ALICE, BOB), timeouts=IN_EARNEST.model_copy(update=_TIMEOUTS.get(page, {})))


@situation("the environment demo is ready")
async def make_demo(operator: Operator) -> None:
    ended = await operator.run("moorage request demo small")
    assert ended.code == 0, ended.out


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
    ended = await operator.run("moorage setup")
    assert ended.code == 0, ended.out


@situation("demo is deleted and its first pass is over")
async def delete_demo(operator: Operator) -> None:
    ended = await operator.run("moorage delete demo --yes --no-wait")
    assert ended.code == 0, ended.out
    await operator.type(Command("moorage show demo", 0, ("…", "next pass: …", "…")), "the first pass")


@situation("fresh is being made")
async def start_fresh(operator: Operator) -> None:
    ended = await operator.run("moorage request fresh small --no-wait")
    assert ended.code == 0, ended.out


@situation("the environment lost was terminated in Temporal")
async def terminate_lost(operator: Operator) -> None:
    ended = await operator.run("moorage request lost small")
    assert ended.code == 0, ended.out
    ended = await operator.run(
        "temporal workflow terminate --workflow-id environment/lost --reason mistake"
        f" --address {operator.stack.temporal_address}"
    )
    assert ended.code == 0, ended.out
