"""Credentials for a host cluster, loaded as kubectl loads them: kubeconfig, plugin, or the pod's account.

The official client does the loading; here is what it leaves open: sentences for what cannot be used, and
credentials that run out while the process lives.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

#: Where a pod finds the credentials of its service account.
ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Unusable(Exception):
    """The credentials cannot be used. The text is one sentence without a word of the file's content."""


class Access:
    """Where the credentials of one host are. They are read anew with every `load`."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """Raises Unusable when the file is not there, is no kubeconfig, or lacks the context."""
        self.kubeconfig = kubeconfig
        self.context = context
        if kubeconfig is not None:
            self._plugin = _plugin_of(kubeconfig, context)
        elif "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise Unusable("no kubeconfig is named, and this is no pod with an account of its own")

    async def load(self) -> Configuration:
        """The credentials as they are now. Raises Unusable."""
        configuration = Configuration()
        # Retries are Temporal's, where they can be seen.
        configuration.retries = None
        if self.kubeconfig is None:
            try:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            except ConfigException as error:
                raise Unusable(f"the pod's own account cannot be used: {error}") from None
            return configuration
        try:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(self.kubeconfig),
                context=self.context,
                client_configuration=configuration,
                persist_config=False,
            )
        except Exception as error:
            # Of the library's many kinds of errors some quote what they could not read.
            problem = type(error).__name__
        else:
            # A plugin that fails is only logged by the library.
            if self._plugin and not (configuration.api_key or configuration.cert_file):
                raise Unusable(f"the plugin {self._plugin} of {self.kubeconfig} gave no credentials")
            return configuration
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


def _plugin_of(kubeconfig: Path, context: str | None) -> str:
    """The command of the credential plugin that the context uses, if any. Raises Unusable for the rest."""
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
    plugin = user.get("exec")
    return str(plugin.get("command", "")) if isinstance(plugin, Mapping) else ""


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
        document = yaml.safe_load(text)
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
