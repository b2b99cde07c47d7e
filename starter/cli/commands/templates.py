"""`moorage templates`: the available templates; and `check` and `try`, for authors of templates."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.commands.template_trial import try_template
from starter.cli.context import OutputOption, complete_template, failures, session
from starter.cli.errors import CliError, Code, Output

if TYPE_CHECKING:
    from starter.catalogue.lint import CatalogueCheck, LabelsOfHosts

OnHosts = Callable[["CatalogueCheck", "LabelsOfHosts"], "CatalogueCheck"]


def templates(ctx: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List what you may ask for.

    \b
    Example: moorage templates
    """
    if ctx.invoked_subcommand:
        return
    with session(ctx, output) as api:
        answer = api.call("GET", "templates")
        from starter.cli.output.formatting import print_json, print_table, say, template_row
        from starter.environments.schemas import TemplateList

        if output is Output.JSON:
            print_json(answer["templates"])
            return
        listed = TemplateList.model_validate(answer)
        columns = ("name", "kubernetes", "size", "time to live", "description")
        print_table(
            columns, map(template_row, listed.templates), empty="There is no template that you may ask for."
        )
        if listed.remark:
            say(listed.remark)


def show(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(help="One of `moorage templates`.", autocompletion=complete_template)
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show all that a template says of the environments that are made from it.

    \b
    Example: moorage templates show small
    """
    with session(ctx, output) as api:
        from urllib.parse import quote

        from starter.cli.output.formatting import print_json, template_lines
        from starter.cli.output.printing import print_line
        from starter.environments.schemas import TemplateView

        answer = api.call("GET", f"templates/{quote(name, safe='')}")
        if output is Output.JSON:
            print_json(answer)
            return
        for line in template_lines(TemplateView.model_validate(answer)):
            print_line(line)


def check(
    ctx: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of templates; the one of the settings without it.")
    ] = None,
    hosts: Annotated[
        bool,
        typer.Option(
            "--hosts", help="Ask the hosts of the settings too: charts, values, and what we may do there."
        ),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say everything that is wrong with the templates of a folder, file and line.

    For those who write them: it asks no system, and of the settings it needs only the labels of the hosts.
    With --hosts it needs the worker's settings. Exit code 0 if they can be used, 2 if not.

    \b
    Examples: moorage templates check templates/
              moorage templates check --hosts
              MOORAGE_CONFIG=moorage.toml moorage templates check --output json
    """
    with failures(output):
        from starter.catalogue.lint import check_catalogue
        from starter.cli.output.formatting import print_json, print_table, say
        from worker.settings.models import SettingsError, load_catalogue_settings

        try:
            settings = load_catalogue_settings()
        except SettingsError as error:
            raise CliError(Code.BAD_INPUT, "the settings cannot be used", lines=error.problems) from None
        labels = {name: host.labels for name, host in settings.hosts.items()}
        found = check_catalogue(folder or settings.templates, labels)
        if hosts:
            on_hosts: OnHosts = ctx.obj
            found = on_hosts(found, labels)
        if output is Output.JSON:
            print_json(found.model_dump(mode="json"))
        else:
            rows = [[one.name, str(one.version), one.description] for one in found.templates]
            if rows:
                print_table(("name", "version", "description"), rows, empty="")
            for warning in found.warnings:
                say(f"warning: {warning}")
        if found.problems:
            raise _not_usable(found)
        if output is Output.TABLE:
            say(f"{_count(len(found.templates), 'template')}, no problem")


def _not_usable(found: "CatalogueCheck") -> CliError:
    return CliError(
        Code.BAD_INPUT,
        f"{_count(len(found.problems), 'problem')} in {found.folder}",
        lines=list(map(str, found.problems)),
        problem={"detail": f"{_count(len(found.problems), 'problem')} in {found.folder}"},
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def group(on_hosts: OnHosts) -> typer.Typer:
    """Build `moorage templates` with its subcommands; `on_hosts` adds the checks on the hosts."""
    verbs = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
    verbs.callback(invoke_without_command=True)(templates)
    verbs.command("show")(show)
    verbs.command("check", context_settings={"obj": on_hosts})(check)
    verbs.command("try")(try_template)
    return verbs
