"""The commands that create, watch and end environments."""

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contracts.phases import Outcome, Phase
from starter.cli.arguments.options import (
    dry_run_option,
    environment_argument,
    environments_argument,
    examples,
    host_option,
    label_option,
    no_wait_option,
    output_option,
    parse_settings,
    set_option,
    team_option,
    yes_option,
)
from starter.cli.arguments.prompts import confirm
from starter.cli.batch import run_concurrently, run_in_turn
from starter.cli.bulk.bulk_request import request_several
from starter.cli.bulk.labels import labelled_environments, parse_labels
from starter.cli.bulk.requests import MAX_ENVIRONMENTS, BulkRequest
from starter.cli.client.api_paths import environment_path
from starter.cli.command_context import api_session
from starter.cli.commands.kubeconfig import remove_context_of
from starter.cli.completion import complete_environment, complete_host, complete_template
from starter.cli.errors import Output
from starter.cli.follow import (
    creation_failure,
    follow_until,
    is_over,
    is_ready,
    pass_ended_since,
    print_next_commands,
    report_removal,
    report_teardown,
)
from starter.cli.output.formatting import print_certificate, print_environment, print_note
from starter.cli.terminal.text import print_json, print_json_line, print_line
from starter.cli.views.base import to_json
from starter.cli.views.environments import EnvironmentView

if TYPE_CHECKING:
    from starter.cli.client.api import Api


