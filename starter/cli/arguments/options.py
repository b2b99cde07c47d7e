"""Options and arguments that several commands share, and the examples in their help."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from starter.cli.completion import (
    complete_environment,
    complete_host,
    complete_label,
    complete_parameter,
    complete_team,
    complete_template,
)
from starter.cli.errors import Output

_Kind = TypeVar("_Kind", bound=StrEnum)
_Command = TypeVar("_Command", bound=Callable[..., Any])


class EnumChoice(click.Choice[_Kind]):
    """The values of an enumeration; the command gets the member."""

    def __init__(self, kind: type[_Kind]) -> None:
        super().__init__(list(kind))

    def normalize_choice(self, choice: Any, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the value that the user writes."""
        return str(choice)


def examples(*lines: str) -> str:
    """Return the epilog of a command with these examples."""
    heading = "Example:" if len(lines) == 1 else "Examples:"
    # With a backspace, the help keeps the line breaks of a paragraph.
    return "\n".join(["\b", heading, *(f"  {line}" for line in lines)])


def output_option(kind: type[StrEnum] = Output) -> Callable[[_Command], _Command]:
    """Return the option for the output format; its default is that before the command's name."""
    return click.option(
        "--output",
        "-o",
        type=EnumChoice(kind),
        default=Output.TABLE.value,
        show_default=True,
        callback=_use_global_output,
        help="Output format.",
    )


def _use_global_output(ctx: click.Context, param: click.Parameter, value: StrEnum) -> Any:
    given = ctx.find_root().params.get("output")
    if given is None or ctx.get_parameter_source("output") is not ParameterSource.DEFAULT:
        return value
    return param.type.convert(given, param, ctx)


environment_argument = click.argument("name", shell_complete=complete_environment)
environments_argument = click.argument(
    "names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_environment
)
template_argument = click.argument("template", shell_complete=complete_template)
team_option = click.option(
    "--team", shell_complete=complete_team, help="Team that the environment belongs to. Default: your first."
)
host_option = click.option(
    "--host", shell_complete=complete_host, help="Host cluster. Default: Moorage chooses one."
)


def label_option(text: str) -> Callable[[_Command], _Command]:
    """Return the option for labels, which can be repeated."""
    return click.option(
        "--label",
        "-l",
        "labels",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete_label,
        help=text,
    )


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
no_wait_option = click.option("--no-wait", is_flag=True, help="Return at once, and do not wait for the end.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    shell_complete=complete_parameter,
    help="Value of a parameter of the template; see `moorage templates show`. Repeatable.",
)


def parse_settings(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of `--set`; raise UsageError for one that is none, or that is there twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f'--set: "{text}" is not a parameter: write NAME=VALUE')
        if name in found:
            raise click.UsageError(f"--set: {name} is there twice")
        found[name] = value
    return found
