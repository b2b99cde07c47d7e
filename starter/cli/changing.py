"""The commands that begin and end environments, and the one that watches them."""

import secrets
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.failing import CliError, Code, Output
from starter.cli.session import EnvironmentArgument, OutputOption, complete_template, session

if TYPE_CHECKING:
    from starter.cli.client import Api
    from starter.views import EnvironmentView

NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait: say that it is under way, and end.")]


def request(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and hyphens.")],
    template: Annotated[
        str, typer.Argument(help="One of `moorage templates`.", autocompletion=complete_template)
    ],
    team: Annotated[str | None, typer.Option(help="One of your teams; your first without it.")] = None,
    ttl: Annotated[str | None, typer.Option(help='How long it shall live: "8h", "1d 12h".')] = None,
    collaborator: Annotated[
        list[str] | None, typer.Option("--with", help="E-mail of who else may use it. Repeatable.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Host cluster.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and end.")] = False,
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
        from starter.cli.render import print_json, say
        from starter.cli.waiting import follow_until, is_ready, not_made, tell_next

        # One key for all tries: an answer that was lost must not lead to a second life.
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


def watch(ctx: typer.Context, name: EnvironmentArgument, output: OutputOption = Output.TABLE) -> None:
    """Watch an environment until it is ready or, if it is on its way out, gone.

    With --output json: one JSON document a line, one for every change.

    \b
    Example: moorage watch demo
    """
    with session(ctx, output) as api:
        from contracts.environment import Outcome
        from starter.cli.render import print_certificate
        from starter.cli.waiting import follow_until, is_over, is_ready, not_made

        view = api.environment(name)
        done = is_over if view.outcome else is_ready
        view = follow_until(api, name, view.life, done, output, to_stdout=True)
        if view.outcome is Outcome.FAILED or (is_over(view) and not (view.ended and view.certificate)):
            raise not_made(view)
        if view.certificate and output is Output.TABLE:
            print_certificate(view.certificate)


def delete(
    ctx: typer.Context,
    name: EnvironmentArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_wait: NoWait = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete an environment, and show the certificate that nothing is left.

    \b
    Example: moorage delete demo --yes
    """
    with session(ctx, output) as api:
        view = api.environment(name)
        if not yes and sys.stdin.isatty():
            question = f"Delete {name} of {view.owner} ({view.phase}) and all that runs in it?"
            if not view.ended and not typer.confirm(question, err=True):
                raise CliError(Code.FAILED, "nothing was deleted")
        _end(api, "DELETE", "", view, no_wait, output)


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
        _end(api, "POST", "/cancel", api.environment(name), no_wait, output)


def teardown(
    ctx: typer.Context,
    name: EnvironmentArgument,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Have one that has given up try again. For the platform team."),
    ] = False,
    no_wait: NoWait = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell what a teardown could not undo; with --resume, have it try again what it has given up.

    \b
    Examples: moorage teardown demo
              moorage teardown demo --resume
    """
    with session(ctx, output) as api:
        from starter.cli.client import environment_path
        from starter.cli.render import print_json, say
        from starter.cli.waiting import follow_until, gave_up_again, tell_gone, tell_teardown

        if not resume:
            view = api.environment(name)
            if output is Output.JSON:
                print_json(view.model_dump(mode="json"))
            tell_teardown(view, quiet=output is Output.JSON)
            return
        # One key for all tries: a repeat must not resume a teardown that has given up a second time.
        done = api.call("POST", f"{environment_path(name)}/resume-teardown", key=secrets.token_hex(16))
        if no_wait:
            _tell_at_once(api, done, output)
            return
        if output is Output.TABLE:
            say(done["message"])
        before = api.view(done["environment"])
        view = follow_until(api, name, done["life"], gave_up_again(before), output)
        if output is Output.JSON:
            print_json(view.model_dump(mode="json"))
        tell_gone(view, quiet=output is Output.JSON)


def _end(api: "Api", method: str, verb: str, view: "EnvironmentView", no_wait: bool, output: Output) -> None:
    from starter.cli.client import environment_path
    from starter.cli.render import print_json, say
    from starter.cli.waiting import follow_until, is_over, tell_gone

    # Of this life only, whatever has its name when the call, or a repeat of it, arrives.
    name, life = view.name, view.life or None
    done = api.call(method, environment_path(name) + verb, query={"life": life})
    if no_wait:
        _tell_at_once(api, done, output)
        return
    if output is Output.TABLE:
        say(done["message"])
    view = follow_until(api, name, done["life"], is_over, output)
    if output is Output.JSON:
        print_json(view.model_dump(mode="json"))
    tell_gone(view, quiet=output is Output.JSON)


def _tell_at_once(api: "Api", done: dict[str, Any], output: Output) -> None:
    """Say what became of a call that is not waited for."""
    from clients.documents import write_yaml
    from starter.cli.printing import print_line
    from starter.cli.render import print_environment, print_json, say

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
            # YAML that is dumped so holds no line break and no control character but its own.
            sys.stdout.write(write_yaml(done["values"], ascii_only=True))
    else:
        say(f"Watch it with:  moorage watch {done['name']}")
