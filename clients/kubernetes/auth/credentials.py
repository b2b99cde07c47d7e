"""Credentials for a host cluster, from a kubeconfig, its plugin or the pod's account.

One loader serves all users of the credentials: its result becomes our own connections and the kubeconfig
that Helm gets. So both act as the same account over the same route, and a plugin runs only within our
limits.
"""

import asyncio
import base64
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from kubernetes.aio.client import ApiClient, Configuration

from clients.kubernetes.auth.exec_plugin import run_plugin
from clients.kubernetes.auth.kubeconfig import (
    KubeconfigContext,
    UnusableCredentials,
    decode_base64,
    read_context,
)
from clients.private_files import read_trusted
from clients.transport.secure_urls import is_internal_host

#: Folder in which a pod finds the credentials of its service account.
ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Timeout for loading credentials: a plugin requests a token from its cloud, which takes seconds. It is
#: shorter than the 20 s of a `moorage doctor` check, so that the check can report what it waited for.
LOAD_TIMEOUT = timedelta(seconds=15)

#: Fields of a cluster and of a user that Helm's client needs after a plugin has returned its credentials.
_CLUSTER_FIELDS = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority",
    "certificate-authority-data",
    "proxy-url",
    "disable-compression",
)
_USER_FIELDS = (
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "tokenFile",
    "username",
    "password",
    "as",
    "as-uid",
    "as-groups",
    "as-user-extra",
)
#: Characters of a key that need no escape in a header name (RFC 9110, token).
_HEADER_SAFE = "!#$&'*+-.^_`|~"


@dataclass(frozen=True)
class Credentials:
    """The cluster, and the user without plugin, with the field names of a kubeconfig."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers for impersonation and compression, without the authorization header."""
        user = self.user
        headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
        headers += [("Impersonate-Uid", str(user["as-uid"]))] if user.get("as-uid") else []
        headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
        for key, values in (user.get("as-user-extra") or {}).items():
            name = f"Impersonate-Extra-{quote(str(key).lower(), safe=_HEADER_SAFE)}"
            headers += [(name, str(value)) for value in values]
        if self.cluster.get("disable-compression"):
            headers.append(("Accept-Encoding", "identity"))
        return headers

    def authorization(self) -> str:
        """Return the authorization header; "" with a client certificate or no credentials."""
        if token := self.user.get("token"):
            return f"Bearer {token}"
        if self.user.get("username"):
            pair = f"{self.user['username']}:{self.user.get('password', '')}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
        return ""

    def exposure(self) -> str:
        """Return why others could read or take the credentials on their way, in words; "" if they cannot.

        kubectl uses such a kubeconfig without a word, and so do we.
        """
        parts = urlsplit(server := str(self.cluster["server"]))
        if is_internal_host(parts.hostname or ""):
            return ""
        if parts.scheme == "http":
            # A client certificate is not sent without TLS.
            if self.authorization():
                return f"its credentials are sent to {server} unencrypted: use https:// in the kubeconfig"
        elif self.cluster.get("insecure-skip-tls-verify"):
            return (
                f"its credentials are sent to whatever answers at {server} (insecure-skip-tls-verify): "
                "use certificate-authority in the kubeconfig"
            )
        return ""

    def client(self) -> ApiClient:
        """Create a client with these credentials.

        They are read at creation, and no file of ours holds them afterwards.

        Raises:
            UnusableCredentials: a certificate or a key is invalid.
        """
        configuration = Configuration(host=str(self.cluster["server"]).rstrip("/"))
        # Do not retry here, because Temporal's retries are visible in the history.
        configuration.retries = None
        # Verify as kubectl does: the authorities of clusters often lack fields that Python 3.13 requires.
        configuration.disable_strict_ssl_verification = True
        configuration.verify_ssl = not self.cluster.get("insecure-skip-tls-verify")
        configuration.tls_server_name = self.cluster.get("tls-server-name")
        configuration.proxy = self.cluster.get("proxy-url")
        if authorization := self.authorization():
            configuration.api_key = {"BearerToken": authorization}
        with tempfile.TemporaryDirectory(prefix="moorage-access-") as folder:

            def file(node: Mapping[str, Any], key: str) -> str | None:
                if (data := node.get(f"{key}-data")) is None:
                    return node.get(key)
                path = Path(folder, key)
                path.touch(mode=0o600)
                path.write_bytes(decode_base64(data) or b"")
                return str(path)

            configuration.ssl_ca_cert = file(self.cluster, "certificate-authority")
            configuration.cert_file = file(self.user, "client-certificate")
            configuration.key_file = file(self.user, "client-key")
            try:
                return ApiClient(configuration)
            except (ssl.SSLError, OSError, ValueError) as error:
                detail = f"a certificate or a key is not valid ({type(error).__name__})"
        raise UnusableCredentials(f"the credentials for {self.cluster['server']} cannot be used: {detail}")

    def kubeconfig(self) -> str:
        """Return a self-contained kubeconfig, which is a credential."""
        cluster = {key: self.cluster[key] for key in _CLUSTER_FIELDS if self.cluster.get(key)}
        user = {key: self.user[key] for key in _USER_FIELDS if self.user.get(key)}
        if "tokenFile" in user:
            # Leave the token out, because Helm's client reads the file again when the token has expired.
            user.pop("token", None)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": user}],
        }
        return json.dumps(document)


