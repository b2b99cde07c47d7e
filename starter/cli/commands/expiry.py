"""The commands for expiry: extend and history, and freeze, thaw and sweep for the platform team."""

import secrets
from datetime import datetime
from typing import Annotated, Any

import typer

from starter.cli.context import EnvironmentArgument, OutputOption, session
from starter.cli.errors import CliError, Code, Output
from starter.cli.local_time import read_moment

Reason = Annotated[str | None, typer.Option(help="Why; everybody sees it. Asked for without it.")]


def extend(
    ctx: typer.Context,
    name: EnvironmentArgument,
    by: Annotated[str | None, typer.Option(help='By how long, from its end: "1d", "4h".')] = None,
    until: Annotated[
        str | None, typer.Option(help='Until when, in your zone: "2030-01-31 18:00"; or with a zone.')
    ] = None,
    override: Annotated[
        bool, typer.Option("--override", help="Beyond the template's policy; for the platform team.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; it is in the history. An override needs one.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Let an environment end later, as far as its template allows.

    \b
    Examples: moorage extend demo --by 1d
              moorage extend demo --until "2030-01-31 18:00"
    """
    with session(ctx, output) as api:
        from starter.cli.client.api import environment_path
        from starter.cli.output.formatting import clock, moment, print_json
        from starter.cli.output.printing import print_line

        body = {"by": by, "until": _moment(until), "override": override, "reason": reason}
        # Use one key for all attempts, because a lost response must not extend it twice.
        key = secrets.token_hex(16)
        try:
            done = api.call("POST", f"{environment_path(name)}/extend", body=body, key=key)
        except CliError as error:
            raise _with_latest(error) from None
        if output is Output.JSON:
            print_json(done)
        elif done["environment"] is None:
            print_line(done["message"])
        else:
            view = api.view(done["environment"])
            print_line(f"{name} is extended: it ends {clock(view.expires_at)}, {moment(view.expires_at)}.")


def history(ctx: typer.Context, name: EnvironmentArgument, output: OutputOption = Output.TABLE) -> None:
    """Tell what has happened to an environment, and to those of that name before it.

    \b
    Example: moorage history demo
    """
    with session(ctx, output) as api:
        from starter.cli.client.api import environment_path
        from starter.cli.output.formatting import print_history, print_json
        from starter.environments.schemas import HistoryView

        answer = api.call("GET", f"{environment_path(name)}/history")
        if output is Output.JSON:
            print_json(answer)
        else:
            print_history(HistoryView.model_validate(answer))


def freeze(ctx: typer.Context, reason: Reason = None, output: OutputOption = Output.TABLE) -> None:
    """Let no environment end until the thaw. For the platform team.

    \b
    Example: moorage freeze --reason "a fair until Friday"
    """
    with session(ctx, output) as api:
        from starter.cli.prompts import ask

        body = {"reason": ask("Reason; everybody sees it", reason, "--reason")}
        _tell(api.call("PUT", "freeze", body=body), output)


def thaw(ctx: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Let environments end again. For the platform team.

    Whoever could not be warned meanwhile is warned first, and has the whole of that notice.

    \b
    Example: moorage thaw
    """
    with session(ctx, output) as api:
        _tell(api.call("DELETE", "freeze"), output)


def sweep(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Warn and end now what is due, instead of with the next sweep. For the platform team.

    \b
    Example: moorage sweep --dry-run
    """
    with session(ctx, output) as api:
        from starter.cli.output.formatting import print_json, print_sweep, say
        from starter.expiry.sweeps import SweepView

        answer = api.call("POST", "sweeps", query={"dry_run": dry_run})
        while not answer["over"]:
            say(answer["message"])
            answer = api.call("GET", f"sweeps/{answer['id']}", query={"dry_run": dry_run})
        if output is Output.JSON:
            print_json(answer)
        view = SweepView.model_validate(answer)
        if view.result is None:
            raise CliError(Code.FAILED, view.message[:1].lower() + view.message[1:])
        if output is Output.TABLE:
            print_sweep(view)
        if failed := view.result.failed.count:
            raise CliError(Code.FAILED, f"{failed} could not be seen to; the next sweep tries again")


def _tell(answer: dict[str, Any], output: Output) -> None:
    from starter.cli.output.formatting import print_json
    from starter.cli.output.printing import print_line

    if output is Output.JSON:
        print_json(answer)
    else:
        print_line(answer["message"])


def _moment(text: str | None) -> str | None:
    """Convert a time to the API's format; a time without a zone is in the user's zone."""
    return None if text is None else read_moment(text).isoformat()


def _with_latest(error: CliError) -> CliError:
    """Add the latest possible end, in the user's zone, to the refusal of an extension."""
    from starter.cli.output.formatting import clock

    latest = (error.problem or {}).get("latest")
    if not latest:
        return error
    steps = [f"the latest end that it can have is {clock(datetime.fromisoformat(latest))}"]
    return CliError(Code(error.code), str(error), lines=error.lines, next_steps=steps, problem=error.problem)
