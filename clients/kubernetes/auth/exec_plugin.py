"""Credential plugins of kubeconfigs (`exec`), run as kubectl runs them.

The official client is not used for this, because it leaves a plugin that hangs running when the caller stops
waiting. https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

import base64
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.errors import MAX_DETAIL
from clients.subprocesses import run

_log = logging.getLogger(__name__)

#: Prefixes of variables that belong to Moorage and hold its secrets; no plugin needs them. All others are
#: passed on, because the plugins of clouds take their credentials from variables that no list could name
#: (AWS_*, GOOGLE_*, AZURE_*, proxies, certificate files, HOME). See docs/adr/worker.md.
MOORAGE_VARIABLES = ("MOORAGE_", "TEMPORAL_", "OTEL_EXPORTER_OTLP_")
#: Name of a cluster's extension for its plugin.
_EXTENSION = "client.authentication.k8s.io/exec"
#: Fields of a cluster that a plugin receives unchanged.
_PASSED_FIELDS = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "proxy-url",
    "disable-compression",
)


async def run_plugin(plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, str]:
    """Run the plugin and return its credentials as fields of a user; {} if it fails.

    The log gives the cause of a failure. A cancelled call kills the plugin. There is no time limit here: the
    caller sets it.
    """
    command, version = str(plugin["command"]), plugin.get("apiVersion")
    # Search our own PATH, as kubectl does: the PATH in the kubeconfig is for the plugin.
    program = command if "/" in command else shutil.which(command)
    if program is None:
        hint = " ".join(str(plugin.get("installHint") or "").split())[:MAX_DETAIL]
        _log.warning("the credential plugin %s is not in the PATH. %s", command, hint)
        return {}
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = _cluster_info(cluster)
    request = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(MOORAGE_VARIABLES)},
        **{str(each["name"]): str(each.get("value", "")) for each in plugin.get("env") or ()},
        "KUBERNETES_EXEC_INFO": json.dumps(request),
    }
    try:
        result = await run([program, *map(str, plugin.get("args") or ())], environment=environment)
    except OSError as error:
        _log.warning("the credential plugin %s cannot be run: %s", command, error.strerror)
        return {}
    if result.exit_code:
        message = " ".join(result.stderr.split())[:MAX_DETAIL]
        failure = "the credential plugin %s failed with exit code %d: %s"
        _log.warning(failure, command, result.exit_code, message)
        return {}
    credentials = _credentials(result.stdout, version)
    if not credentials:
        _log.warning("the credential plugin %s gave no credential of %s", command, version)
    return credentials


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cluster data that a plugin receives if it requests it (`provideClusterInfo`)."""
    info = {key: cluster[key] for key in _PASSED_FIELDS if cluster.get(key)}
    if data := cluster.get("certificate-authority-data"):
        info["certificate-authority-data"] = data
    elif file := cluster.get("certificate-authority"):
        info["certificate-authority-data"] = base64.b64encode(Path(file).read_bytes()).decode()
    extensions = cluster.get("extensions")
    info["config"] = next(
        (
            each.get("extension")
            for each in (extensions if isinstance(extensions, list) else [])
            if isinstance(each, Mapping) and each.get("name") == _EXTENSION
        ),
        None,
    )
    return info


def _credentials(output: str, version: object) -> dict[str, str]:
    try:
        answer = json.loads(output)
        status = answer["status"] if answer["apiVersion"] == version else {}
        fields: dict[str, Any] = {"token": status.get("token")}
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if bool(certificate) is not bool(key):
            return {}
        if certificate:
            fields["client-certificate-data"] = _encoded(certificate)
            fields["client-key-data"] = _encoded(key)
    except (RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: str(value) for name, value in fields.items() if value}


def _encoded(pem: Any) -> str:
    return base64.b64encode(str(pem).encode()).decode()
