"""Ensures that a pause that a system asks for is obeyed, and that a watcher sees the reason."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.cli.test_commands import cli_of
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import MAKING, calls, no_faults, strike
from tests.support.stack import ALICE, unique
from tests.support.stand_ins import set_faults

pytestmark = [pytest.mark.slow, pytest.mark.guarantee("4. Ambiguous answers")]

#: Long enough for the command that watches to start meanwhile, on a busy machine.
RETRY_AFTER = 12


async def test_a_requested_pause_is_obeyed_and_reported(stack: Stack, asking: Asking, tmp_path: Path) -> None:
    name, (part, operation) = unique("throttled"), MAKING["project"]
    fault = Fault(operation=operation, kind=FaultKind.STATUS, status=429, retry_after=RETRY_AFTER, times=1)
    set_faults(stack.url(part), fault)
    before = calls(stack, part, operation)
    # One command requests and watches: a second one may start when the pause is over already.
    watched = await cli_of(stack, tmp_path, ALICE.email)("request", name, "small")
    reported = re.search(r"project: running \(.*throttled by Rafay, next try in (\d+) s\)", watched.err)
    assert reported, f"the watcher does not see the pause: {watched.err}"
    assert 1 <= int(reported[1]) <= RETRY_AFTER
    assert calls(stack, part, operation) - before == 2, "it did not wait, or tried more often"
    [project] = [row for row in (await asking.show(name))["steps"] if row["step"] == "project"]
    took = datetime.fromisoformat(project["ended_at"]) - datetime.fromisoformat(project["started_at"])
    assert took.total_seconds() >= RETRY_AFTER, f"it did not wait for {RETRY_AFTER} s, but for {took}"
    await asking.delete(name)
    await asking.until_phase(name, "gone")


@pytest.mark.parametrize("part", [Part.CONTROL_PLANE, Part.DIRECTORY])
async def test_without_a_pause_that_is_asked_for_it_backs_off_and_tells(
    stack: Stack, asking: Asking, part: Part
) -> None:
    name = unique("unasked")
    strike(stack, Fault(kind=FaultKind.STATUS, status=429), {"any": (part, "group.create")})
    await asking.request(name)
    system = {Part.CONTROL_PLANE: "Rafay", Part.DIRECTORY: "SCIM directory"}[part]

    def is_reported(shown: dict[str, list[dict[str, dict[str, object]]]]) -> bool:
        running = [row["progress"] for row in shown["steps"] if row["progress"]]
        return any(
            how["throttled_by"] == system and how["next_attempt_at"] and int(str(how["attempt"])) > 2
            for how in running
        )

    await asking.until(name, is_reported, f"throttled by {system} in what is shown")
    no_faults(stack)
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    await asking.until_phase(name, "gone")
