"""The commands that only read: list and show."""

import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.context import (
    EnvironmentArgument,
    OutputOption,
    complete_owner,
    complete_phase,
    complete_team,
    complete_template,
    session,
)
from starter.cli.errors import Output

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: Environments in one page of the API.
PAGE_SIZE = 100
#: Interval between two reads of `list --watch`.
WATCH_SECONDS = 2.0


class ListOutput(StrEnum):
    """The output format of a list."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


def list_environments(
    ctx: typer.Context,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="Only what something holds up, and what that is.")
    ] = False,
    owner: Annotated[
        str | None,
        typer.Option(help="Only this person's: an e-mail address.", autocompletion=complete_owner),
    ] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's.", autocompletion=complete_team)] = None,
    template: Annotated[
        str | None, typer.Option(help="Only of this template.", autocompletion=complete_template)
    ] = None,
    phase: Annotated[
        str | None,
        typer.Option(help="Only in this phase: provisioning, ready, …", autocompletion=complete_phase),
    ] = None,
    ended: Annotated[bool, typer.Option("--ended", help="The past instead of the present.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 200,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again whenever it changes.")] = False,
    output: Annotated[
        ListOutput, typer.Option("--output", "-o", help="How to show it: for people, or for programs.")
    ] = ListOutput.TABLE,
) -> None:
    """List your environments and those of your teams, with what holds up those that do not get on.

    \b
    Examples: moorage list
              moorage list --mine --watch
              moorage list --stuck
              moorage list --team payments --phase ready
              moorage list --ended --output json
    """
    with session(ctx, Output.JSON if output is ListOutput.JSON else Output.TABLE) as api:
        query = {
            "mine": mine,
            "stuck": stuck,
            "troubles": True,
            "owner": owner,
            "team": team,
            "template": template,
            "phase": phase,
            "ended": ended,
        }

        def look() -> tuple[list[Any], bool, Any]:
            return _pages(api, query, limit)

        def show(found: tuple[list[Any], bool, Any]) -> None:
            _show_list(found, output, limit=limit, ended=ended, stuck=stuck)

        if watch:
            _watch_list(look, show)
        else:
            show(look())


def show(ctx: typer.Context, name: EnvironmentArgument, output: OutputOption = Output.TABLE) -> None:
    """Show how an environment stands, or how its last life ended.

    \b
    Example: moorage show demo
    """
    with session(ctx, output) as api:
        from starter.cli.output.formatting import print_environment, print_json

        view = api.environment(name)
        if output is Output.JSON:
            print_json(view.model_dump(mode="json"))
        else:
            print_environment(view)


def _show_list(
    found: tuple[list[Any], bool, Any], output: ListOutput, *, limit: int, ended: bool, stuck: bool
) -> None:
    from starter.cli.output.formatting import (
        environment_row,
        moment,
        print_json,
        print_table,
        say,
        trouble_line,
        unwell_line,
    )
    from starter.cli.output.printing import print_line, print_yaml
    from starter.environments.schemas import EnvironmentRow

    content, cut, frozen = found
    if output is ListOutput.JSON:
        print_json(content)
    elif output is ListOutput.YAML:
        print_yaml(content)
    elif output is ListOutput.NAME:
        for one in content:
            print_line(one["name"])
    else:
        rows = [EnvironmentRow.model_validate(row) for row in content]
        columns: Sequence[str] = (
            "name",
            "state",
            "template",
            "owner",
            "team",
            "host",
            "ended" if ended else "ends",
        )
        cells = [environment_row(row) for row in rows]
        if output is ListOutput.WIDE:
            columns = (*columns, "requested", "life")
            more = ([moment(row.requested_at), row.life] for row in rows)
            cells = [[*row, *rest] for row, rest in zip(cells, more, strict=True)]
        none = (
            "None is stuck." if stuck else "There are none. Ask for one with:  moorage request NAME TEMPLATE"
        )
        print_table(columns, cells, empty=none)
        if troubles := [trouble_line(row) for row in rows if row.problem]:
            print_line()
            print_line("Held up:")
            for line in troubles:
                print_line(f"  {line}")
        if unwell := [unwell_line(row) for row in rows if row.unwell]:
            print_line()
            print_line("Not well, as their hosts say:")
            for line in unwell:
                print_line(f"  {line}")
    if cut:
        say(f"… and more: raise --limit above {limit}")
    if frozen and output in (ListOutput.TABLE, ListOutput.WIDE):
        by = f" by {frozen['by']}" if frozen["by"] else ""
        say(f"All ends are frozen{by}: {frozen['reason']}")


def _watch_list(
    look: Callable[[], tuple[list[Any], bool, Any]], show: Callable[[tuple[list[Any], bool, Any]], None]
) -> None:
    """Show the list after each change until Ctrl-C; on a terminal, in the same place."""
    before = None
    while True:
        found = look()
        # On a terminal, show it after every read, because it contains relative times, which change.
        if found != before or sys.stdout.isatty():
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            show(found)
            sys.stdout.flush()
        before = found
        time.sleep(WATCH_SECONDS)


def _pages(api: "Api", query: dict[str, Any], limit: int) -> tuple[list[Any], bool, Any]:
    """Return up to `limit` entries of a list, whether there are more, and the freeze if any."""
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
