"""The command that fetches a kubeconfig: to standard output, to a new file, or into an existing one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from starter.cli.context import EnvironmentArgument, OutputOption, session
from starter.cli.errors import CliError, Code, Output


def kubeconfig(
    ctx: typer.Context,
    name: EnvironmentArgument,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help='Write it to this file, for you only; "-": print it.')
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Put it into your kubeconfig, as context moorage-NAME.")
    ] = False,
    switch: Annotated[
        bool,
        typer.Option(
            "--switch/--keep-context",
            help="With --merge: make it the current context. It is that where there is none.",
        ),
    ] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Fetch the kubeconfig of an environment.

    It is a credential: it is written so that only you can read it.

    \b
    Examples: moorage kubeconfig demo > demo.yaml
              moorage kubeconfig demo --file demo.yaml
              moorage kubeconfig demo --merge
    """
    with session(ctx, output) as api:
        from starter.cli.client.api import environment_path
        from starter.cli.kubeconfig import files as kubeconfig_file
        from starter.cli.output.formatting import print_json, say

        if merge and str(file) == "-":
            raise CliError(Code.BAD_INPUT, "--merge needs a file to merge into: leave --file - out")
        files = [file] if file else kubeconfig_file.kubeconfig_files() if merge else []
        text = api.text(f"{environment_path(name)}/kubeconfig")
        kubeconfig_file.checked(text)
        if merge:
            _merge(files, text, name, switch=switch, url=api.url, output=output)
        elif file and str(file) != "-":
            kubeconfig_file.write_private(file, text)
            if output is Output.JSON:
                print_json({"file": str(file)})
                return
            say(f"{file} is written, and only you can read it.")
            say(f"Next:  kubectl --kubeconfig {file} get namespaces")
        elif output is Output.JSON:
            print_json({"kubeconfig": text})
        else:
            # Write the bytes unchanged, whatever the terminal's encoding is.
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode())


def _merge(files: list[Path], text: str, name: str, *, switch: bool, url: str, output: Output) -> None:
    from starter.cli.kubeconfig import files as kubeconfig_file
    from starter.cli.output.formatting import print_json, say

    done = kubeconfig_file.merge(files, text, name, switch=switch, url=url)
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
    current = ", and it is the current one" if done.is_current else ""
    say(f"{done.file} has the context {done.context} now{current}.")
    for path in backups:
        say(f"What it was before is in {path}.")
    say(f"Next:  kubectl --context {done.context} get namespaces")


def forget_context(url: str, name: str, output: Output) -> None:
    """Remove the context that `--merge` created from the kubeconfig, and print that; never fail."""
    from starter.cli.kubeconfig import files as kubeconfig_file
    from starter.cli.output.formatting import say

    try:
        done = kubeconfig_file.forget(kubeconfig_file.kubeconfig_files(), name, url)
    except CliError as error:
        lines = [f"Whether kubectl has a context of {name} could not be seen to: {error}"]
    else:
        if done is None:
            return
        lines = [f"{done.file} has the context {done.context} no more."]
        if done.kept:
            lines = [f"{done.file} keeps the context {done.context}: {done.kept}."]
        elif done.was_current:
            lines.append("It was the current one. Choose another:  kubectl config use-context NAME")
    if output is Output.TABLE:
        for line in lines:
            say(line)
