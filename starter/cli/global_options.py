"""Accepts global options before and after the name of a command; shows usage errors as JSON on request."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.client.connection import Options
from starter.cli.errors import CliError, Code, Output

if TYPE_CHECKING:
    from typer._click import Command, Parameter

#: Commands that do not call the API, so they accept neither its URL nor a token.
_WITHOUT_API = frozenset({"up", "worker", "api", "codec-server", "setup", "doctor", "check"})
_OUTPUT = ("-o", "--output")


def everywhere(command: "Command", arguments: Sequence[str] | None = None) -> int:
    """Run the command with the arguments, and return its exit code."""
    from typer._click.exceptions import ClickException, NoArgsIsHelpError

    shared = _shared()
    for each in _commands(command):
        if each.name not in _WITHOUT_API:
            each.params += shared
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = command.main(given, prog_name="moorage", standalone_mode=False)
    except ClickException as error:
        if _wants_json(given) and not isinstance(error, NoArgsIsHelpError):
            CliError(Code.BAD_INPUT, error.format_message()).show(Output.JSON)
        else:
            error.show()
        return Code.BAD_INPUT
    return code if isinstance(code, int) else Code.OK


def default_output(command: "Command", output: str) -> dict[str, Any]:
    """Build the default map that makes `output` the default of each subcommand."""
    below: dict[str, Any] = {"output": output}
    for name, each in getattr(command, "commands", {}).items():
        below[name] = default_output(each, output)
    return below


def _commands(command: "Command") -> Iterator["Command"]:
    for each in getattr(command, "commands", {}).values():
        yield each
        yield from _commands(each)


def _shared() -> "list[Parameter]":
    """Return the global options as parameters, from a command that Typer builds for them."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def shared(
        url: Annotated[str | None, typer.Option(callback=_take_url, expose_value=False, hidden=True)] = None,
        token_file: Annotated[
            Path | None, typer.Option(callback=_take_token_file, expose_value=False, hidden=True)
        ] = None,
    ) -> None:
        raise NotImplementedError  # The function exists only for its options.

    return list(typer.main.get_command(app).params)


def _take_url(ctx: typer.Context, value: str | None) -> None:
    if value is not None:
        ctx.obj = replace(ctx.find_object(Options) or Options(), url=value)


def _take_token_file(ctx: typer.Context, value: Path | None) -> None:
    if value is not None:
        ctx.obj = replace(ctx.find_object(Options) or Options(), token_file=value)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether the arguments request JSON, as far as invalid arguments show it."""
    joined = {f"{flag}{between}json" for flag, between in zip(_OUTPUT, ("", "="), strict=True)}
    pairs = pairwise(arguments)
    return bool(joined & set(arguments)) or any(flag in _OUTPUT and what == "json" for flag, what in pairs)
