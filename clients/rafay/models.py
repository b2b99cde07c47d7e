"""The control plane's answers as frozen values, independent of the wire format."""

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
    """The names of a group's roles on one project."""

    project_name: str
    role_names: tuple[str, ...]


@dataclass(frozen=True)
class User:
    """A local user of the control plane. `email` has the control plane's spelling."""

    id: str
    email: str


@dataclass(frozen=True)
class Account:
    """The owner of the API key. `roles` are the role names that the controller shows, if any."""

    username: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Role:
    """A role. `scope` is the controller's own term: ORGANIZATION, PROJECT or NAMESPACE."""

    id: str
    name: str
    scope: str = ""


@dataclass(frozen=True)
class Blueprint:
    """A blueprint, by name, for the import of a cluster; it must be published to be usable."""

    name: str
    published: bool


@dataclass(frozen=True)
class Repository:
    """A source of a project's charts. `kind` is "Helm" for charts; `endpoint` is a URL."""

    name: str
    kind: str
    endpoint: str
    description: str = ""


@dataclass(frozen=True)
class SignIn:
    """An identity provider to which the controller redirects users of `domain` for sign-in.

    `acs_url`, `entity_id` and `name_id_format` are the controller's data that the provider needs;
    `knows_provider` is whether the controller has the provider's data. Fields that the controller does not
    show are empty.
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
    """A stage of a cluster's registration; `status` is Pending, InProgress, Success or Failed."""

    type: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Cluster:
    """The record of a cluster.

    `status` is the control plane's own term ("READY" is the goal). `healthy` is what its agent reports.
    `failure` is the reason why it will not become ready by itself, or None while it still may.
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
        """Return whether it is registered, synchronised and reported healthy."""
        return self.status == READY and self.healthy

    @property
    def agent_has_reported(self) -> bool:
        """Return whether its agent has ever reported.

        An agent that has never reported will not answer a deregistration either.
        """
        return self.ready or any(c.type == CHECK_IN and c.status == SUCCESS for c in self.conditions)

    @property
    def pending(self) -> str:
        """Return the first stages that have not succeeded yet, in words; empty when there are none."""
        waiting = [f"{c.type} {c.status}" for c in self.conditions if c.status != SUCCESS]
        return ", ".join(waiting[:2])


#: The status of a cluster that is registered and synchronised.
READY = "READY"
#: The condition for the agent's first report.
CHECK_IN = "ClusterCheckIn"
#: The status of a condition that is fulfilled.
SUCCESS = "Success"
#: The status of a condition that will not be fulfilled by itself.
FAILED = "Failed"
