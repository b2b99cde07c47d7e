"""A host's kubeconfig, read and checked as kubectl does: one context's cluster and user.

A file that kubectl rejects is rejected in one sentence that quotes no secret of the file. The table in
`tests/clients/kubernetes/test_kubeconfig.py` shows what kubectl does with such files.
https://github.com/kubernetes/client-go/blob/master/tools/clientcmd/validation.go
"""

import base64
import binascii
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from clients.private_files import read_trusted
from clients.safe_yaml import read_yaml

#: Versions of plugin answers that kubectl still accepts; the first one requires interactiveMode.
EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_MODES = ("Never", "IfAvailable", "Always")
#: Fields of a cluster and a user that hold text, or bytes in base64.
_TEXTS = {
    "cluster": ("server", "tls-server-name", "certificate-authority", "proxy-url"),
    "user": (
        "client-certificate",
        "client-key",
        "token",
        "tokenFile",
        "username",
        "password",
        "as",
        "as-uid",
    ),
}
_BYTES = ("certificate-authority-data", "client-certificate-data", "client-key-data")
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


class UnusableCredentials(Exception):
    """The credentials are unusable; the message is a sentence that quotes nothing of the file."""


@dataclass(frozen=True)
class KubeconfigContext:
    """The target of a context, with the field names of a kubeconfig; all paths are absolute."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    @property
    def plugin(self) -> Mapping[str, Any] | None:
        """Return the plugin; None if the user has credentials, which take precedence."""
        own = ("token", "tokenFile", "username", "client-certificate", "client-certificate-data")
        found: Mapping[str, Any] | None = self.user.get("exec")
        return None if any(self.user.get(each) for each in own) else found


def read_context(path: Path, context: str | None = None) -> KubeconfigContext:
    """Read the given or the current context; raise UnusableCredentials for what kubectl would not use."""
    document = _read(path)
    name = context or _text(document, "current-context")
    if not name:
        raise UnusableCredentials(f"{path} names no current context: name one in the settings")
    contexts = _entries_by_name(path, document, "contexts", "context")
    if name not in contexts:
        known = f"it has {', '.join(sorted(contexts))}" if contexts else "it has none"
        raise UnusableCredentials(f"{path} has no context {name}; {known}")
    chosen = contexts[name]
    cluster = _entries_by_name(path, document, "clusters", "cluster").get(_text(chosen, "cluster"), {})
    users = _entries_by_name(path, document, "users", "user")
    user = users.get(user_name := _text(chosen, "user"), {})
    if not cluster.get("server"):
        raise UnusableCredentials(f"the context {name} of {path} leads to no server")
    if user_name and user_name not in users:
        raise UnusableCredentials(f"the context {name} of {path} has no user {user_name}")
    folder = path.expanduser().absolute().parent
    problems = [*_type_problems("cluster", cluster), *_type_problems("user", user)] or [
        *_cluster_problems(cluster, folder),
        *_user_problems(user, folder),
    ]
    if problems:
        raise UnusableCredentials(f"the context {name} of {path} cannot be used: {problems[0]}")
    return KubeconfigContext(_absolute(cluster, folder), _absolute(user, folder))


def decode_base64(data: object) -> bytes | None:
    """Decode the base64 of a kubeconfig field; return None if it is invalid."""
    try:
        return base64.b64decode("".join(str(data).split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = read_trusted(path.expanduser()).decode()
    except FileNotFoundError:
        raise UnusableCredentials(f"there is no kubeconfig {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UnusableCredentials(f"the kubeconfig {path} cannot be read: {why}") from None
    document: Any = None
    with contextlib.suppress(yaml.YAMLError):
        document = read_yaml(text)
    if not isinstance(document, Mapping) or "clusters" not in document or _is_other_kind(document):
        # Raise outside of any handler, because the parser's own error quotes the lines that it could not
        # read.
        raise UnusableCredentials(f"{path} is not a kubeconfig")
    return document


def _is_other_kind(document: Mapping[str, Any]) -> bool:
    """Return whether the document declares another kind; the kind may be missing."""
    return (document.get("kind") or "Config", document.get("apiVersion") or "v1") != ("Config", "v1")


def _entries_by_name(path: Path, document: Mapping[str, Any], plural: str, singular: str) -> dict[str, Any]:
    """Return the entries of one list by name; skip malformed entries."""
    entries = document.get(plural)
    found: dict[str, Any] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, Mapping):
            continue
        name, content = str(entry.get("name")), entry.get(singular)
        if name in found:
            raise UnusableCredentials(f"{path} has two {plural} with the name {name}")
        found[name] = content if isinstance(content, Mapping) else {}
    return found


def _text(node: Mapping[str, Any], key: str) -> str:
    return str(node.get(key) or "")


def _type_problems(kind: str, node: Mapping[str, Any]) -> Iterator[str]:
    for key in _TEXTS[kind]:
        if not isinstance(node.get(key, ""), str | None):
            yield f"its {key} is not text: put it in quotes"
    for key in _BYTES:
        if node.get(key) and decode_base64(node[key]) is None:
            yield f"its {key} is not base64"


def _cluster_problems(cluster: Mapping[str, Any], folder: Path) -> Iterator[str]:
    yield from _file_problems(cluster, "certificate-authority", folder)
    has_authority = cluster.get("certificate-authority") or cluster.get("certificate-authority-data")
    if cluster.get("insecure-skip-tls-verify") and has_authority:
        yield "it has insecure-skip-tls-verify and a certificate-authority: leave one of them out"
    if proxy := _text(cluster, "proxy-url"):
        scheme = proxy.partition("://")[0] if "://" in proxy else ""
        if scheme not in ("http", "https") or not urlsplit(proxy).netloc:
            # kubectl also accepts socks5, which our HTTP connections do not support.
            yield "its proxy-url must start with http:// or https://"


def _user_problems(user: Mapping[str, Any], folder: Path) -> Iterator[str]:
    yield from _file_problems(user, "client-certificate", folder)
    yield from _file_problems(user, "client-key", folder)
    certificate = user.get("client-certificate") or user.get("client-certificate-data")
    key = user.get("client-key") or user.get("client-key-data")
    if bool(certificate) is not bool(key):
        yield "a client-certificate and its client-key belong together, and one of them is missing"
    if (user.get("token") or user.get("tokenFile")) and user.get("username"):
        yield "it has a token and a username: leave one of them out"
    if not user.get("as") and any(user.get(each) for each in ("as-uid", "as-groups", "as-user-extra")):
        yield "it has as-uid, as-groups or as-user-extra without as"
    if provider := user.get("auth-provider"):
        name = provider.get("name") if isinstance(provider, Mapping) else provider
        yield f"its auth-provider {name} is not supported: use a credential plugin (exec) for it"
    if "exec" in user and user["exec"] is not None:
        yield from _plugin_problems(user["exec"])


def _plugin_problems(plugin: object) -> Iterator[str]:
    if not isinstance(plugin, Mapping) or not plugin.get("command"):
        yield "its exec has no command"
        return
    version, mode = plugin.get("apiVersion"), plugin.get("interactiveMode")
    if version not in EXEC_VERSIONS:
        yield f"the apiVersion of its exec is not one of {', '.join(EXEC_VERSIONS)}"
    elif mode is None and version == EXEC_VERSIONS[0]:
        yield "its exec has no interactiveMode: write Never"
    elif mode is not None and mode not in _MODES:
        yield f"the interactiveMode of its exec is not one of {', '.join(_MODES)}"
    elif mode == "Always":
        yield "the plugin of its exec is interactive (interactiveMode: Always), and no user is present"
    for key in ("args", "env"):
        if not isinstance(plugin.get(key) or [], list):
            yield f"the {key} of its exec must be a list"
    for each in plugin.get("env") or []:
        if (
            not isinstance(each, Mapping)
            or not each.get("name")
            or not isinstance(each.get("value", ""), str)
        ):
            yield "the env of its exec must be a list of name and value, both text"


def _file_problems(node: Mapping[str, Any], key: str, folder: Path) -> Iterator[str]:
    file, data = node.get(key), node.get(f"{key}-data")
    if file and data:
        yield f"it has {key} and {key}-data: leave one of them out"
    elif file and not os.access(path := folder / str(file), os.R_OK):
        yield f"its {key} {path} cannot be read"


def _absolute(node: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the node with absolute paths; relative ones start at the kubeconfig's folder."""
    found = {key: value for key, value in node.items() if value not in (None, "")}
    for key in _PATHS:
        if key in found:
            found[key] = str(folder / found[key])
    plugin = found.get("exec")
    if isinstance(plugin, Mapping) and "/" in str(plugin["command"]):
        found["exec"] = {**plugin, "command": str(folder / str(plugin["command"]))}
    return found
