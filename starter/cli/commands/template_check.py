"""`moorage templates check`: what is wrong with the files of templates, for their authors."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from starter.cli.arguments.options import examples, output_option
from starter.cli.command_context import report_errors
from starter.cli.errors import CliError, Code, Output

if TYPE_CHECKING:
    from starter.catalogue.lint import CatalogueCheck, LabelsOfHosts


@click.command(
    epilog=examples(
        "moorage templates check templates/",
        "moorage templates check --hosts",
        "MOORAGE_CONFIG=moorage.toml moorage templates check --output json",
    )
)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--hosts", is_flag=True, help="Check charts, values and permissions on the hosts of the settings as well."
)
@output_option()
def check(folder: Path | None, hosts: bool, output: Output) -> None:
    """Check the templates of a folder, and show each problem with its file and line.

    The default FOLDER is that of the settings. Without --hosts, the command calls no other system, and of the
    settings it needs only the labels of the hosts. With --hosts, it needs the worker's settings.

    Exit code 0 if the templates can be used, 2 if not.
    """
    with report_errors(output):
        from starter.catalogue.lint import check_catalogue
        from starter.cli.output.formatting import print_note, print_table
        from starter.cli.terminal.text import print_json
        from worker.settings.loading import load_catalogue_settings
        from worker.settings.sources import SettingsError

        try:
            settings = load_catalogue_settings()
        except SettingsError as error:
            raise CliError(Code.BAD_INPUT, "the settings are not valid", lines=error.problems) from None
        labels = {name: host.labels for name, host in settings.hosts.items()}
        found = check_catalogue(folder or settings.templates, labels)
        if hosts:
            found = _check_on_hosts(found, labels)
        if output is Output.JSON:
            print_json(found.model_dump(mode="json"))
        else:
            rows = [[one.name, str(one.version), one.description] for one in found.templates]
            if rows:
                print_table(("name", "version", "description"), rows, empty="")
            for warning in found.warnings:
                print_note(f"warning: {warning}")
        if found.problems:
            raise _not_usable(found)
        if output is Output.TABLE:
            print_note(f"{_count(len(found.templates), 'template')}, no problem")


def _not_usable(found: "CatalogueCheck") -> CliError:
    return CliError(
        Code.BAD_INPUT,
        f"{_count(len(found.problems), 'problem')} in {found.folder}",
        lines=list(map(str, found.problems)),
        problem={"detail": f"{_count(len(found.problems), 'problem')} in {found.folder}"},
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _check_on_hosts(found: "CatalogueCheck", labels: "LabelsOfHosts") -> "CatalogueCheck":
    """Add to the check of a catalogue what the hosts of the settings say."""
    import asyncio

    from starter.catalogue.lint import check_on_hosts
    from starter.cli.arguments.settings_validation import read_settings
    from worker.client_factory import open_clients
    from worker.settings.loading import load_settings
    from worker.settings.sources import SettingsError

    settings = read_settings(load_settings)

    async def ask() -> "CatalogueCheck":
        async with open_clients(settings) as clients:
            return await check_on_hosts(found, clients.hosts, labels, settings.installation, settings.prefix)

    try:
        return asyncio.run(ask())
    except SettingsError as error:
        raise CliError(Code.BAD_INPUT, "the settings are not valid", lines=error.problems) from None
