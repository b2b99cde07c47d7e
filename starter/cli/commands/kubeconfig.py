"""The command that gets a kubeconfig: to standard output, to a new file, or into an existing one."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from starter.cli.arguments.options import environment_argument, examples, output_option
from starter.cli.client.api_paths import environment_path
from starter.cli.command_context import api_session
from starter.cli.connection_options import connection_options_of
from starter.cli.errors import CliError, Output
from starter.cli.output.formatting import print_note
from starter.cli.terminal.text import print_json, print_line

if TYPE_CHECKING:
    from starter.cli.client.api import Api


@click.command(
    epilog=examples(
        "moorage kubeconfig demo > demo.yaml",
        "moorage kubeconfig demo --file demo.yaml",
        "moorage kubeconfig demo --merge",
        "moorage kubeconfig demo --embed --file demo.yaml",
    )
)
@environment_argument
@click.option(
    "--file", "-f", type=click.Path(path_type=Path), help='Write it to this file. "-" means standard output.'
)
@click.option(
    "--merge", is_flag=True, help="Add it to your kubeconfig, or to --file, as the context moorage-NAME."
)
@click.option(
    "--switch/--keep-context",
    default=True,
    help="With --merge: make it the current context, or do so only if there is none. Default: --switch.",
)
@click.option(
    "--embed",
    is_flag=True,
    help="Put in a credential that is valid for at most an hour, for tools that run no plugins.",
)
@output_option()
@click.pass_context
def kubeconfig(
    ctx: click.Context, name: str, file: Path | None, merge: bool, switch: bool, embed: bool, output: Output
) -> None:
    """Get the kubeconfig of an environment.

    It contains no secret: kubectl runs "moorage credential" for a credential of yours, so both must be
    installed where you use it. A file with it is readable only by you.
    """
    if merge and str(file) == "-":
        raise click.UsageError("--merge needs a file: omit --file -.")
    with api_session(ctx, output) as api:
        from starter.cli.kubeconfig.files import kubeconfig_files, write_private

        files = [file] if file else kubeconfig_files() if merge else []
        text = _text(ctx, api, name, embed=embed, output=output)
        if merge:
            _merge(files, text, name, switch=switch, url=api.url, output=output)
        elif file and str(file) != "-":
            write_private(file, text)
            if output is Output.JSON:
                print_json({"file": str(file)})
                return
            print_note(f"Wrote {file}, readable only by you.")
            print_note(f"Next:  kubectl --kubeconfig {file} get namespaces")
        elif output is Output.JSON:
            print_json({"kubeconfig": text})
        else:
            # Write the bytes unchanged, whatever the terminal's encoding is.
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode())


def _text(ctx: click.Context, api: "Api", name: str, *, embed: bool, output: Output) -> str:
    """Return the kubeconfig, with the plugin or with a certificate."""
    from starter.cli.kubeconfig.user_entries import (
        embedded_kubeconfig,
        plugin_kubeconfig,
        read_api_kubeconfig,
    )

    given = read_api_kubeconfig(api.text(f"{environment_path(name)}/kubeconfig"))
    if not embed:
        return plugin_kubeconfig(given, name, api.connection, connection_options_of(ctx))
    from starter.cli.kubeconfig.awake import when_awake
    from starter.cli.kubeconfig.certificates import request_certificate

    certificate = when_awake(
        lambda: nullcontext(api),
        name,
        given.life,
        lambda: request_certificate(api, name, person=given.person, life=given.life),
    )
    if output is Output.TABLE:
        # On standard error, because the kubeconfig may be on standard output.
        until = certificate.use_until.strftime("%Y-%m-%d %H:%M:%S UTC")
        print_line(f"It contains a credential of {given.person} until {until}.", file=sys.stderr)
    return embedded_kubeconfig(given, name, certificate)


def _merge(files: list[Path], text: str, name: str, *, switch: bool, url: str, output: Output) -> None:
    from starter.cli.kubeconfig.files import merge_context

    done = merge_context(files, text, name, switch=switch, url=url)
    backups = [str(backup) for backup in done.files.values() if backup]
    if output is Output.JSON:
        backup = done.files.get(done.file)
        print_json(
            {
                "file": str(done.file),
                "context": done.context,
                "current": done.is_current,
                "backup": str(backup) if backup else None,
                "backups": backups,
            }
        )
        return
    current = ", which is the current one" if done.is_current else ""
    print_note(f"{done.file} now has the context {done.context}{current}.")
    for path in backups:
        print_note(f"Backup of the previous content: {path}")
    print_note(f"Next:  kubectl --context {done.context} get namespaces")


def remove_context_of(url: str, name: str, output: Output) -> None:
    """Remove the context that `--merge` created from the kubeconfig, and print that; never fail."""
    from starter.cli.kubeconfig.files import kubeconfig_files, remove_context

    try:
        done = remove_context(kubeconfig_files(), name, url)
    except CliError as error:
        lines = [f"Cannot remove the context of {name} from your kubeconfig: {error}"]
    else:
        if done is None:
            return
        lines = [f"Removed the context {done.context} from {done.file}."]
        if done.kept:
            lines = [f"{done.file} keeps the context {done.context}: {done.kept}."]
        elif done.was_current:
            lines.append("It was the current one. Choose another:  kubectl config use-context NAME")
    if output is Output.TABLE:
        for line in lines:
            print_note(line)
