"""Starts, follows and stops a rollout, which upgrades all environments of a template."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import print_note
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import parse
from starter.cli.views.rollouts import RolloutView

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: Interval between two looks: an upgrade takes a minute.
POLL_SECONDS = 1.0
#: How long the API may not answer before the command gives up; the rollout goes on.
SILENCE_SECONDS = 60.0
_FAILED = ("rolled back", "failed")


def roll_out(
    api: "Api", template: str, body: Mapping[str, Any] | None, output: Output, *, no_wait: bool
) -> None:
    """Start the rollout of `body`, or stop the running one if that is None; follow it to its end.

    Raises:
        CliError: It was stopped, or an environment could not be upgraded.
    """
    path = f"rollouts/{quote(template, safe='')}"
    answer = api.call("POST", f"{path}/stop") if body is None else api.call("POST", "rollouts", body=body)
    view = parse(answer, RolloutView)
    again = f"moorage upgrade --template {template} --all"
    if not view.over and not no_wait:
        if output is Output.TABLE:
            print_note(view.message)
        try:
            answer = _follow(api, path, answer, output)
        except CliError as error:
            error.next_steps = (*error.next_steps, f"the upgrade continues; watch it again: {again}")
            raise
        except KeyboardInterrupt:
            print_note("\nStopped watching; the upgrade continues without this command.")
            print_note(f"Watch it again with:  {again}\nStop it with:         {again} --stop")
            raise click.exceptions.Exit(Code.INTERRUPTED) from None
        view = parse(answer, RolloutView)
    if output is Output.JSON:
        print_json(answer)
    else:
        _print(view)
    _raise_if_incomplete(view)


def _follow(api: "Api", path: str, answer: Any, output: Output) -> Any:
    """Return the last answer about the rollout; print what has become of each environment meanwhile."""
    shown: dict[str, str] = {}
    answered_at = time.monotonic()
    while True:
        view = parse(answer, RolloutView)
        for line in view.result.lines if view.result else ():
            if line.outcome not in ("waiting", "skipped") and shown.get(line.life) != line.outcome:
                shown[line.life] = line.outcome
                if output is Output.TABLE:
                    print_note(f"  {line.name}: {line.outcome}{f': {line.reason}' if line.reason else ''}")
        if view.over:
            return answer
        time.sleep(POLL_SECONDS)
        try:
            answer = api.call("GET", path)
            answered_at = time.monotonic()
        except CliError as error:
            if error.code is not Code.UNREACHABLE or time.monotonic() - answered_at > SILENCE_SECONDS:
                raise


def _print(view: RolloutView) -> None:
    for line in view.result.lines if view.result else ():
        outcome = "would be upgraded" if view.result and view.result.dry_run else line.outcome
        if line.outcome == "skipped":
            outcome = "not upgraded"
        print_line(f"{line.name:<30}  {outcome}{f': {line.reason}' if line.reason else ''}")
    print_line(view.message)


def _raise_if_incomplete(view: RolloutView) -> None:
    result = view.result
    if not view.over or (result and result.dry_run):
        return
    if result is None or not result.over:
        raise CliError(Code.FAILED, "the upgrade has not come to its end")
    failed = sum(line.outcome in _FAILED for line in result.lines)
    if result.stopped:
        left = sum(line.outcome == "waiting" for line in result.lines)
        were = "environment was" if left == 1 else "environments were"
        message = f"the upgrade was stopped, and {left} {were} not reached: {result.stopped}"
    elif failed:
        message = f"{failed} environment{'s' if failed > 1 else ''} could not be upgraded"
    else:
        return
    raise CliError(Code.FAILED, message, next_steps=["correct the cause, and run the same command again"])
