"""The user in our kubeconfigs: the plugin `moorage credential`, or a short-lived certificate."""

import base64
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.templates.client_certificates import CLUSTER_FIELDS, PLUGIN_VERSION
from contracts.types.printable_text import escape
from starter.cli.client.connection import Connection
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code
from starter.cli.kubeconfig.certificates import ClientCertificate
from starter.cli.kubeconfig.files import OURS, parse_kubeconfig
from starter.cli.kubeconfig.text_edits import with_entries
from starter.cli.terminal.program_name import COMMAND, PLUGIN, is_plugin


@dataclass(frozen=True)
class ApiKubeconfig:
    """What the API's kubeconfig says: the cluster, a text of kubectl's, and whose credential it is for.

    It says nothing about the program that kubectl runs: neither the command nor its variables.
    """

    cluster: Mapping[str, Any]
    install_hint: str
    life: str
    person: str


def read_api_kubeconfig(text: str) -> ApiKubeconfig:
    """Read the kubeconfig that the API has answered; raise CliError if it is none of Moorage's."""
    given = parse_kubeconfig(text)
    context = given.entry("contexts", given.current)
    user = given.entry("users", str(context["user"]))
    plugin = user.get("exec")
    arguments = plugin.get("args") if isinstance(plugin, dict) else None
    if not isinstance(plugin, dict) or not isinstance(arguments, list):
        raise CliError(Code.UNREACHABLE, "the API has answered a kubeconfig without the plugin of Moorage")
    life, person = (_after(arguments, option) for option in ("--life", "--person"))
    cluster = given.entry("clusters", str(context["cluster"]))
    return ApiKubeconfig(
        {field: cluster[field] for field in CLUSTER_FIELDS if field in cluster},
        # kubectl prints it unchanged.
        escape(str(plugin.get("installHint") or "")),
        life,
        person,
    )


def _after(arguments: list[Any], option: str) -> str:
    return str(arguments[arguments.index(option) + 1]) if option in arguments[:-1] else ""


def plugin_kubeconfig(
    given: ApiKubeconfig, name: str, connection: Connection, options: ConnectionOptions
) -> str:
    """Return a kubeconfig that gets its credential from `moorage credential`, and has no secret.

    The arguments say which installation it is for, so that it works whatever the current one is. A file with
    a token is named by its path, if the command was given one.
    """
    command, *arguments = plugin_command()
    arguments += [
        "credential", name, "--life", given.life, "--person", given.person, "--url", connection.url,
    ]  # fmt: skip
    if connection.ca_file is not None:
        arguments += ["--ca-file", str(connection.ca_file.absolute())]
    if options.token_file is not None:
        arguments += ["--token-file", str(options.token_file.absolute())]
    plugin = {
        "apiVersion": PLUGIN_VERSION,
        "command": command,
        "args": arguments,
        "installHint": given.install_hint,
        "interactiveMode": "Never",
        # With it the plugin sees that the environment sleeps.
        "provideClusterInfo": True,
    }
    return _kubeconfig(given, name, {"exec": plugin})


def embedded_kubeconfig(given: ApiKubeconfig, name: str, certificate: ClientCertificate) -> str:
    """Return a kubeconfig that contains the certificate and its key, for tools that run no plugin."""
    user = {
        "client-certificate-data": _encoded(certificate.certificate),
        "client-key-data": _encoded(certificate.key),
    }
    return _kubeconfig(given, name, user)


def plugin_command(program: str | None = None, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command that runs this program again: by its name if PATH has it, else by its path.

    A name stays right when Moorage is installed again elsewhere. A path is right where PATH has no Moorage
    or another one, such as in a virtual environment that is not active when `kubectl` runs. Called as
    `kubectl moorage`, it is the same package's `moorage`, or the plugin where that is alone.
    """
    program = sys.argv[0] if program is None else program
    path = environ.get("PATH")
    name = COMMAND
    if is_plugin(program):
        beside = Path(shutil.which(program, path=path) or program).with_name(COMMAND)
        program, name = (str(beside), COMMAND) if os.access(beside, os.X_OK) else (program, PLUGIN)
    found, own = shutil.which(name, path=path), shutil.which(program, path=path)
    if own is None or Path(own).suffix == ".py":
        # Run as a module (`python -m moorage`), so its file is not a program.
        return [sys.executable, os.path.abspath(program)] if os.path.isfile(program) else [name]
    if found is not None and os.path.samefile(found, own):
        return [name]
    return [os.path.abspath(own)]


def _kubeconfig(given: ApiKubeconfig, name: str, user: Mapping[str, Any]) -> str:
    own = f"{OURS}{name}"
    entries = {"clusters": given.cluster, "users": user, "contexts": {"cluster": own, "user": own}}
    return with_entries("", own, entries, own)


def _encoded(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()
