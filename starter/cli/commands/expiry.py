"""The commands for expiry: extend and history, and freeze, thaw, sweep and leavers for the platform team."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from starter.cli.arguments.options import (
    dry_run_option,
    environment_argument,
    examples,
    output_option,
    yes_option,
)
from starter.cli.arguments.prompts import ask, confirm
from starter.cli.arguments.times import parse_local_time
from starter.cli.client.api_paths import environment_path
from starter.cli.command_context import api_session
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import print_history, print_leavers, print_note, print_sweep, relative_time
from starter.cli.terminal.text import local_time, print_json, print_line
from starter.cli.views.base import parse
from starter.cli.views.environments import HistoryView
from starter.cli.views.sweeps import LeaversView, SweepView

if TYPE_CHECKING:
    from starter.cli.client.api import Api


@click.command(
    epilog=examples("moorage extend demo --by 1d", 'moorage extend demo --until "2030-01-31 18:00"')
)
@environment_argument
@click.option("--by", help='Length of the extension: "1d", "4h".')
@click.option("--until", help='New end: "2030-01-31 18:00" in your time zone, or with a time zone.')
@click.option("--override", is_flag=True, help="Ignore the template's limits. (platform team)")
@click.option("--reason", default="", help="Reason for the history. --override requires one.")
@output_option()
@click.pass_context
def extend(
    ctx: click.Context,
    name: str,
    by: str | None,
    until: str | None,
    override: bool,
    reason: str,
    output: Output,
) -> None:
    """Move the end of an environment to a later time, within the limits of its template."""
    with api_session(ctx, output) as api:
        body = {"by": by, "until": _iso_time(until), "override": override, "reason": reason}
        # Use one key for all attempts, because a lost response must not extend it twice.
        key = secrets.token_hex(16)
        try:
            done = api.call("POST", f"{environment_path(name)}/extend", body=body, key=key)
        except CliError as error:
            raise _with_latest_end(error) from None
        if output is Output.JSON:
            print_json(done)
        elif done["environment"] is None:
            print_line(done["message"])
        else:
            end = api.view(done["environment"]).expires_at
            print_line(f"{name} is extended: it ends {local_time(end)}, {relative_time(end)}.")


@click.command(epilog=examples("moorage history demo"))
@environment_argument
@output_option()
@click.pass_context
def history(ctx: click.Context, name: str, output: Output) -> None:
    """Show the history of an environment, and of earlier ones with its name."""
    with api_session(ctx, output) as api:
        answer = api.call("GET", f"{environment_path(name)}/history")
        if output is Output.JSON:
            print_json(answer)
        else:
            print_history(parse(answer, HistoryView))


@click.command(epilog=examples('moorage freeze --reason "a fair until Friday"'))
@click.option("--reason", help="Reason, which everyone can see. Without it, the command asks.")
@output_option()
@click.pass_context
def freeze(ctx: click.Context, reason: str | None, output: Output) -> None:
    """Let no environment end until `moorage thaw` (platform team)."""
    with api_session(ctx, output) as api:
        body = {"reason": ask("Reason, which everyone can see", reason, "--reason")}
        _print_message(api.call("PUT", "freeze", body=body), output)


@click.command(epilog=examples("moorage thaw"))
@output_option()
@click.pass_context
def thaw(ctx: click.Context, output: Output) -> None:
    """Let environments end again (platform team).

    An environment whose warning was not possible during the freeze gets its warning first, and ends after the
    full notice.
    """
    with api_session(ctx, output) as api:
        _print_message(api.call("DELETE", "freeze"), output)


@click.command(epilog=examples("moorage sweep", "moorage sweep --dry-run"))
@dry_run_option
@output_option()
@click.pass_context
def sweep(ctx: click.Context, dry_run: bool, output: Output) -> None:
    """Send due warnings and end expired environments now (platform team).

    Moorage does this on a schedule as well.
    """
    with api_session(ctx, output) as api:
        query = {"dry_run": dry_run}
        answer = wait_until_over(api, "sweeps", api.call("POST", "sweeps", query=query), query=query)
        if output is Output.JSON:
            print_json(answer)
        view = parse(answer, SweepView)
        if view.result is None:
            raise _stopped(view)
        if output is Output.TABLE:
            print_sweep(view)
        if failed := view.result.failed.count:
            raise CliError(Code.FAILED, f"{failed} environments failed; the next sweep tries again")


@click.command(epilog=examples("moorage leavers", "moorage leavers --now", "moorage leavers --confirm"))
@click.option("--now", is_flag=True, help="Ask the directory now, and wait for the result.")
@click.option("--confirm", "confirms", is_flag=True, help="End the access of those who wait for a person.")
@yes_option
@output_option()
@click.pass_context
def leavers(ctx: click.Context, now: bool, confirms: bool, yes: bool, output: Output) -> None:
    """Show who has left, by the last sweep, and what became of their environments (platform team).

    Moorage asks the directory on a schedule. If it says that many people have left at once, their access ends
    only after --confirm, and only if the directory still says so.
    """
    if now and confirms:
        raise click.UsageError("--now and --confirm exclude each other: --confirm asks the directory too.")
    with api_session(ctx, output) as api:
        answer = api.call("GET", "leavers")
        last = parse(answer, LeaversView).result
        waiting = list(last.waiting) if last else []
        if confirms:
            if not waiting:
                raise CliError(
                    Code.FAILED, "no person waits for a confirmation", next_steps=["moorage leavers"]
                )
            if output is Output.TABLE and not yes:
                for person in waiting:
                    print_note(f"  {person}")
            whose = "this person" if len(waiting) == 1 else f"these {len(waiting)} people"
            confirm(f"End the access of {whose}?", yes=yes, refused="no access was ended")
        if now or confirms:
            started = api.call("POST", "leavers", body={"confirmed": waiting if confirms else []})
            answer = wait_until_over(api, "leavers", started)
        view = parse(answer, LeaversView)
        if output is Output.JSON:
            print_json(answer)
        if view.result is None and (now or confirms):
            raise _stopped(view)
        if output is Output.TABLE:
            print_leavers(view)
        if view.result and (view.result.problem or any(line.failed for line in view.result.lines)):
            raise CliError(Code.FAILED, "not everything was done; the next sweep tries again")


def wait_until_over(
    api: "Api", path: str, answer: dict[str, Any], *, query: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the answer about the started sweep once it is over; the API waits with each answer."""
    while not answer["over"]:
        print_note(answer["message"])
        answer = api.call("GET", f"{path}/{answer['id']}", query=query)
    return answer


def _stopped(view: SweepView | LeaversView) -> CliError:
    """Return the error of a sweep that has no result."""
    return CliError(Code.FAILED, view.message[:1].lower() + view.message[1:])


def _print_message(answer: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_json(answer)
    else:
        print_line(answer["message"])


def _iso_time(text: str | None) -> str | None:
    """Convert a time to the API's format; a time without a zone is in the user's zone."""
    return None if text is None else parse_local_time(text).isoformat()


def _with_latest_end(error: CliError) -> CliError:
    """Add the latest possible end, in the user's zone, to the refusal of an extension."""
    latest = (error.problem or {}).get("latest")
    if not latest:
        return error
    steps = [f"the latest possible end is {local_time(datetime.fromisoformat(latest))}"]
    return CliError(Code(error.code), str(error), lines=error.lines, next_steps=steps, problem=error.problem)