class CredentialSource:
    """The source of one host's credentials, which every `load` reads again."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """Read the target once, to report a broken kubeconfig at the start.

        Raises:
            UnusableCredentials: the file does not exist, is not a kubeconfig, or lacks the context.
        """
        self.kubeconfig = kubeconfig
        self.context = context
        if kubeconfig is not None:
            read_context(kubeconfig, context)
        elif "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise UnusableCredentials(
                "no kubeconfig is configured, and this process runs in no pod with a service account"
            )

    async def load(self) -> Credentials:
        """Load the current credentials.

        A plugin that takes too long is killed, also when this call is cancelled.

        Raises:
            UnusableCredentials: the credentials cannot be used.
            TimeoutError: `LOAD_TIMEOUT` has passed; the message is a sentence.
        """
        target = _pod_context() if self.kubeconfig is None else read_context(self.kubeconfig, self.context)
        user = {key: value for key, value in target.user.items() if key != "exec"}
        if (plugin := target.plugin) is not None:
            user |= await self._run_plugin(plugin, target)
        user |= _read_token_file(user)
        credentials = Credentials(target.cluster, user)
        for name, value in [("Authorization", credentials.authorization()), *credentials.headers()]:
            if not value.isprintable():
                raise UnusableCredentials(
                    f"the credentials hold a line break or the like, which {name} cannot carry"
                )
        return credentials

    async def _run_plugin(self, plugin: Mapping[str, Any], target: KubeconfigContext) -> dict[str, str]:
        problem = f"the plugin {plugin['command']} of {self.kubeconfig} gave no credentials"
        try:
            async with asyncio.timeout(LOAD_TIMEOUT.total_seconds()):
                found = await run_plugin(plugin, target.cluster)
        except TimeoutError:
            raise TimeoutError(f"{problem} within {LOAD_TIMEOUT.total_seconds():g} s") from None
        if not found:
            raise UnusableCredentials(problem)
        return found


def _pod_context() -> KubeconfigContext:
    """Return the pod's service account with the field names of a kubeconfig."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    cluster = {
        "server": f"https://{f'[{host}]' if ':' in host else host}:{port}",
        "certificate-authority": str(ACCOUNT_FOLDER / "ca.crt"),
    }
    return KubeconfigContext(cluster, {"tokenFile": str(ACCOUNT_FOLDER / "token")})


def _read_token_file(user: dict[str, Any]) -> dict[str, Any]:
    """Return the token of the user's token file, or else the `token` field, as kubectl does.

    The file is read each time, because the kubelet and others renew it.
    """
    file = user.pop("tokenFile", None)
    if file is None:
        return {}
    try:
        token = read_trusted(Path(file)).decode().strip()
        why = "it is empty"
    except (OSError, UnicodeDecodeError) as error:
        token = ""
        why = str(error.strerror) if isinstance(error, OSError) else "it is not text"
    if token:
        return {"token": token, "tokenFile": file}
    if not user.get("token"):
        raise UnusableCredentials(f"the token in {file} cannot be used: {why}")
    return {}
