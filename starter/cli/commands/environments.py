"""The commands that create, watch and end environments."""

import secrets
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.context import (
    EnvironmentArgument,
    EnvironmentsArgument,
    OutputOption,
    complete_host,
    complete_team,
    complete_template,
    session,
)
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.printing import print_json_line

if TYPE_CHECKING:
    from starter.cli.client.api import Api
    from starter.environments.schemas import EnvironmentView

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait: say that it is under way, and end.")]


def request(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and hyphens.")],
    template: Annotated[
        str, typer.Argument(help="One of `moorage templates`.", autocompletion=complete_template)
    ],
    team: Annotated[
        str | None,
        typer.Option(help="One of your teams; your first without it.", autocompletion=complete_team),
    ] = None,
    ttl: Annotated[str | None, typer.Option(help='How long it lives: "8h", "1d 12h", or "PT8H".')] = None,
    collaborator: Annotated[
        list[str] | None, typer.Option("--with", help="E-mail of who else may use it. Repeatable.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Host cluster.", autocompletion=complete_host)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made, and end; with its exit code.")
    ] = False,
    no_wait: NoWait = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask for an environment, and wait until it is ready.

    Ctrl-C stops the watching, not the request. Asking for the same again joins it.

    \b
    Examples: moorage request demo small
              moorage request pr-512 medium --ttl 2d --with grace@example.com
              moorage request pr-512 medium --dry-run
    """
    body = {
        "name": name,
        "template": template,
        "team": team,
        "ttl": ttl,
        "collaborators": collaborator or [],
        "host": host,
    }
    with session(ctx, output) as api:
        from contracts.environment import Phase
        from starter.cli.follow import follow_until, is_ready, not_made, tell_next
        from starter.cli.output.formatting import print_json, say

        # Use one key for all attempts, because a lost response must not lead to a second life.
        key = secrets.token_hex(16)
        done = api.call("POST", "environments", query={"dry_run": dry_run}, body=body, key=key)
        if dry_run or no_wait:
            _tell_at_once(api, done, output)
            return
        if output is Output.TABLE:
            say(done["message"])
        view = follow_until(api, name, done["life"], is_ready, output)
        if output is Output.JSON:
            print_json(view.model_dump(mode="json"))
        if view.ended or view.phase is not Phase.READY:
            raise not_made(view)
        if output is Output.TABLE:
            tell_next(view)


def watch(ctx: typer.Context, names: EnvironmentsArgument, output: OutputOption = Output.TABLE) -> None:
    """Watch environments until each is ready or, if it is on its way out, gone.

    With --output json: one JSON document a line, one for every change.

    \b
    Examples: moorage watch demo
              moorage watch demo pr-512
    """
    with session(ctx, output) as api:
        from starter.cli.batch import each_at_once

        several = len(names) > 1
        each_at_once(names, lambda name: _watch_one(api, name, output, about=name if several else ""), output)


def _watch_one(api: "Api", name: str, output: Output, *, about: str) -> None:
    from contracts.environment import Outcome
    from starter.cli.follow import follow_until, is_over, is_ready, not_made
    from starter.cli.output.formatting import print_certificate

    view = api.environment(name)
    done = is_over if view.outcome else is_ready
    if not view.ended or view.certificate is None:
        view = follow_until(api, name, view.life, done, output, to_stdout=True, about=about)
    elif output is Output.JSON:
        # Print it here: Temporal may have dropped its run, and then there is nothing to follow.
        print_json_line(view.model_dump_json())
    if view.outcome is Outcome.FAILED or (is_over(view) and not (view.ended and view.certificate)):
        raise not_made(view)
    if view.certificate and output is Output.TABLE:
        print_certificate(view.certificate)


def delete(
    ctx: typer.Context,
    names: EnvironmentsArgument,
    yes: YesOption = False,
    no_wait: NoWait = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete environments, and show for each the certificate that nothing is left.

    \b
    Examples: moorage delete demo
              moorage delete demo pr-512 --yes
    """
    with session(ctx, output) as api:
        from starter.cli.batch import each_in_turn
        from starter.cli.prompts import confirm

        views = [api.environment(name) for name in dict.fromkeys(names)]
        if there := [f"{view.name} of {view.owner} ({view.phase})" for view in views if not view.ended]:
            question = (
                f"Delete {', '.join(there)} and all that runs in {'it' if len(there) == 1 else 'them'}?"
            )
            confirm(question, yes=yes, refused="nothing was deleted")
        # Send all requests first: the teardowns run concurrently, and the command waits for each in turn.
        begun = [(view, _begin_end(api, "DELETE", "", view)) for view in views]
        each_in_turn(begun, lambda one: _see_end(api, *one, no_wait, output), output)


def cancel(
    ctx: typer.Context,
    name: EnvironmentArgument,
    no_wait: NoWait = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop making an environment, and take down what was made. Once it is ready: delete.

    \b
    Example: moorage cancel demo
    """
    with session(ctx, output) as api:
        view = api.environment(name)
        _see_end(api, view, _begin_end(api, "POST", "/cancel", view), no_wait, output)


def teardown(
    ctx: typer.Context,
    name: EnvironmentArgument,
    now: Annotated[
        bool,
        typer.Option(
            "--now", "--resume", help="Start the next pass at once, also of one that has given up. (platform)"
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Remove what a workflow left that was closed in Temporal, by names and marks. (platform)",
        ),
    ] = False,
    life: Annotated[
        str | None, typer.Option(help="With --force: the life that is meant, the last part of its mark.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="With --force: the host of a life that Temporal has forgotten.",
            autocompletion=complete_host,
        ),
    ] = None,
    yes: YesOption = False,
    no_wait: NoWait = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell what a teardown could not undo, and when it tries again.

    With --now the platform team starts the next pass at once. With --force it removes what is left of an
    environment whose workflow was terminated in Temporal, so that nothing undoes it by itself. If Temporal
    has forgotten the workflow, the owner marks say which life has left something; --life and --host say it
    where they cannot.

    \b
    Examples: moorage teardown demo
              moorage teardown demo --now
              moorage teardown demo --force
              moorage teardown demo --force --life 0123456789abcdef0123 --host one
    """
    with session(ctx, output) as api:
        from starter.cli.client.api import environment_path
        from starter.cli.follow import is_over, passed_again, tell_teardown
        from starter.cli.output.formatting import print_environment, print_json, say
        from starter.cli.prompts import confirm

        if now and force:
            raise CliError(
                Code.BAD_INPUT, "either --now or --force: only what was closed in Temporal needs force"
            )
        if not force and (life or host):
            raise CliError(Code.BAD_INPUT, "--life and --host are for --force")
        path = environment_path(name)
        if force:
            query = {"life": life, "host": host}
            found = api.call("POST", f"{path}/force-teardown", query={**query, "dry_run": True})
            query["life"] = found["life"]
            if output is Output.TABLE and not yes:
                if found.get("environment"):
                    print_environment(api.view(found["environment"]))
                say(found["message"])
            question = f"Remove all that bears the marks of {name} (life {found['life']}) in every system?"
            confirm(question, yes=yes, refused="nothing was removed")
            done = api.call("POST", f"{path}/force-teardown", query=query)
            _see_teardown(api, name, done, is_over, no_wait, output)
            return
        before = api.environment(name)
        if not now:
            if output is Output.JSON:
                print_json(before.model_dump(mode="json"))
            tell_teardown(before, quiet=output is Output.JSON)
            return
        # Use one key for all attempts, because a repeat must not resume a teardown that has given up again.
        key = secrets.token_hex(16)
        query = {"life": before.life or None}
        done = api.call("POST", f"{path}/resume-teardown", query=query, key=key)
        _see_teardown(api, name, done, passed_again(before), no_wait, output)


def _see_teardown(
    api: "Api",
    name: str,
    done: dict[str, Any],
    until: Callable[["EnvironmentView"], bool],
    no_wait: bool,
    output: Output,
) -> None:
    from starter.cli.follow import follow_until, tell_gone
    from starter.cli.output.formatting import print_json, say

    if no_wait:
        _tell_at_once(api, done, output)
        return
    if output is Output.TABLE:
        say(done["message"])
    view = follow_until(api, name, done["life"], until, output)
    if output is Output.JSON:
        print_json(view.model_dump(mode="json"))
    tell_gone(view, quiet=output is Output.JSON)


def _begin_end(api: "Api", method: str, verb: str, view: "EnvironmentView") -> dict[str, Any]:
    from starter.cli.client.api import environment_path

    # Name the life, because another life may have the name when the call, or a repeat of it, arrives.
    done: dict[str, Any] = api.call(
        method, environment_path(view.name) + verb, query={"life": view.life or None}
    )
    return done


def _see_end(
    api: "Api", view: "EnvironmentView", done: dict[str, Any], no_wait: bool, output: Output
) -> None:
    from starter.cli.commands.kubeconfig import forget_context
    from starter.cli.follow import follow_until, is_over, tell_gone
    from starter.cli.output.formatting import print_json, say

    if no_wait:
        _tell_at_once(api, done, output)
        forget_context(api.url, view.name, output)
        return
    if output is Output.TABLE:
        say(done["message"])
    view = follow_until(api, view.name, done["life"], is_over, output)
    if view.ended:
        forget_context(api.url, view.name, output)
    if output is Output.JSON:
        print_json(view.model_dump(mode="json"))
    tell_gone(view, quiet=output is Output.JSON)


def _tell_at_once(api: "Api", done: dict[str, Any], output: Output) -> None:
    """Show the result of a call without waiting for the environment."""
    from clients.safe_yaml import write_yaml
    from starter.cli.output.formatting import print_environment, print_json, say
    from starter.cli.output.printing import print_line

    if output is Output.JSON:
        print_json(done)
        return
    print_line(done["message"])
    if done["kind"] == "dry_run":
        print_line()
        print_environment(api.view(done["environment"]), planned=True)
        if done.get("values"):
            print_line()
            print_line("values of the vCluster:")
            # With ascii_only, the YAML has no line break and no control character except its own.
            sys.stdout.write(write_yaml(done["values"], ascii_only=True))
    else:
        say(f"Watch it with:  moorage watch {done['name']}")
