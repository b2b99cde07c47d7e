"""The commands that only look: list, show."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.failing import Output
from starter.cli.session import EnvironmentArgument, OutputOption, complete_template, session

if TYPE_CHECKING:
    from starter.cli.client import Api

#: Environments that are asked for at once.
PAGE_SIZE = 100


def list_environments(
    ctx: typer.Context,
    owner: Annotated[str | None, typer.Option(help="Only this person's: an e-mail address.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Only of this template.", autocompletion=complete_template)
    ] = None,
    phase: Annotated[str | None, typer.Option(help="Only in this phase: provisioning, ready, …")] = None,
    ended: Annotated[bool, typer.Option("--ended", help="The past instead of the present.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 200,
    output: OutputOption = Output.TABLE,
) -> None:
    """List your environments and those of your teams.

    \b
    Examples: moorage list
              moorage list --team payments --phase ready
              moorage list --ended --output json
    """
    with session(ctx, output) as api:
        from starter.cli.render import environment_row, print_json, print_table, say
        from starter.views import EnvironmentRow

        query = {"owner": owner, "team": team, "template": template, "phase": phase, "ended": ended}
        found, cut, frozen = _pages(api, query, limit)
        if output is Output.JSON:
            print_json(found)
            if cut:
                say(_more(limit))
            return
        columns = ("name", "state", "template", "owner", "team", "host", "ended" if ended else "ends")
        rows = (environment_row(EnvironmentRow.model_validate(row)) for row in found)
        print_table(columns, rows, empty="There are none. Ask for one with:  moorage request NAME TEMPLATE")
        if cut:
            say(_more(limit))
        if frozen:
            by = f" by {frozen['by']}" if frozen["by"] else ""
            say(f"All ends are frozen{by}: {frozen['reason']}")


def show(ctx: typer.Context, name: EnvironmentArgument, output: OutputOption = Output.TABLE) -> None:
    """Show how an environment stands, or how its last life ended.

    \b
    Example: moorage show demo
    """
    with session(ctx, output) as api:
        from starter.cli.render import print_environment, print_json

        view = api.environment(name)
        if output is Output.JSON:
            print_json(view.model_dump(mode="json"))
        else:
            print_environment(view)


def _more(limit: int) -> str:
    return f"… and more: raise --limit above {limit}"


def _pages(api: "Api", query: dict[str, Any], limit: int) -> tuple[list[Any], bool, Any]:
    """At most `limit` entries of a list, whether there are more, and how ends are frozen, if they are."""
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
