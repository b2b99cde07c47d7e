"""What the API asks the worker beside a host, when it reaches the host itself no more.

Nothing in a request or an answer is a secret: a certificate and the public part of a kubeconfig are not, and
the administrator's kubeconfig stays on the host.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from contracts.types.models import Frozen
from contracts.types.naming import OwnerMark

HOST_REQUEST_WORKFLOW = "HostRequestWorkflow"
HOST_REQUEST_ID = "host-request"


class HostRequestKind(StrEnum):
    """What a worker beside a host does for the API."""

    CLUSTER = "cluster"  #: read the public part of a vCluster's kubeconfig
    ENSURE_PERSON = "ensure_person"  #: give a person the rights in a vCluster
    REMOVE_PERSON = "remove_person"  #: take them away
    HEALTH = "health"  #: say what is wrong with a ready environment
    CERTIFICATE = "certificate"  #: have the vCluster sign a person's certificate request


class HostRequest(Frozen):
    """A request about the vCluster of one life.

    `certificate_request` is PKCS#10 in PEM: the person's machine keeps the private key.
    """

    kind: HostRequestKind
    host: str
    mark: OwnerMark
    derived_name: str
    standby_name: str = Field(default="", description="its name on the host if it has taken a standby over")
    person: str = ""
    certificate_request: str = ""
    validity: timedelta = timedelta(0)

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names that its namespace may have."""
        return (self.standby_name, self.derived_name) if self.standby_name else (self.derived_name,)


class HostAnswer(Frozen):
    """The answer. `is_there` is False if the host has no kubeconfig of this life.

    `cluster` is the public part of the kubeconfig. `is_new` says whether the person's rights were missing.
    `problem` is what is wrong with the environment, and `since` when it began, if the host says so.
    """

    is_there: bool = True
    cluster: dict[str, str | bool] = {}
    is_new: bool = False
    certificate: str = ""
    problem: str = ""
    since: datetime | None = None
