"""Common parts of the developers' commands: options, the API client, completion, and error handling."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.client.connection import Options, find_connection
from starter.cli.crash_report import crash
from starter.cli.errors import CliError, Output

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: Timeout of completion: the shell waits for suggestions while a user types, so none are better than late
#: ones.
COMPLETION_SECONDS = 1.5

OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="How to answer: for people, or for programs.")
]


@contextmanager
def failures(output: Output, *, logs: bool = False) -> Iterator[None]:
    """Show errors in the block in the command's output format, and exit with their code.

    With `logs`, for a command that is a server with a log, an unexpected error is also logged.
    """
    try:
        yield
    except CliError as error:
        error.show(output)
        raise typer.Exit(error.code) from None
    except Exception as error:
        if is_of_the_command_line(error):
            raise
        if logs:
            import structlog

            if structlog.is_configured():
                structlog.get_logger("moorage").error("ended by a fault of ours", exc_info=error)
        failed = crash(error)
        failed.show(output)
        raise typer.Exit(failed.code) from None


def is_of_the_command_line(error: Exception) -> bool:
    """Return whether `run` handles the error: it ends a Typer command, or is one of the output."""
    return isinstance(error, typer.Abort | BrokenPipeError) or hasattr(error, "exit_code")


@contextmanager
def session(ctx: typer.Context, output: Output) -> Iterator["Api"]:
    """Open the API client for the duration of a command."""
    from starter.cli.client.api import Api

    options = ctx.find_object(Options) or Options()
    with failures(output), Api(find_connection(options), quiet=output is Output.JSON) as api:
        yield api


def complete_environment(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete names of environments; no suggestion if the API does not answer quickly."""
    return _complete(ctx, "environments", {"limit": 200}, incomplete)


def complete_template(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete names of templates; no suggestion if the API does not answer quickly."""
    return _complete(ctx, "templates", {}, incomplete)


def complete_owner(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete addresses of owners of environments."""
    return _complete(ctx, "environments", {"limit": 200}, incomplete, key="owner")


def complete_host(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete names of hosts."""
    return _complete(ctx, "capacity", {}, incomplete, within="hosts")


def complete_team(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete names of the user's teams."""
    found = _complete(ctx, "capacity", {}, f"team {incomplete}", within="quotas", key="whose")
    return [name.removeprefix("team ") for name in found]


def complete_phase(incomplete: str) -> list[str]:
    """Complete phases."""
    from contracts.environment import Phase

    return [phase.value for phase in Phase if phase.startswith(incomplete)]


def _complete(
    ctx: typer.Context,
    what: str,
    query: dict[str, int],
    incomplete: str,
    *,
    within: str = "",
    key: str = "name",
) -> list[str]:
    from starter.cli.client.api import Api

    try:
        options = ctx.find_object(Options) or Options()
        with Api(find_connection(options), timeout=COMPLETION_SECONDS, tries=1, quiet=True) as api:
            names = [entry[key] for entry in api.call("GET", what, query=query)[within or what]]
    except (CliError, KeyError, TypeError):
        return []
    return sorted({name for name in names if name.startswith(incomplete)})


EnvironmentsArgument = Annotated[
    list[str], typer.Argument(help="Names of environments.", autocompletion=complete_environment)
]
EnvironmentArgument = Annotated[
    str, typer.Argument(help="Name of the environment.", autocompletion=complete_environment)
]
