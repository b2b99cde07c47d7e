"""Credential plugins of kubeconfigs (`exec`), run as kubectl runs them.

Not by the official client: it leaves a plugin that hangs behind when one stops waiting for it.
"""

import base64
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from clients.errors import MAX_DETAIL
from clients.programs import run

_log = logging.getLogger(__name__)


async def credentials_of(plugin: Mapping[str, Any]) -> dict[str, str]:
    """What the plugin gives, as fields of a kubeconfig's user; nothing if it fails, and the log says why.

    Cancelled, the plugin is ended. It may take as long as it likes: the limit is the caller's.
    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    """
    command = str(plugin.get("command", ""))
    version = plugin.get("apiVersion")
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    more = {str(each.get("name")): str(each.get("value")) for each in plugin.get("env") or ()}
    environment = {**os.environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    try:
        ended = await run([command, *map(str, plugin.get("args") or ())], environment=environment)
    except OSError as error:
        _log.warning("the credential plugin %s cannot be run: %s", command, error.strerror)
        return {}
    if ended.code:
        complaint = " ".join(ended.complaint.split())[:MAX_DETAIL]
        _log.warning("the credential plugin %s has ended with %d: %s", command, ended.code, complaint)
        return {}
    credentials = _credentials(ended.output, version)
    if not credentials:
        _log.warning("the credential plugin %s gave no credential of %s", command, version)
    return credentials


def _credentials(output: str, version: object) -> dict[str, str]:
    try:
        answer = json.loads(output)
        status = answer["status"] if answer["apiVersion"] == version else {}
        fields = {"token": status.get("token")}
        if status.get("clientCertificateData") and status.get("clientKeyData"):
            fields["client-certificate-data"] = _encoded(status["clientCertificateData"])
            fields["client-key-data"] = _encoded(status["clientKeyData"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: str(value) for name, value in fields.items() if value}


def _encoded(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()
