"""Names, ids and owner marks: everything that is derived and never stored."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import StringConstraints, ValidationError

from contracts.types.environment_name import NAME_PATTERN as NAME_PATTERN
from contracts.types.environment_name import is_name as is_name
from contracts.types.models import Frozen

INSTALLATION_PATTERN = r"^[a-z0-9]{8,16}$"
PREFIX_PATTERN = r"^[a-z]([a-z0-9-]{0,8}[a-z0-9])?$"
LIFE_LENGTH = 20
LIFE_PATTERN = r"^[0-9a-f]{20}$"
#: The parts of an owner mark in its text form: installation, name and life.
MARK_PARTS = 3

LABEL_INSTALLATION = "moorage.dev/installation"
LABEL_NAME = "moorage.dev/name"
#: On a Helm release: what it was installed or upgraded with, so that a repeat changes nothing.
LABEL_REVISION = "moorage.dev/revision"
LABEL_LIFE = "moorage.dev/life"
#: The annotation that contains the owner mark as text, on resources that can have annotations.
ANNOTATION_OWNER = "moorage.dev/owner"
#: The annotation of a namespace with what a run needs to continue its life; see `contracts.reconcile`.
ANNOTATION_LIFE = "moorage.dev/life"
#: The annotation with the signature of that one: others can write annotations, too.
ANNOTATION_LIFE_SIGNATURE = "moorage.dev/life-signature"
#: The annotation of a namespace with the addresses of its host: a policy forbids endpoints with them.
ANNOTATION_HOST_NETWORKS = "moorage.dev/host-networks"
#: The annotation of a standby's namespace: `OFFERED` while an environment may take it over, else why not.
ANNOTATION_STANDBY = "moorage.dev/standby"
OFFERED = "offered"
#: The names of standbys start so; a person may choose such a name too, and then no standby has it.
STANDBY_NAME_START = "standby-"

EnvironmentName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Installation = Annotated[str, StringConstraints(pattern=INSTALLATION_PATTERN)]
Prefix = Annotated[str, StringConstraints(pattern=PREFIX_PATTERN)]

_WORKFLOW_ID_START = "environment/"


def workflow_id(name: str) -> str:
    """Return the id of the workflow that is the record of the environment `name`."""
    return _WORKFLOW_ID_START + name


def name_from_workflow_id(id: str) -> str:
    """Return the environment's name in a workflow id; the inverse of `workflow_id`."""
    return id.removeprefix(_WORKFLOW_ID_START)


def request_id(person: str, name: str, key: str) -> str:
    """Return the request id of this person, name and idempotency key.

    Equal arguments give the same id, other arguments another one. The case of `person` does not count.
    """
    return hashlib.sha256("\n".join((person.lower(), name, key)).encode()).hexdigest()[:32]


def life_id(request_id: str) -> str:
    """Return the id of the life that a request starts."""
    return hashlib.sha256(request_id.encode()).hexdigest()[:LIFE_LENGTH]


class OwnerMark(Frozen):
    """The owner of a resource: the installation, the environment, and its life.

    A resource is ours only when all three parts are equal.
    """

    installation: Installation
    name: EnvironmentName
    life: Annotated[str, StringConstraints(pattern=LIFE_PATTERN)]

    @property
    def text(self) -> str:
        """The mark for descriptions, annotations and external ids."""
        return f"{self.installation}/{self.name}/{self.life}"

    @property
    def labels(self) -> dict[str, str]:
        """The mark for systems that have labels."""
        return {
            LABEL_INSTALLATION: self.installation,
            LABEL_NAME: self.name,
            LABEL_LIFE: self.life,
        }

    def matches_text(self, text: str | None) -> bool:
        """Return whether `text` is exactly this mark."""
        return text == self.text

    def matches_labels(self, labels: Mapping[str, str]) -> bool:
        """Return whether `labels` contain this mark; they may contain other labels."""
        return all(labels.get(key) == value for key, value in self.labels.items())

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Return the mark that `text` is; None if it is no mark."""
        parts = (text or "").split("/")
        if len(parts) != MARK_PARTS:
            return None
        try:
            return cls(installation=parts[0], name=parts[1], life=parts[2])
        except ValidationError:
            return None

    @classmethod
    def for_request(cls, installation: str, name: str, request_id: str) -> Self:
        """Return the mark of the life that `request_id` starts."""
        return cls(installation=installation, name=name, life=life_id(request_id))
