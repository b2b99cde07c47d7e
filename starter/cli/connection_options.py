"""The options that say where the API is, before the name of a command and after it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from starter.cli.terminal.verbosity import set_verbose

#: The completion of a parameter's value.
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


@dataclass(frozen=True)
class ConnectionOptions:
    """The options that say where the API is, and with which token."""

    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    context: str | None = None


def connection_options_of(ctx: click.Context) -> ConnectionOptions:
    """Return the connection options of the command line."""
    return ctx.find_object(ConnectionOptions) or ConnectionOptions()


def connection_parameters(complete_context: Complete) -> list[click.Parameter]:
    """Return the options for the connection as a command takes them after its name; its help omits them."""
    path = click.Path(path_type=Path)
    return [
        click.Option(["--url"], callback=_set_connection, expose_value=False, hidden=True),
        click.Option(["--token-file"], type=path, callback=_set_connection, expose_value=False, hidden=True),
        click.Option(["--ca-file"], type=path, callback=_set_connection, expose_value=False, hidden=True),
        click.Option(
            ["--context"],
            callback=_set_connection,
            expose_value=False,
            hidden=True,
            shell_complete=complete_context,
        ),
        click.Option(
            ["--verbose", "-v"], is_flag=True, callback=_be_verbose, expose_value=False, hidden=True
        ),
    ]


def _be_verbose(_ctx: click.Context, _param: click.Parameter, is_set: bool) -> None:
    if is_set:
        set_verbose(True)


def _set_connection(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name:
        ctx.obj = replace(connection_options_of(ctx), **{param.name: value})
