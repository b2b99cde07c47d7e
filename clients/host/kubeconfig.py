"""The kubeconfig of a vCluster, which never shows its content by accident."""

import hashlib
from collections.abc import Mapping
from typing import Any, NoReturn

import yaml

from clients.safe_yaml import read_yaml


class Kubeconfig:
    """A kubeconfig that hides its content: `repr`, `str` and pickle never show it.

    Only `text()` and `current()` do.

    Raises:
        ValueError: the text is not a kubeconfig; the message quotes nothing from it.
    """

    __slots__ = ("__cluster", "__text", "__user", "fingerprint", "secret_name", "server")

    #: SHA-256 of the text, in hex: it shows whether the kubeconfig has changed, and nothing else.
    fingerprint: str
    #: The name of the Secret in the host cluster that holds it.
    secret_name: str
    #: The URL of the API server.
    server: str

    def __init__(self, text: str, *, secret_name: str) -> None:
        current = _current(text)
        if current is None:
            # Raise here and not in `_current`, because the parser's own error quotes what it could not
            # read.
            raise ValueError(f"Secret {secret_name} holds no kubeconfig with a current context")
        self.__text = text
        self.__cluster, self.__user = current
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.secret_name = secret_name
        self.server = str(self.__cluster["server"])

    def text(self) -> str:
        """Return the YAML, which is a credential."""
        return self.__text

    def current(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return cluster and user of the current context, as in the YAML; both hold credentials."""
        return self.__cluster, self.__user

    def __repr__(self) -> str:
        return f"Kubeconfig(server={self.server!r}, fingerprint={self.fingerprint[:12]!r}, text hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a kubeconfig is not serialized")


def _current(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    try:
        document = read_yaml(text)
        current = document["current-context"]
        context = next(entry["context"] for entry in document["contexts"] if entry["name"] == current)
        cluster = next(
            entry["cluster"] for entry in document["clusters"] if entry["name"] == context["cluster"]
        )
        user = next(entry["user"] for entry in document["users"] if entry["name"] == context["user"])
        cluster["server"]
        dict(user)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, StopIteration):
        return None
    return cluster, user
