"""The manifest that a control plane wants applied inside a new cluster, read with suspicion.

It holds a credential, so its text is in no error, log or repr; and it comes from outside, so only kinds that
an agent needs get through.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import yaml

from activities.errors import NotAccepted
from clients.errors import CUT
from clients.host import Manifest
from clients.safe_yaml import NotLikeKubernetes, read_all_yaml
from contracts.environment import System

#: What an agent consists of. Nothing that runs once and is gone, and no bare pods.
EXPECTED_KINDS = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "CronJob",
        "CustomResourceDefinition",
        "DaemonSet",
        "Deployment",
        "Job",
        "Lease",
        "MutatingWebhookConfiguration",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PriorityClass",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
        "StatefulSet",
        "ValidatingWebhookConfiguration",
    }
)
#: API groups of the control plane's own kinds, which its agent defines and reads.
EXPECTED_GROUPS = (".rafay.dev",)
#: Shorter words are those of everyday, such as "true" or "cluster": hiding them would hide the cause.
_SHORTEST_SECRET = 12
HIDDEN = "(hidden)"
#: Characters of a manifest that are read at once, which takes some 15 ms in which all other steps of the
#: process stand still. Longer ones are read beside them.
LARGE = 32 * 1024


class Bootstrap:
    """A bootstrap manifest whose objects are all of expected kinds. NotAccepted for any other."""

    def __init__(self, text: str) -> None:
        self._manifests = _parse(text)
        if not self._manifests:
            _refuse("it is empty")
        for manifest in self._manifests:
            _check(manifest)

    @classmethod
    async def read(cls, text: str) -> "Bootstrap":
        """The same, and other steps go on while a large one is read."""
        if len(text) < LARGE:
            return cls(text)
        return await asyncio.to_thread(cls, text)

    def __repr__(self) -> str:
        return f"Bootstrap({len(self._manifests)} objects, hidden)"

    def manifests(self) -> list[Manifest]:
        """The objects: one of them holds a credential."""
        return list(self._manifests)

    def hide(self, text: str) -> str:
        """`text` without any longer word that is in the manifest: an API server may quote what it refuses.

        A text that was cut loses the words around the cut, each of which may be a piece of one.
        """
        if CUT in text:
            head, _, tail = text.partition(CUT)
            text = f"{head.rpartition(' ')[0]} {HIDDEN} {tail.partition(' ')[2]}".strip()
        for word in sorted(set(_words(self._manifests)), key=len, reverse=True):
            text = text.replace(word, HIDDEN)
        return text


def _parse(text: str) -> list[dict[str, Any]]:
    documents = None
    problem = "is not YAML"
    try:
        documents = [document for document in read_all_yaml(text) if document is not None]
    except NotLikeKubernetes as error:
        # In words of ours: they quote nothing.
        problem = error.problem or problem
    except yaml.YAMLError:
        pass
    if documents is None:
        # Outside of any handler: the parser's own error quotes the lines that it could not read.
        _refuse(f"it {problem}")
    return documents


def _check(manifest: Any) -> None:
    if not isinstance(manifest, dict):
        _refuse("one of its documents is no Kubernetes object")
    version, kind, metadata = (manifest.get(key) for key in ("apiVersion", "kind", "metadata"))
    if not (
        isinstance(version, str)
        and isinstance(kind, str)
        and isinstance(metadata, dict)
        and isinstance(metadata.get("name"), str)
    ):
        _refuse("one of its documents lacks apiVersion, kind or metadata.name")
    group = version.rpartition("/")[0]
    own = any(f".{group}".endswith(expected) for expected in EXPECTED_GROUPS)
    if kind not in EXPECTED_KINDS and not own:
        _refuse(f"it holds a {kind} of {version}, which an agent has no need of")


def _refuse(why: str) -> NoReturn:
    raise NotAccepted(
        System.CONTROL_PLANE,
        f"The bootstrap manifest is not accepted: {why}",
        "Show it to the platform team; nothing of it was applied",
    )


def _words(node: Any) -> Iterator[str]:
    """All longer words in the objects, but for what names them: those may be shown."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in ("apiVersion", "kind", "metadata"):
                yield from _words(value)
    elif isinstance(node, list):
        for value in node:
            yield from _words(value)
    elif isinstance(node, str):
        yield from (word for word in node.split() if len(word) >= _SHORTEST_SECRET)
