"""Credentials for a host cluster: of a kubeconfig, of its plugin, or of the pod's account.

One loader for all who use them: what it gives becomes the connections of our own calls, and the kubeconfig
that Helm gets. So both act as the same account, over the same way, and a plugin runs in our limits only.
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
from urllib.parse import quote

from kubernetes.aio.client import ApiClient, Configuration

from clients.kubernetes.exec_plugin import credentials_of
from clients.kubernetes.kubeconfig import Target, Unusable, decoded, read_target
from clients.private_files import read_given

#: Where a pod finds the credentials of its service account.
ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Longest time to load credentials: a plugin asks its cloud for a token, which takes seconds. Shorter than
#: the 20 s that a check of `moorage doctor` has, so that it can tell what it waited for.
LOAD_LIMIT = timedelta(seconds=15)

#: Fields of a cluster and of a user that Helm's client needs, once a plugin has given what it gives.
_CLUSTER = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority",
    "certificate-authority-data",
    "proxy-url",
    "disable-compression",
)
_USER = (
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
#: Characters of a key that stand for themselves in the name of a header (RFC 9110, token).
_HEADER_SAFE = "!#$&'*+-.^_`|~"


@dataclass(frozen=True)
class Credentials:
    """What a client needs, in the words of a kubeconfig: a cluster, and a user without a plugin."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    def headers(self) -> list[tuple[str, str]]:
        """Give the headers of every request but the one that authenticates: as whom, and how it is packed."""
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
        """Give the value of the header that authenticates; "" where a certificate does, or nothing."""
        if token := self.user.get("token"):
            return f"Bearer {token}"
        if self.user.get("username"):
            pair = f"{self.user['username']}:{self.user.get('password', '')}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
        return ""

    def client(self) -> ApiClient:
        """Make a client with these. Raise Unusable for certificates and keys that are none.

        They are read while it is made, and are in no file of ours afterwards.
        """
        configuration = Configuration(host=str(self.cluster["server"]).rstrip("/"))
        # Retries are Temporal's, where they can be seen.
        configuration.retries = None
        # As kubectl: authorities of clusters often lack what Python 3.13 insists on.
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
                path.write_bytes(decoded(data) or b"")
                return str(path)

            configuration.ssl_ca_cert = file(self.cluster, "certificate-authority")
            configuration.cert_file = file(self.user, "client-certificate")
            configuration.key_file = file(self.user, "client-key")
            try:
                return ApiClient(configuration)
            except (ssl.SSLError, OSError, ValueError) as error:
                what = f"a certificate or a key is none ({type(error).__name__})"
        raise Unusable(f"the credentials for {self.cluster['server']} cannot be used: {what}")

    def kubeconfig(self) -> str:
        """Give them as a kubeconfig that says all itself: a credential."""
        cluster = {key: self.cluster[key] for key in _CLUSTER if self.cluster.get(key)}
        user = {key: self.user[key] for key in _USER if self.user.get(key)}
        if "tokenFile" in user:
            # Helm's client reads it again when the token has run out.
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


class Access:
    """Where the credentials of one host are. They are read again with every `load`."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """Raises Unusable when the file is not there, is no kubeconfig, or lacks the context."""
        self.kubeconfig = kubeconfig
        self.context = context
        if kubeconfig is not None:
            read_target(kubeconfig, context)
        elif "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise Unusable("no kubeconfig is named, and this is no pod with an account of its own")

    async def load(self) -> Credentials:
        """Load them as they are now. Raises Unusable, and TimeoutError with a sentence at `LOAD_LIMIT`.

        A plugin that is too late is ended, as one is when this is cancelled.
        """
        target = _of_pod() if self.kubeconfig is None else read_target(self.kubeconfig, self.context)
        user = {key: value for key, value in target.user.items() if key != "exec"}
        if (plugin := target.plugin) is not None:
            user |= await self._asked(plugin, target)
        user |= _token_in_file(user)
        credentials = Credentials(target.cluster, user)
        for name, value in [("Authorization", credentials.authorization()), *credentials.headers()]:
            if not value.isprintable():
                raise Unusable(f"the credentials hold a line break or the like, which {name} cannot carry")
        return credentials

    async def _asked(self, plugin: Mapping[str, Any], target: Target) -> dict[str, str]:
        named = f"the plugin {plugin['command']} of {self.kubeconfig} gave no credentials"
        try:
            async with asyncio.timeout(LOAD_LIMIT.total_seconds()):
                given = await credentials_of(plugin, target.cluster)
        except TimeoutError:
            raise TimeoutError(f"{named} within {LOAD_LIMIT.total_seconds():g} s") from None
        if not given:
            raise Unusable(named)
        return given


def _of_pod() -> Target:
    """Give the pod's own account in the words of a kubeconfig."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    cluster = {
        "server": f"https://{f'[{host}]' if ':' in host else host}:{port}",
        "certificate-authority": str(ACCOUNT_FOLDER / "ca.crt"),
    }
    return Target(cluster, {"tokenFile": str(ACCOUNT_FOLDER / "token")})


def _token_in_file(user: dict[str, Any]) -> dict[str, Any]:
    """Give the token of the user's file; where there is none, the one beside it, as kubectl does.

    Read each time: the kubelet, for one, renews it.
    """
    file = user.pop("tokenFile", None)
    if file is None:
        return {}
    try:
        token = read_given(Path(file)).decode().strip()
        why = "it is empty"
    except (OSError, UnicodeDecodeError) as error:
        token = ""
        why = str(error.strerror) if isinstance(error, OSError) else "it is not text"
    if token:
        return {"token": token, "tokenFile": file}
    if not user.get("token"):
        raise Unusable(f"the token in {file} cannot be used: {why}")
    return {}
