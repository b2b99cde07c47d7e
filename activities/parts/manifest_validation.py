"""The control plane's bootstrap manifest for a new cluster, parsed and checked as untrusted input.

It holds a credential, so its text is in no error, log or repr. It comes from outside, so only kinds that an
agent needs are accepted.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import yaml

from activities.errors import NotAccepted
from clients.errors import CUT
from clients.host.models import Manifest
from clients.safe_yaml import UnsupportedYaml, read_all_yaml
from contracts.environment.models import System

#: The kinds that an agent consists of. Nothing that runs once and ends, and no bare pods.
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
#: Length in characters from which a word is hidden. Shorter words are common ones, such as "true" or
#: "cluster": hiding them would hide the cause.
_SHORTEST_SECRET = 12
HIDDEN = "(hidden)"
#: Length in characters up to which a manifest is parsed in the event loop. That takes some 15 ms, in which
#: all other steps of the process stand still. Longer ones are parsed in a thread.
PARSE_IN_THREAD_FROM = 32 * 1024


class BootstrapManifest:
    """A bootstrap manifest whose objects all have accepted kinds; raises NotAccepted for any other."""

    def __init__(self, text: str) -> None:
        self._manifests = _parse(text)
        if not self._manifests:
            _refuse("it is empty")
        for manifest in self._manifests:
            _check(manifest)

    @classmethod
    async def read(cls, text: str) -> "BootstrapManifest":
        """Parse and check `text`; use a thread for a large one, so that other steps continue."""
        if len(text) < PARSE_IN_THREAD_FROM:
            return cls(text)
        return await asyncio.to_thread(cls, text)

    def __repr__(self) -> str:
        return f"BootstrapManifest({len(self._manifests)} objects, hidden)"

    def manifests(self) -> list[Manifest]:
        """Return the objects; one of them holds a credential."""
        return list(self._manifests)

    def hide(self, text: str) -> str:
        """Return `text` with every longer word of the manifest hidden.

        This is needed because an API server may quote what it rejects. A truncated text also loses the words
        around the cut, each of which may be a part of a hidden word.
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
    except UnsupportedYaml as error:
        # This text is our own, so it quotes nothing of the manifest.
        problem = error.problem or problem
    except yaml.YAMLError:
        pass
    if documents is None:
        # Raise outside of any handler, because the parser's own error quotes the lines that it could not
        # read.
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
    """Yield all longer words in the objects, except in apiVersion, kind and metadata.

    Those three name the objects and may be shown.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in ("apiVersion", "kind", "metadata"):
                yield from _words(value)
    elif isinstance(node, list):
        for value in node:
            yield from _words(value)
    elif isinstance(node, str):
        yield from (word for word in node.split() if len(word) >= _SHORTEST_SECRET)
