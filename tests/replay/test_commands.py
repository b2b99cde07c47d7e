"""Ensures that a change of a workflow's commands, or of their order, fails with what it needs."""

import dataclasses
import difflib

import pytest

from tests.replay.commands import COMMANDS, commands_of, sources
from workflows import steps

#: What to do after a change of a workflow.
EXPLAINED = """
The commands of the workflows have changed:

{difference}

Environments that run now replay their histories with this code; one whose commands differ stands still until
the code is put right, and cannot even be cancelled. So:

1. Where a command is added, removed or moved, keep the old way for runs that went it:
       if workflow.patched("what-is-new"):
           <the new way>
       else:
           <the old way>
   In a loop the id stands for all its rounds. A function that was
   only renamed or split needs none of this.
2. Add a path that goes the new way to tests/replay/record.py, and record it:
       python -m tests.replay.record
   (never over a history that is there: those are the environments that run now).
3. Write this page again, and commit all three:
       python -m tests.replay.commands
"""


def test_the_commands_are_those_that_were_agreed() -> None:
    now, agreed = commands_of(sources()), COMMANDS.read_text(encoding="utf-8")
    lines = difflib.unified_diff(agreed.splitlines(), now.splitlines(), "agreed", "now", lineterm="", n=3)
    assert now == agreed, EXPLAINED.format(difference="\n".join(lines))


#: For each kind of change: a piece of the source, and a change of it.
CHANGES = {
    "a command more": ("saga", "        self._resumed = False\n", "        await workflow.sleep(1)\n"),
    "a command less": (
        "record.state",
        "        workflow.upsert_search_attributes(self.expiry_attributes)\n",
        "",
    ),
    "another activity": ("step_executor", "StepActivities.inspect)", "StepActivities.remove)"),
    "two commands that changed places": (
        "environment.workflow",
        "            await self._provision()\n",
        "            await self._stay_ready()\n            await self._provision()\n",
    ),
    "a command moved into a helper that is called elsewhere": (
        "saga",
        "                await self._wait_for_late_responses()\n",
        "                await self._give_up_until_resumed()\n",
    ),
    "a patch": ("saga", "        self._resumed = False\n", "        workflow.patched('new')\n"),
}
#: What may be changed without a thought for what runs.
FREE = {
    "a summary": ("step_executor", 'summary="everybody is known"', 'summary="all are known"'),
    "a timeout": ("step_executor", "attempt=FEW_CALLS_ATTEMPT_TIMEOUT", "attempt=INSPECT_TIMEOUT"),
    "a pause": ("saga", "self._pause(pause)", "self._pause(2 * pause)"),
    "a line of the trail": (
        "environment.workflow",
        'self._state.add_log_entry(MOORAGE_ACTOR, "ready")',
        "pass",
    ),
}


def changed(change: tuple[str, str, str]) -> str:
    module, old, new = change
    texts = sources()
    assert old in texts[module], f"workflows.{module} has no {old!r} any more: give the test another"
    return commands_of(texts | {module: texts[module].replace(old, new, 1)})


@pytest.mark.parametrize("what", CHANGES)
def test_it_sees(what: str) -> None:
    assert changed(CHANGES[what]) != commands_of(sources())


@pytest.mark.parametrize("what", FREE)
def test_it_lets_pass(what: str) -> None:
    assert changed(FREE[what]) == commands_of(sources())


def test_it_sees_a_change_of_the_table() -> None:
    first, second, *rest = steps.STEPS
    for table in (
        (second, first, *rest),
        (second, *rest),
        (dataclasses.replace(first, undo_after=frozenset()), second, *rest),
        (dataclasses.replace(first, has_undo=False), second, *rest),
    ):
        assert commands_of(sources(), table) != commands_of(sources())
