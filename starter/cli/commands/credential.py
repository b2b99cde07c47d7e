"""The credential plugin of `kubectl`: it prints a client certificate of the person for one environment.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from contracts.templates.client_certificates import PLUGIN_VERSION
from starter.cli.arguments.options import environment_argument, examples
from starter.cli.command_context import report_errors
from starter.cli.connection_options import connection_options_of
from starter.cli.errors import CliError, Output
from starter.cli.kubeconfig.certificate_cache import CertificateCache, cache_folder
from starter.cli.kubeconfig.certificates import ClientCertificate, request_certificate

if TYPE_CHECKING:
    from starter.cli.client.api import Api
    from starter.cli.client.connection import Connection

#: The version before it has the same fields in its answer; the client needs its own version back.
_VERSIONS = (PLUGIN_VERSION, "client.authentication.k8s.io/v1beta1")


@click.command(epilog=examples("moorage credential demo"))
@environment_argument
@click.option("--life", default="", help="Refuse another life of the name. The kubeconfig sets it.")
@click.option("--person", default="", help="Whose credential it is. The kubeconfig sets it.")
@click.pass_context
def credential(ctx: click.Context, name: str, life: str, person: str) -> None:
    """Print a short-lived credential, as kubectl's plugin.

    The kubeconfig of "moorage kubeconfig" runs it. It asks no question, and wakes an environment that sleeps.
    A credential is kept for the next call until a minute before its end, in files that only you can read.
    """
    with report_errors(Output.TABLE):
        try:
            found = _certificate(ctx, name, life, person)
        except CliError as error:
            # One line, because kubectl shows it among its own.
            steps = f". Next: {error.next_steps[0]}" if error.next_steps else ""
            details = f" ({'; '.join(error.lines)})" if error.lines else ""
            raise CliError(error.code, f"{error}{details}{steps}") from None
    sys.stdout.write(json.dumps(exec_credential(found, os.environ)) + "\n")


def _certificate(ctx: click.Context, name: str, life: str, person: str) -> ClientCertificate:
    options, cache = connection_options_of(ctx), CertificateCache(cache_folder())
    url = (options.url or os.environ.get("MOORAGE_URL") or "").rstrip("/")
    is_exact = bool(url and life and person)
    if is_exact and (found := cache.find(url, name, life, person)):
        from starter.cli.kubeconfig.awake import is_listening

        if is_listening(os.environ):
            return found
    from starter.cli.client.connection import find_connection

    connection = find_connection(options, person=person)
    if not (life and person):
        from starter.cli.client.api import Api
        from starter.cli.client.api_paths import environment_path
        from starter.cli.kubeconfig.user_entries import read_api_kubeconfig

        with Api(connection, quiet=True) as api:
            given = read_api_kubeconfig(api.text(f"{environment_path(name)}/kubeconfig"))
        life, person = life or given.life, person or given.person
    from starter.cli.kubeconfig.awake import when_awake

    found = when_awake(
        lambda: _open_api(connection),
        name,
        life,
        lambda: _requested(connection, name, person, life),
    )
    if is_exact:
        cache.keep(found, url, name, life, person)
    return found


def _open_api(connection: "Connection") -> "Api":
    from starter.cli.client.api import Api

    return Api(connection, quiet=True)


def _requested(connection: "Connection", name: str, person: str, life: str) -> ClientCertificate:
    with _open_api(connection) as api:
        return request_certificate(api, name, person=person, life=life)


def exec_credential(certificate: ClientCertificate, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to kubectl, in the version that it has asked for."""
    return {
        "apiVersion": _asked_version(environ.get("KUBERNETES_EXEC_INFO", "")),
        "kind": "ExecCredential",
        "status": {
            "expirationTimestamp": certificate.use_until.isoformat().replace("+00:00", "Z"),
            "clientCertificateData": certificate.certificate,
            "clientKeyData": certificate.key,
        },
    }


def _asked_version(info: str) -> str:
    """Return the version in KUBERNETES_EXEC_INFO; the present one if it has none that we know."""
    try:
        version = json.loads(info)["apiVersion"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return PLUGIN_VERSION
    return version if version in _VERSIONS else PLUGIN_VERSION