@click.command(
    epilog=examples(
        "moorage request demo small",
        "moorage request pr-512 medium --ttl 2d --with grace@example.com",
        "moorage request pr-512 medium --dry-run",
        "moorage request demo small --set replicas=3",
        "moorage request lab small --count 20 --label course=k8s",
        "moorage request --file environments.yaml",
    )
)
@click.argument("name", required=False)
@click.argument("template", required=False, shell_complete=complete_template)
@click.option(
    "--file",
    "-f",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Request the environments in this file, YAML or JSON; - is standard input.",
)
@click.option(
    "--count",
    type=click.IntRange(1, MAX_ENVIRONMENTS),
    help="Request that many, named NAME-1, NAME-2 and so on, with the label batch=NAME.",
)
@set_option
@label_option("Label of the environment, to list and delete several at once. Repeatable.")
@team_option
@click.option("--ttl", help='Time to live: "8h", "1d 12h", or "PT8H". Default: that of the template.')
@click.option(
    "--with", "collaborators", multiple=True, metavar="EMAIL", help="Person who may also use it. Repeatable."
)
@host_option
@dry_run_option
@no_wait_option
@output_option()
@click.pass_context
def request(
    ctx: click.Context,
    name: str | None,
    template: str | None,
    file: Path | None,
    count: int | None,
    settings: tuple[str, ...],
    labels: tuple[str, ...],
    team: str | None,
    ttl: str | None,
    collaborators: tuple[str, ...],
    host: str | None,
    dry_run: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Request an environment, and wait until it is ready.

    NAME has lower-case letters, digits and hyphens. TEMPLATE is one of `moorage templates`.

    Ctrl-C ends only the command, and the environment is created nevertheless. A second request with the same
    options joins the first one.

    With --file or --count, all requests are checked before the first is sent.
    """
    given = parse_labels(labels)
    body = {
        "name": name,
        "template": template,
        "team": team,
        "ttl": ttl,
        "collaborators": list(collaborators),
        "host": host,
        "labels": given,
        "parameters": parse_settings(settings),
    }
    if file is not None:
        if name or template or count or any((team, ttl, collaborators, host, settings)):
            raise click.UsageError("--file has the environments: of what describes one, only --label fits.")
        request_several(ctx, lambda: _read_file(file, given), dry_run, no_wait, output)
        return
    if not name or not template:
        raise click.UsageError("Missing argument 'NAME' or 'TEMPLATE': give both, or --file.")
    if count is not None:
        one = BulkRequest({**body, "labels": {"batch": name} | given})
        request_several(ctx, lambda: one.times(count), dry_run, no_wait, output)
        return
    with api_session(ctx, output) as api:
        # Use one key for all attempts, because a lost response must not lead to a second life.
        key = secrets.token_hex(16)
        done = api.call("POST", "environments", query={"dry_run": dry_run}, body=body, key=key)
        if dry_run or no_wait:
            _print_answer(api, done, output)
            return
        if output is Output.TABLE:
            print_note(done["message"])
        view = follow_until(api, name, done["life"], is_ready, output)
        if output is Output.JSON:
            print_json(to_json(view))
        if view.phase is Phase.ASLEEP and not view.ended:
            print_note(f"{view.name} is asleep. Wake it with:  moorage wake {view.name}")
            return
        if view.ended or view.phase is not Phase.READY:
            raise creation_failure(view)
        if output is Output.TABLE:
            print_next_commands(view)


@click.command(epilog=examples("moorage watch demo", "moorage watch demo pr-512"))
@environments_argument
@output_option()
@click.pass_context
def watch(ctx: click.Context, names: tuple[str, ...], output: Output) -> None:
    """Watch environments until each is ready or, if it is being deleted, gone.

    With --output json, standard output has one JSON document per line for each change.
    """
    with api_session(ctx, output) as api:
        several = len(names) > 1
        run_concurrently(
            names, lambda name: _watch_one(api, name, output, about=name if several else ""), output
        )


def _read_file(file: Path, labels: Mapping[str, str]) -> list[BulkRequest]:
    from starter.cli.bulk.environments_file import read_requests

    return [one.with_labels(labels) for one in read_requests(file)]


def _watch_one(api: "Api", name: str, output: Output, *, about: str) -> None:
    view = api.environment(name)
    done = is_over if view.outcome else is_ready
    if not view.ended or view.certificate is None:
        view = follow_until(api, name, view.life, done, output, to_stdout=True, about=about)
    elif output is Output.JSON:
        # Print it here: Temporal may have dropped its run, and then there is nothing to follow.
        print_json_line(to_json(view))
    if view.outcome is Outcome.FAILED or (is_over(view) and not (view.ended and view.certificate)):
        raise creation_failure(view)
    if view.certificate and output is Output.TABLE:
        print_certificate(view.certificate)


@click.command(
    epilog=examples(
        "moorage delete demo", "moorage delete demo pr-512 --yes", "moorage delete --label batch=lab"
    )
)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_environment)
@label_option("Delete all that have this label, KEY=VALUE or KEY. Repeatable: all of them must match.")
@yes_option
@no_wait_option
@output_option()
@click.pass_context
def delete(
    ctx: click.Context,
    names: tuple[str, ...],
    labels: tuple[str, ...],
    yes: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Delete environments, and show for each the certificate that nothing is left."""
    if bool(names) == bool(labels):
        raise click.UsageError("Give the names of environments, or --label.")
    with api_session(ctx, output) as api:
        views = (
            labelled_environments(api, labels)
            if labels
            else [api.environment(name) for name in dict.fromkeys(names)]
        )
        if there := [f"{view.name} of {view.owner} ({view.phase.words})" for view in views if not view.ended]:
            everything = "everything in it" if len(there) == 1 else "everything in them"
            confirm(f"Delete {', '.join(there)} and {everything}?", yes=yes, refused="nothing was deleted")
        # Send all requests first: the teardowns run concurrently, and the command waits for each in turn.
        requested = [(view, _request_end(api, "DELETE", "", view)) for view in views]
        run_in_turn(requested, lambda one: _await_end(api, *one, no_wait, output), output)


@click.command(epilog=examples("moorage cancel demo"))
@environment_argument
@no_wait_option
@output_option()
@click.pass_context
def cancel(ctx: click.Context, name: str, no_wait: bool, output: Output) -> None:
    """Cancel the creation of an environment, and remove what was created.

    To remove an environment that is ready, use `moorage delete`.
    """
    with api_session(ctx, output) as api:
        view = api.environment(name)
        _await_end(api, view, _request_end(api, "POST", "/cancel", view), no_wait, output)


@click.command(
    epilog=examples(
        "moorage teardown demo",
        "moorage teardown demo --now",
        "moorage teardown demo --force",
        "moorage teardown demo --force --life 0123456789abcdef0123 --host one",
    )
)
@environment_argument
@click.option(
    "--now",
    "--resume",
    "now",
    is_flag=True,
    help="Start the next pass now, also after it gave up. (platform team)",
)
@click.option(
    "--force",
    is_flag=True,
    help="Remove what is left after its workflow was closed in Temporal. (platform team)",
)
@click.option("--life", help="With --force: the life, which is the last part of the owner mark.")
@click.option(
    "--host",
    shell_complete=complete_host,
    help="With --force: the host of a life whose workflow Temporal no longer has.",
)
@yes_option
@no_wait_option
@output_option()
@click.pass_context
def teardown(
    ctx: click.Context,
    name: str,
    now: bool,
    force: bool,
    life: str | None,
    host: str | None,
    yes: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Show what a teardown could not undo, and when it tries again.

    With --now, it starts the next pass at once. With --force, it removes what is left of an environment whose
    workflow was terminated in Temporal. If Temporal no longer has the workflow, the owner marks show the
    life; where they cannot, use --life and --host.
    """
    if now and force:
        raise click.UsageError(
            "--now and --force exclude each other: only what was closed in Temporal needs --force."
        )
    if not force and (life or host):
        raise click.UsageError("--life and --host need --force.")
    with api_session(ctx, output) as api:
        if force:
            done = _force_teardown(api, name, life, host, yes=yes, output=output)
            _await_removal(api, name, done, is_over, no_wait, output)
            return
        before = api.environment(name)
        if not now:
            if output is Output.JSON:
                print_json(to_json(before))
            report_teardown(before, quiet=output is Output.JSON)
            return
        # Use one key for all attempts, because a repeat must not resume a teardown that has given up again.
        key = secrets.token_hex(16)
        path, query = f"{environment_path(name)}/resume-teardown", {"life": before.life or None}
        done = api.call("POST", path, query=query, key=key)
        _await_removal(api, name, done, pass_ended_since(before), no_wait, output)


def _force_teardown(
    api: "Api", name: str, life: str | None, host: str | None, *, yes: bool, output: Output
) -> dict[str, Any]:
    """Ask for confirmation with the result of a dry run, and start the teardown."""
    path, query = f"{environment_path(name)}/force-teardown", {"life": life, "host": host}
    found = api.call("POST", path, query={**query, "dry_run": True})
    query["life"] = found["life"]
    if output is Output.TABLE and not yes:
        if found.get("environment"):
            print_environment(api.view(found["environment"]))
        print_note(found["message"])
    marks = f"the owner mark of {name} (life {found['life']})"
    confirm(f"Remove everything with {marks} from every system?", yes=yes, refused="nothing was removed")
    done: dict[str, Any] = api.call("POST", path, query=query)
    return done


def _await_removal(
    api: "Api",
    name: str,
    done: dict[str, Any],
    until: Callable[[EnvironmentView], bool],
    no_wait: bool,
    output: Output,
) -> None:
    """Wait for a pass of the teardown, and report its result."""
    if no_wait:
        _print_answer(api, done, output)
        return
    if output is Output.TABLE:
        print_note(done["message"])
    view = follow_until(api, name, done["life"], until, output)
    if output is Output.JSON:
        print_json(to_json(view))
    report_removal(view, quiet=output is Output.JSON)


def _request_end(api: "Api", method: str, suffix: str, view: EnvironmentView) -> dict[str, Any]:
    # Name the life, because another life may have the name when the call, or a repeat of it, arrives.
    done: dict[str, Any] = api.call(
        method, environment_path(view.name) + suffix, query={"life": view.life or None}
    )
    return done


def _await_end(
    api: "Api", view: EnvironmentView, done: dict[str, Any], no_wait: bool, output: Output
) -> None:
    """Wait for the end of the teardown, and report it."""
    if no_wait:
        _print_answer(api, done, output)
        remove_context_of(api.url, view.name, output)
        return
    if output is Output.TABLE:
        print_note(done["message"])
    view = follow_until(api, view.name, done["life"], is_over, output)
    if view.ended:
        remove_context_of(api.url, view.name, output)
    if output is Output.JSON:
        print_json(to_json(view))
    report_removal(view, quiet=output is Output.JSON)


def _print_answer(api: "Api", done: dict[str, Any], output: Output) -> None:
    """Print the answer of the API to a change, without waiting for the environment."""
    if output is Output.JSON:
        print_json(done)
        return
    print_line(done["message"])
    if done["kind"] != "dry_run":
        print_note(f"Watch it with:  moorage watch {done['name']}")
        return
    print_line()
    print_environment(api.view(done["environment"]), planned=True)
    if done.get("values"):
        from clients.safe_yaml import write_yaml

        print_line()
        print_line("values of the vCluster:")
        # With ascii_only, the YAML has no line break and no control character except its own.
        sys.stdout.write(write_yaml(done["values"], ascii_only=True))
