"""Names, ids and owner marks: everything that is derived rather than remembered."""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import StringConstraints

from contracts.models import Frozen

#: An environment's name. At most 30 characters: with the prefix it must fit Helm's 53, beside the
#: suffixes that the vCluster chart adds to its 63-character Kubernetes names.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"
INSTALLATION_PATTERN = r"^[a-z0-9]{8,16}$"
PREFIX_PATTERN = r"^[a-z]([a-z0-9-]{0,8}[a-z0-9])?$"
LIFE_LENGTH = 20

LABEL_INSTALLATION = "moorage.dev/installation"
LABEL_NAME = "moorage.dev/name"
LABEL_LIFE = "moorage.dev/life"
#: The annotation, on what has annotations, that holds the owner mark as text.
ANNOTATION_OWNER = "moorage.dev/owner"
#: The annotation of a namespace that holds the addresses of its host: a policy keeps endpoints from them.
ANNOTATION_HOST_NETWORKS = "moorage.dev/host-networks"

EnvironmentName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Installation = Annotated[str, StringConstraints(pattern=INSTALLATION_PATTERN)]
Prefix = Annotated[str, StringConstraints(pattern=PREFIX_PATTERN)]

_WORKFLOW_ID_START = "environment/"


def workflow_id(name: str) -> str:
    """The id of the workflow that is the record of the environment `name`."""
    return _WORKFLOW_ID_START + name


def name_of_workflow(id: str) -> str:
    """The environment's name in a workflow id; the inverse of `workflow_id`."""
    return id.removeprefix(_WORKFLOW_ID_START)


def is_name(text: str) -> bool:
    """Whether `text` can name an environment."""
    # fullmatch, not search: `$` alone would let a final line break through.
    return re.fullmatch(NAME_PATTERN, text) is not None


def request_id(person: str, name: str, key: str) -> str:
    """The id of one request: the same for the same person, name and idempotency key, and for no others."""
    return hashlib.sha256("\n".join((person.lower(), name, key)).encode()).hexdigest()[:32]


def life_of(request_id: str) -> str:
    """The id of the life that a request starts."""
    return hashlib.sha256(request_id.encode()).hexdigest()[:LIFE_LENGTH]


class OwnerMark(Frozen):
    """Says whose a resource is: which installation's, which environment's, and of which of its lives.

    Two marks are ours together only when all three parts are equal.
    """

    installation: Installation
    name: EnvironmentName
    life: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]

    @property
    def text(self) -> str:
        """The mark for descriptions, annotations and external ids."""
        return f"{self.installation}/{self.name}/{self.life}"

    @property
    def labels(self) -> dict[str, str]:
        """The mark where a system has labels."""
        return {
            LABEL_INSTALLATION: self.installation,
            LABEL_NAME: self.name,
            LABEL_LIFE: self.life,
        }

    def is_text(self, text: str | None) -> bool:
        """Whether `text` is exactly this mark."""
        return text == self.text

    def is_in(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` bear this mark, among others."""
        return all(labels.get(key) == value for key, value in self.labels.items())

    @classmethod
    def of_request(cls, installation: str, name: str, request_id: str) -> Self:
        """The mark of the life that `request_id` starts."""
        return cls(installation=installation, name=name, life=life_of(request_id))
