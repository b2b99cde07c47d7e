"""The command that fetches a kubeconfig: to standard output, into a file, or into one that is there."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from starter.cli.failing import CliError, Code, Output
from starter.cli.session import EnvironmentArgument, OutputOption, session


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
        bool, typer.Option("--switch/--keep-context", help="With --merge: make it the current context.")
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
        from starter.cli import kubeconfigs
        from starter.cli.client import environment_path
        from starter.cli.render import print_json, say

        if merge and str(file) == "-":
            raise CliError(Code.BAD_INPUT, "--merge needs a file to merge into: leave --file - out")
        text = api.text(f"{environment_path(name)}/kubeconfig")
        if merge:
            path = file or kubeconfigs.default_kubeconfig(os.environ)
            context, backup = kubeconfigs.merge(path, text, name, switch=switch)
            if output is Output.JSON:
                print_json({"file": str(path), "context": context, "backup": str(backup) if backup else None})
                return
            say(f"{path} has the context {context} now{', and it is the current one' if switch else ''}.")
            if backup:
                say(f"What it was before is in {backup}.")
            say(f"Next:  kubectl --context {context} get namespaces")
        elif file and str(file) != "-":
            kubeconfigs.write_private(file, text)
            if output is Output.JSON:
                print_json({"file": str(file)})
                return
            say(f"{file} is written, and only you can read it.")
            say(f"Next:  kubectl --kubeconfig {file} get namespaces")
        elif output is Output.JSON:
            print_json({"kubeconfig": text})
        else:
            sys.stdout.write(text)
