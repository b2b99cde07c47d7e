"""The commands that take snapshots of an environment and restore them."""

import secrets

import click

from starter.cli.arguments.options import (
    environment_argument,
    examples,
    no_wait_option,
    output_option,
    yes_option,
)
from starter.cli.arguments.prompts import confirm
from starter.cli.client.api_paths import environment_path
from starter.cli.command_context import api_session
from starter.cli.completion import complete_snapshot
from starter.cli.errors import CliError, Code, Output
from starter.cli.follow import Done, follow_until, print_answer
from starter.cli.kubeconfig.certificate_cache import CertificateCache, cache_folder
from starter.cli.output.formatting import local_time, relative_time
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import to_json
from starter.cli.views.environments import EnvironmentView, Snapshot


@click.command(epilog=examples("moorage snapshot demo", "moorage snapshot demo --no-wait"))
@environment_argument
@no_wait_option
@output_option()
@click.pass_context
def snapshot(ctx: click.Context, name: str, no_wait: bool, output: Output) -> None:
    """Take a snapshot of the objects in an environment, and wait until it is taken.

    The volumes of its workloads are left out. The snapshot is on the volume of the vCluster: it survives an
    upgrade, and ends with the environment. The last three are kept. Before a resize and an upgrade, Moorage
    takes one by itself.
    """
    with api_session(ctx, output) as api:
        before = api.environment(name)
        last = max((one.number for one in before.snapshots), default=0)
        # Use one key for all attempts, because a repeat of a lost call must not take a second one.
        key, query = secrets.token_hex(16), {"life": before.life or None}
        done = api.call("POST", f"{environment_path(name)}/snapshots", query=query, key=key)
        print_answer(done, output, waits=not no_wait)
        if no_wait:
            return

        def is_over(view: EnvironmentView) -> bool:
            found = _after(view, last)
            return view.outcome is not None or bool(found and (found.taken_at or found.problem))

        view = follow_until(api, name, done["life"], is_over, output)
        if output is Output.JSON:
            print_json(to_json(view))
        found = _after(view, last)
        if found is None or (found.taken_at is None and found.problem is None):
            raise CliError(Code.FAILED, f"{name} is being torn down: the snapshot was stopped")
        if found.problem:
            problem = found.problem
            message = f"The snapshot of {name} could not be taken. {problem.cause}"
            raise CliError(Code.FAILED, message, next_steps=[problem.remedy] if problem.remedy else [])
        if output is Output.TABLE:
            taken = local_time(found.taken_at)
            print_line(f"Snapshot {found.number} of {name} was taken {taken}, without volumes.")


def _after(view: EnvironmentView, last: int) -> Snapshot | None:
    """Return the first snapshot after the one with the number `last`."""
    return next((one for one in view.snapshots if one.number > last), None)


@click.command(
    epilog=examples(
        "moorage restore demo", "moorage restore demo --snapshot 2", "moorage restore demo --yes --no-wait"
    )
)
@environment_argument
@click.option(
    "--snapshot",
    "number",
    type=click.IntRange(1),
    shell_complete=complete_snapshot,
    help="Its number. Default: the last one.",
)
@yes_option
@no_wait_option
@output_option()
@click.pass_context
def restore(
    ctx: click.Context, name: str, number: int | None, yes: bool, no_wait: bool, output: Output
) -> None:
    """Put the objects of a snapshot back into an environment, and wait until that is done.

    All that was made since is gone, with its volumes. Other volumes are left out: they stay as they are. Its
    API server is away for half a minute. The present state becomes a snapshot first: if the restore fails,
    the environment goes back to it, and the command fails with the reason.
    """
    with api_session(ctx, output) as api:
        before = api.environment(name)
        wanted = _to_restore(before, number)
        if wanted:
            confirm(_question(before, wanted), yes=yes, refused="nothing was restored")
        # Use one key for all attempts, because a repeat of a lost call must not restore it again.
        key, query = secrets.token_hex(16), {"life": before.life or None}
        # The one that the user has confirmed: there may be a later one meanwhile.
        body = {"snapshot": wanted.number if wanted else number}
        done = api.call("POST", f"{environment_path(name)}/restore", query=query, body=body, key=key)
        print_answer(done, output, waits=not no_wait)
        if no_wait:
            return
        view = follow_until(api, name, done["life"], _is_restored(before), output)
        # The rights of this person may be newer than the snapshot: the next command of kubectl asks for them.
        CertificateCache(cache_folder()).clear()
        if output is Output.JSON:
            print_json(to_json(view))
        if view.outcome:
            raise CliError(Code.FAILED, f"{name} is being torn down: the restore was stopped")
        if problem := view.restore_problem:
            message = f"The snapshot could not be restored, and {name} is as before. {problem.cause}"
            raise CliError(Code.FAILED, message, next_steps=[problem.remedy] if problem.remedy else [])
        if output is Output.TABLE:
            which = f"Snapshot {wanted.number}" if wanted else "The snapshot"
            print_line(f"{which} of {name} was restored, without volumes.")


def _to_restore(view: EnvironmentView, number: int | None) -> Snapshot | None:
    """Return the snapshot that is meant; None if there is none, which the API refuses with the reason."""
    taken = [one for one in view.snapshots if one.taken_at]
    return next((one for one in reversed(taken) if number in (None, one.number)), None)


def _question(view: EnvironmentView, snapshot: Snapshot) -> str:
    before = f" before {snapshot.before}" if snapshot.before else ""
    return (
        f"Restore the objects of snapshot {snapshot.number} of {view.name} of {view.owner}, taken "
        f"{relative_time(snapshot.taken_at)}{before}, and lose all that was made since, with its volumes?"
    )


def _is_restored(before: EnvironmentView) -> Done:
    """Return a check that the restore is over; `before` is the state before it."""

    def is_restored(view: EnvironmentView) -> bool:
        # The first view can still be the state before, and one without steps is of no worker: it knows
        # neither the restore nor the trail.
        has_started = bool(view.steps) and view.audit_log[-1:] != before.audit_log[-1:]
        return view.outcome is not None or (has_started and view.restore is None)

    return is_restored
