"""Credentials for a host cluster, loaded as kubectl loads them: kubeconfig, plugin, or the pod's account.

The official client does the loading; here is what it leaves open: sentences for what cannot be used, an end
to what hangs, and credentials that run out while the process lives.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config
from kubernetes.aio.config.kube_config import KubeConfigLoader

from clients.documents import read_yaml
from clients.kubernetes.plugin import credentials_of

#: Where a pod finds the credentials of its service account.
ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Longest time to load credentials: a plugin asks its cloud for a token, which takes seconds. Shorter than
#: the 20 s that a check of `moorage doctor` has, so that it can tell what it waited for.
LOAD_LIMIT = timedelta(seconds=15)


class Unusable(Exception):
    """The credentials cannot be used. The text is one sentence without a word of the file's content."""


class Access:
    """Where the credentials of one host are. They are read anew with every `load`."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """Raises Unusable when the file is not there, is no kubeconfig, or lacks the context."""
        self.kubeconfig = kubeconfig
        self.context = context
        if kubeconfig is not None:
            _chosen(kubeconfig, context)
        elif "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise Unusable("no kubeconfig is named, and this is no pod with an account of its own")

    async def load(self) -> Configuration:
        """The credentials as they are now. Raises Unusable, and TimeoutError with a sentence at `LOAD_LIMIT`.

        A plugin that is too late is ended, as one is when this is cancelled.
        """
        configuration = Configuration()
        # Retries are Temporal's, where they can be seen.
        configuration.retries = None
        if self.kubeconfig is None:
            try:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            except ConfigException as error:
                raise Unusable(f"the pod's own account cannot be used: {error}") from None
            return configuration
        cluster, user = _chosen(self.kubeconfig, self.context)
        plugin = user.pop("exec", None)
        named = f"the plugin {plugin.get('command', '')} of" if isinstance(plugin, Mapping) else "what is in"
        try:
            async with asyncio.timeout(LOAD_LIMIT.total_seconds()) as limit:
                if isinstance(plugin, Mapping):
                    user |= await credentials_of(plugin)
                folder = self.kubeconfig.expanduser().absolute().parent
                await _load(cluster, user, folder, configuration)
        except Exception as error:
            # Of the library's many kinds of errors some quote what they could not read.
            problem = type(error).__name__
        else:
            if plugin and not (configuration.api_key or configuration.cert_file):
                raise Unusable(f"{named} {self.kubeconfig} gave no credentials")
            return configuration
        if limit.expired():
            within = f"within {LOAD_LIMIT.total_seconds():g} s"
            raise TimeoutError(f"{named} {self.kubeconfig} gave no credentials {within}")
        raise Unusable(f"the credentials in {self.kubeconfig} cannot be loaded ({problem})")

    def helm(self) -> dict[str, Any]:
        """The same credentials in the words of `helm_python.Config`. Raises Unusable."""
        if self.kubeconfig is not None:
            context = {"kube_context": self.context} if self.context else {}
            return {"kubeconfig_path": str(self.kubeconfig), **context}
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        try:
            # Read each time: the kubelet renews it.
            token = (ACCOUNT_FOLDER / "token").read_text().strip()
        except OSError as error:
            raise Unusable(f"the pod's own account cannot be used: {error.strerror}") from None
        return {
            "kube_apiserver": f"https://{f'[{host}]' if ':' in host else host}:{port}",
            "kube_token": token,
            "kube_ca_file": str(ACCOUNT_FOLDER / "ca.crt"),
            # Else a kubeconfig that lies about would be looked at first.
            "kubeconfig_path": os.devnull,
        }


async def _load(
    cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path, configuration: Configuration
) -> None:
    """Have the official client read them: certificates from data or, relative to `folder`, from files."""
    alone = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
    }
    loader = KubeConfigLoader(alone, config_base_path=str(folder))  # type: ignore[no-untyped-call]
    await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]


def _chosen(kubeconfig: Path, context: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cluster and the user of the context, as the file has them. Raises Unusable without a cluster."""
    document = _read(kubeconfig)
    name = context or document.get("current-context")
    if not name:
        raise Unusable(f"{kubeconfig} names no current context: name one in the settings")
    contexts = _named(document, "contexts", "context")
    if name not in contexts:
        known = f"it has {', '.join(sorted(contexts))}" if contexts else "it has none"
        raise Unusable(f"{kubeconfig} has no context {name}; {known}")
    cluster = _named(document, "clusters", "cluster").get(str(contexts[name].get("cluster")), {})
    if not cluster.get("server"):
        raise Unusable(f"the context {name} of {kubeconfig} leads to no server")
    user = _named(document, "users", "user").get(str(contexts[name].get("user")), {})
    return dict(cluster), dict(user)


def _read(kubeconfig: Path) -> Mapping[str, Any]:
    try:
        text = kubeconfig.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Unusable(f"there is no kubeconfig {kubeconfig}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Unusable(f"the kubeconfig {kubeconfig} cannot be read: {why}") from None
    document = None
    with contextlib.suppress(yaml.YAMLError):
        document = read_yaml(text)
    if not isinstance(document, Mapping) or "clusters" not in document:
        # Outside of any handler: the parser's own error quotes the lines that it could not read.
        raise Unusable(f"{kubeconfig} is not a kubeconfig")
    return document


def _named(document: Mapping[str, Any], plural: str, singular: str) -> dict[str, Mapping[str, Any]]:
    """The entries of one list of a kubeconfig by name; what is not of that form is left out."""
    entries = document.get(plural)
    return {
        str(entry.get("name")): entry[singular]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping) and isinstance(entry.get(singular), Mapping)
    }
