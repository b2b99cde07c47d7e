"""The commands that change the template of an environment in place: resize and upgrade."""

import secrets
from collections.abc import Mapping
from typing import Any

import click

from starter.cli.arguments.options import (
    dry_run_option,
    environment_argument,
    examples,
    no_wait_option,
    output_option,
    parse_settings,
    set_option,
)
from starter.cli.client.api_paths import environment_path
from starter.cli.command_context import api_session
from starter.cli.completion import complete_environment, complete_template
from starter.cli.errors import CliError, Code, Output
from starter.cli.follow import Done, follow_until, is_over, print_answer
from starter.cli.rollout import roll_out
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import to_json
from starter.cli.views.environments import EnvironmentView


@click.command(
    epilog=examples(
        "moorage resize demo --template medium",
        "moorage resize demo --template medium --dry-run",
    )
)
@environment_argument
@click.option(
    "--template", required=True, shell_complete=complete_template, help="The template that it gets."
)
@set_option
@dry_run_option
@no_wait_option
@output_option()
@click.pass_context
def resize(
    ctx: click.Context,
    name: str,
    template: str,
    settings: tuple[str, ...],
    dry_run: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Change an environment to another template in place, and keep what is in it.

    Its control plane restarts. If it does not become ready in its time, it goes back to the template of
    before, and the command fails with the reason.
    """
    body = {"template": template, "parameters": parse_settings(settings)}
    _change(ctx, name, "resize", body, dry_run=dry_run, no_wait=no_wait, output=output)


@click.command(
    epilog=examples(
        "moorage upgrade demo",
        "moorage upgrade demo --set replicas=3",
        "moorage upgrade --template small --all --dry-run",
        "moorage upgrade --template small --all --wave 5 --stop-after 1",
        "moorage upgrade --template small --all --stop",
    )
)
@click.argument("name", required=False, shell_complete=complete_environment)
@set_option
@click.option(
    "--template", shell_complete=complete_template, help="With --all: the template of the environments."
)
@click.option("--all", "is_all", is_flag=True, help="Upgrade all environments of --template (platform team).")
@click.option(
    "--wave",
    type=click.IntRange(1),
    help="With --all: environments of each wave after the first, which has one. Default: 5, at most 10.",
)
@click.option(
    "--stop-after",
    type=click.IntRange(1),
    help="With --all: failures after which no further wave begins. Default: 1.",
)
@click.option("--stop", is_flag=True, help="With --all: begin no further wave.")
@dry_run_option
@no_wait_option
@output_option()
@click.pass_context
def upgrade(
    ctx: click.Context,
    name: str | None,
    settings: tuple[str, ...],
    template: str | None,
    is_all: bool,
    wave: int | None,
    stop_after: int | None,
    stop: bool,
    dry_run: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Change an environment to the newer version of its template, and keep what is in it.

    The version of the chart, that of Kubernetes, and the policies become those of the catalogue. As `moorage
    resize`, it goes back if it does not become ready in its time.

    With --all, the platform team upgrades all environments of a template that are ready: first one, then
    waves. It stops at failures. While one runs, the same command follows it, and --stop stops it.
    """
    if is_all:
        if name or settings or not template:
            raise click.UsageError("--all needs --template, and takes neither a name nor --set.")
        if stop and (dry_run or wave or stop_after):
            raise click.UsageError("--stop takes neither --dry-run, --wave nor --stop-after.")
        options = {"template": template, "wave": wave, "stop_after": stop_after, "dry_run": dry_run}
        given = {key: value for key, value in options.items() if value is not None}
        with api_session(ctx, output) as api:
            roll_out(api, template, None if stop else given, output, no_wait=no_wait)
        return
    if template or wave or stop_after or stop:
        raise click.UsageError("--template, --wave, --stop-after and --stop are for --all.")
    if not name:
        raise click.UsageError("Give the name of an environment, or --template TEMPLATE --all.")
    body = {"parameters": parse_settings(settings)}
    _change(ctx, name, "upgrade", body, dry_run=dry_run, no_wait=no_wait, output=output)


def _change(
    ctx: click.Context,
    name: str,
    verb: str,
    body: Mapping[str, Any],
    *,
    dry_run: bool,
    no_wait: bool,
    output: Output,
) -> None:
    with api_session(ctx, output) as api:
        before = api.environment(name)
        # Use one key for all attempts, because a repeat of a lost call must not start a second change.
        key, query = secrets.token_hex(16), {"life": before.life or None, "dry_run": dry_run}
        done = api.call("POST", f"{environment_path(name)}/{verb}", query=query, body=body, key=key)
        waits = not (dry_run or no_wait) and done["kind"] == "accepted"
        print_answer(done, output, waits=waits)
        if not waits:
            return
        view = follow_until(api, name, done["life"], _is_changed(before), output)
        if output is Output.JSON:
            print_json(to_json(view))
        if is_over(view) or view.outcome:
            raise CliError(Code.FAILED, f"{name} is being torn down: the change was stopped")
        if view.change_problem:
            problem = view.change_problem
            message = f"{name} could not be changed, and is as before. {problem.step}: {problem.cause}"
            raise CliError(Code.FAILED, message, next_steps=[problem.remedy] if problem.remedy else [])
        if output is Output.TABLE:
            print_line(f"{name} has {view.template} version {view.template_version}.")


def _is_changed(before: EnvironmentView) -> Done:
    """Return a check that the change is over; `before` is the state before it."""

    def is_changed(view: EnvironmentView) -> bool:
        # The first view can still be the state before the change; its start has an entry in the trail.
        has_started = view.audit_log[-1:] != before.audit_log[-1:]
        return view.outcome is not None or (has_started and view.change is None)

    return is_changed
