"""The command of the reconcile sweep, for the platform team."""

import click

from starter.cli.arguments.options import dry_run_option, examples, output_option, yes_option
from starter.cli.arguments.prompts import confirm
from starter.cli.command_context import api_session
from starter.cli.commands.expiry import wait_until_over
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.reconcile import print_reconcile
from starter.cli.terminal.text import print_json
from starter.cli.views.base import parse
from starter.cli.views.sweeps import ReconcileView


@click.command(
    epilog=examples("moorage reconcile --dry-run", "moorage reconcile", "moorage reconcile --confirm")
)
@dry_run_option
@click.option("--confirm", "confirms", is_flag=True, help="Adopt or undo what waits for a person.")
@yes_option
@output_option()
@click.pass_context
def reconcile(ctx: click.Context, dry_run: bool, confirms: bool, yes: bool, output: Output) -> None:
    """Adopt or undo now what no open environment owns (platform team).

    Moorage does this on a schedule as well. What is complete is adopted: its workflow is started again. What
    is incomplete is undone after a while. If many are found at once, nothing happens before --confirm.
    """
    if dry_run and confirms:
        raise click.UsageError("--dry-run and --confirm exclude each other.")
    with api_session(ctx, output) as api:
        confirmed: list[str] = []
        if confirms:
            last = parse(api.call("GET", "reconcile"), ReconcileView).result
            confirmed = list(last.waiting) if last else []
            if not last or not confirmed:
                raise CliError(
                    Code.FAILED,
                    "nothing waits for a confirmation",
                    next_steps=["moorage reconcile --dry-run"],
                )
            if output is Output.TABLE and not yes:
                print_reconcile(ReconcileView(over=True, result=last, message="These wait:"))
            what = "this life" if len(confirmed) == 1 else f"these {len(confirmed)} lives"
            confirm(f"Adopt or undo {what}?", yes=yes, refused="nothing was done")
        started = api.call("POST", "reconcile", body={"dry_run": dry_run, "confirmed": confirmed})
        answer = wait_until_over(api, "reconcile", started, query={"dry_run": dry_run})
        view = parse(answer, ReconcileView)
        if output is Output.JSON:
            print_json(answer)
        if view.result is None:
            raise CliError(Code.FAILED, view.message[:1].lower() + view.message[1:])
        if output is Output.TABLE:
            print_reconcile(view)
        if view.result.problem or any(line.failed for line in view.result.lines):
            raise CliError(Code.FAILED, "not everything was done; the next sweep tries again")
