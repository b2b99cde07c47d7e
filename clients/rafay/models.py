"""What the control plane answers, as values: frozen, and without a word of its wire format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Project:
    """A project. Its name is unique in the organisation; `id` is opaque."""

    id: str
    name: str
    description: str = ""


@dataclass(frozen=True)
class Group:
    """A group of users. Its name is unique in the organisation; `id` is opaque."""

    id: str
    name: str
    description: str = ""


@dataclass(frozen=True)
class Binding:
    """What a group may do on one project: the names of its roles there."""

    project_name: str
    role_names: tuple[str, ...]


@dataclass(frozen=True)
class User:
    """A local user of the control plane. `email` is spelled as the control plane spells it."""

    id: str
    email: str


@dataclass(frozen=True)
class Account:
    """Whose API key it is. `roles` are the names of the roles that the controller tells of; perhaps none."""

    username: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Role:
    """A role. `scope` is the controller's own word: ORGANIZATION, PROJECT or NAMESPACE."""

    id: str
    name: str
    scope: str = ""


@dataclass(frozen=True)
class Blueprint:
    """What a cluster is imported with, by name. One that is not published cannot be used."""

    name: str
    published: bool


@dataclass(frozen=True)
class Repository:
    """Where a project's charts come from. `kind` is "Helm" for charts; `endpoint` is a URL."""

    name: str
    kind: str
    endpoint: str
    description: str = ""


@dataclass(frozen=True)
class SignIn:
    """An identity provider as the controller knows it: people of `domain` are sent to it to sign in.

    `acs_url`, `entity_id` and `name_id_format` are what the provider has to be told of the controller;
    `knows_provider` is whether the controller has been told of the provider. Empty is what it does not tell.
    """

    name: str
    domain: str
    group_attribute: str = ""
    acs_url: str = ""
    entity_id: str = ""
    name_id_format: str = ""
    knows_provider: bool = False


@dataclass(frozen=True)
class Condition:
    """One stage of a cluster's registration; `status` is Pending, InProgress, Success or Failed."""

    type: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Cluster:
    """The record of a cluster.

    `status` is the control plane's own word ("READY" is the goal). `healthy` is what its agent reports.
    `failure` is why it will not become ready by itself, or None while it still may.
    """

    id: str
    name: str
    project_id: str
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    status: str = ""
    healthy: bool = False
    conditions: tuple[Condition, ...] = ()
    failure: str | None = None

    @property
    def ready(self) -> bool:
        """Whether it is registered, synchronised and reported healthy."""
        return self.status == READY and self.healthy

    @property
    def agent_has_answered(self) -> bool:
        """Whether its agent has ever reported: one that has not will not answer a deregistration either."""
        return self.ready or any(c.type == CHECK_IN and c.status == SUCCESS for c in self.conditions)

    @property
    def pending(self) -> str:
        """The first stages that have not succeeded yet, in words; empty when there are none."""
        waiting = [f"{c.type} {c.status}" for c in self.conditions if c.status != SUCCESS]
        return ", ".join(waiting[:2])


#: The status of a cluster that is registered and synchronised.
READY = "READY"
#: The condition that tells of the agent's first report.
CHECK_IN = "ClusterCheckIn"
#: The status of a condition that is fulfilled.
SUCCESS = "Success"
#: The status of a condition that will not be fulfilled by itself.
FAILED = "Failed"
