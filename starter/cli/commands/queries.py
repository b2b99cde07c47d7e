"""The commands that read environments: `moorage list` and `moorage show`."""

import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from contracts.phases import Phase
from contracts.types.labels import format_labels
from starter.cli.arguments.options import environment_argument, examples, label_option, output_option
from starter.cli.command_context import api_session
from starter.cli.completion import complete_owner, complete_team, complete_template, one_of
from starter.cli.errors import Output
from starter.cli.output.formatting import (
    environment_row,
    print_environment,
    print_note,
    print_table,
    problem_line,
    relative_time,
    unwell_line,
)
from starter.cli.terminal.text import print_json, print_line, print_yaml
from starter.cli.views.base import parse, to_json
from starter.cli.views.environments import EnvironmentRow

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: Environments in one page of the API.
PAGE_SIZE = 100
#: Interval between two reads of `list --watch`.
WATCH_SECONDS = 2.0

#: The rows of a list as JSON, whether there are more, and the freeze if there is one.
_Rows = tuple[list[Any], bool, Any]


class ListOutput(StrEnum):
    """The output format of a list."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


@click.command(
    epilog=examples(
        "moorage list",
        "moorage list --mine --watch",
        "moorage list --stuck",
        "moorage list --team payments --phase ready",
        "moorage list --label course=k8s",
        "moorage list --ended --output json",
    )
)
@click.option("--mine", is_flag=True, help="Show only your own environments.")
@click.option("--stuck", is_flag=True, help="Show only environments that something blocks.")
@click.option(
    "--owner", shell_complete=complete_owner, help="Show only those of this owner, an e-mail address."
)
@click.option("--team", shell_complete=complete_team, help="Show only those of this team.")
@click.option("--template", shell_complete=complete_template, help="Show only those of this template.")
@click.option("--phase", shell_complete=one_of(*Phase), help="Show only those in this phase, such as ready.")
@label_option("Show only those with this label, KEY=VALUE or KEY. Repeatable: all of them must match.")
@click.option("--ended", is_flag=True, help="Show ended environments instead of current ones.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Maximum number of environments.",
)
@click.option("--watch", "-w", is_flag=True, help="Show the list again after each change, until Ctrl-C.")
@output_option(ListOutput)
@click.pass_context
def list_environments(
    ctx: click.Context,
    /,
    output: ListOutput,
    limit: int,
    watch: bool,
    ended: bool,
    stuck: bool,
    labels: tuple[str, ...],
    **filters: Any,
) -> None:
    """List your environments and those of your teams, and what blocks them."""
    with api_session(ctx, Output.JSON if output is ListOutput.JSON else Output.TABLE) as api:
        query = {**filters, "ended": ended, "stuck": stuck, "troubles": True, "label": list(labels)}

        def read() -> _Rows:
            return _read_pages(api, query, limit)

        def show_rows(found: _Rows) -> None:
            _print_list(found, output, limit=limit, ended=ended, stuck=stuck)

        if watch:
            _watch(read, show_rows)
        else:
            show_rows(read())


@click.command(epilog=examples("moorage show demo"))
@environment_argument
@output_option()
@click.pass_context
def show(ctx: click.Context, name: str, output: Output) -> None:
    """Show the state of an environment, or how its last life ended."""
    with api_session(ctx, output) as api:
        view = api.environment(name)
        if output is Output.JSON:
            print_json(to_json(view))
        else:
            print_environment(view)


def _print_list(found: _Rows, output: ListOutput, *, limit: int, ended: bool, stuck: bool) -> None:
    content, has_more, frozen = found
    if output is ListOutput.JSON:
        print_json(content)
    elif output is ListOutput.YAML:
        print_yaml(content)
    elif output is ListOutput.NAME:
        for one in content:
            print_line(one["name"])
    else:
        rows = [parse(row, EnvironmentRow) for row in content]
        _print_rows(rows, is_wide=output is ListOutput.WIDE, ended=ended, stuck=stuck)
    if has_more:
        print_note(f"There are more: raise --limit above {limit}.")
    if frozen and output in (ListOutput.TABLE, ListOutput.WIDE):
        by = f" by {frozen['by']}" if frozen["by"] else ""
        print_note(f"All ends are frozen{by}: {frozen['reason']}")


def _print_rows(rows: Sequence[EnvironmentRow], *, is_wide: bool, ended: bool, stuck: bool) -> None:
    columns = ["name", "state", "template", "owner", "team", "host", "ended" if ended else "ends"]
    cells = [environment_row(row) for row in rows]
    if is_wide:
        columns += ["requested", "life", "labels"]
        cells = [
            [*cell, relative_time(row.requested_at), row.life, format_labels(row.labels)]
            for cell, row in zip(cells, rows, strict=True)
        ]
    none = "There are no environments. Request one with:  moorage request NAME TEMPLATE"
    if stuck or ended:
        none = "No environment is stuck." if stuck else "No environment has ended."
    print_table(columns, cells, empty=none)
    if problems := [problem_line(row) for row in rows if row.problem]:
        print_line()
        print_line("Blocked:")
        for line in problems:
            print_line(f"  {line}")
    if unwell := [unwell_line(row) for row in rows if row.unwell]:
        print_line()
        print_line("Not well, as their hosts report:")
        for line in unwell:
            print_line(f"  {line}")


def _watch(read: Callable[[], _Rows], show_rows: Callable[[_Rows], None]) -> None:
    """Show the list after each change until Ctrl-C; on a terminal, in the same place."""
    before = None
    while True:
        found = read()
        # On a terminal, show it after every read, because it contains relative times, which change.
        if found != before or sys.stdout.isatty():
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            show_rows(found)
            sys.stdout.flush()
        before = found
        time.sleep(WATCH_SECONDS)


def _read_pages(api: "Api", query: dict[str, Any], limit: int) -> _Rows:
    """Return up to `limit` rows of the list."""
    found: list[Any] = []
    cursor = frozen = None
    while len(found) < limit:
        size = min(PAGE_SIZE, limit - len(found))
        page = api.call("GET", "environments", query={**query, "limit": size, "cursor": cursor})
        found += page["environments"]
        cursor, frozen = page["next"], page["frozen"]
        if not cursor:
            return found, False, frozen
    return found, True, frozen
