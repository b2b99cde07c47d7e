"""A template of the catalogue, as an environment keeps it for its whole life.

The catalogue's loader is strict (there, an unknown field is a typing error). Payloads are not, so that
workers of two versions can run at the same time.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from contracts.templates.client_certificates import MAX_CREDENTIAL, MIN_CREDENTIAL
from contracts.templates.parameters import (
    MAX_PARAMETERS,
    PARAMETER_PATTERN,
    Parameter,
    ParameterValue,
    substitute,
)
from contracts.templates.sleep import SleepPolicy
from contracts.templates.warm_pool import WarmPool
from contracts.types.models import Duration, Frozen
from contracts.types.naming import NAME_PATTERN
from contracts.types.quantities import MAX_LENGTH, POSITIVE_PATTERN, parse_quantity

Quantity = Annotated[str, StringConstraints(pattern=POSITIVE_PATTERN, max_length=MAX_LENGTH)]

#: The name or the value of a host's label, as the settings give it.
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]

#: The name of a parameter, as `--set` and the chart's values have it.
ParameterName = Annotated[str, StringConstraints(pattern=PARAMETER_PATTERN)]

#: Long enough to finish the current work, and a last warning. A template can set other values.
DEFAULT_WARNINGS = (timedelta(hours=1), timedelta(minutes=15))


def _no_login(address: str) -> str:
    if re.search(r"://[^/]*@", address):
        raise ValueError("holds a user or a password: charts must be to be had without a login")
    return address


#: The digest of a packaged chart (.tgz), as `sha256sum` and the index of an HTTP repository give it.
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"

#: The source of charts: an address or a folder. Many people see it, and every history contains it.
ChartRepository = Annotated[str, AfterValidator(_no_login)]


class Chart(Frozen):
    """The source of the vCluster chart.

    It is in an HTTP or OCI `repository` or, without a repository, at the path `name`.
    """

    repository: ChartRepository = "https://charts.loft.sh"
    name: str = "vcluster"
    version: str
    digest: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)] | None = None


class Size(Frozen):
    """What an environment may use on its host, in Kubernetes quantities."""

    cpu: Quantity
    memory: Quantity
    storage: Quantity
    pods: int = Field(ge=1, le=1000)


class Extension(Frozen):
    """How often users may move the end, and how far in total. The default allows no extension."""

    times: int = Field(default=0, ge=0, le=100)
    total: Duration = timedelta(0)


#: Below this size nothing fits beside the vCluster itself, which the host counts in addition: the control
#: plane's agent (200m, 128Mi), the vCluster's own DNS pod, and one small pod of the developer.
MIN_SIZE = Size(cpu="300m", memory="256Mi", storage="1Gi", pods=3)


def fields_below_minimum(size: Size) -> dict[str, str]:
    """Return the fields of a size that are below the minimum, each with a sentence."""
    problems = {
        field: f"{getattr(size, field)} is too little for an environment: at least {getattr(MIN_SIZE, field)}"
        for field in ("cpu", "memory", "storage")
        if parse_quantity(getattr(size, field)) < parse_quantity(getattr(MIN_SIZE, field))
    }
    if size.pods < MIN_SIZE.pods:
        problems["pods"] = f"{size.pods} are too few for an environment: at least {MIN_SIZE.pods}"
    return problems


class TimeToLive(Frozen):
    """The default and the maximum time to live, and how an environment ends.

    `warnings` are lengths of time before the end. `grace` is how long the environment is kept after its end,
    so that it can still be extended. `contracts.expiry` has the rules that follow from them.
    """

    default: Duration
    maximum: Duration
    extension: Extension = Extension()
    warnings: tuple[Duration, ...] = Field(default=DEFAULT_WARNINGS, max_length=10)
    without_owner: Duration = Field(
        default=timedelta(days=3),
        ge=timedelta(0),
        description="how long its team can take it after its owner has left",
    )
    grace: Duration = timedelta(0)

    @model_validator(mode="after")
    def _default_within_maximum(self) -> "TimeToLive":
        if not self.default.total_seconds() > 0:
            raise ValueError("the default must be longer than nothing")
        if self.default > self.maximum:
            raise ValueError("the default is longer than the maximum")
        if any(lead <= timedelta(0) for lead in self.warnings):
            raise ValueError("a warning must be some time before the end")
        return self


class RetainedVolumes(StrEnum):
    """What happens to volumes whose storage class says Retain, after their claims are gone."""

    KEEP = "keep"  #: they stay until a person handles them, and the certificate names them
    DELETE = "delete"  #: they are deleted with their data; the host must allow that


class PodSecurity(StrEnum):
    """The Pod Security Standard that the host enforces in an environment's namespace.

    There is no weaker choice.
    """

    BASELINE = "baseline"  #: no access to the node; most images run unchanged
    RESTRICTED = "restricted"  #: in addition nothing runs as root; images must be made for that


class Network(Frozen):
    """Where pods may connect to.

    They may always connect to each other, to DNS, and to the addresses in their host's setting.
    """

    internet: bool = Field(default=True, description="port 443 of public addresses")


class Credentials(Frozen):
    """What people get to use an environment: certificates, each valid for `maximum` at most."""

    maximum: Duration = Field(default=MAX_CREDENTIAL, ge=MIN_CREDENTIAL, le=MAX_CREDENTIAL)


class TemplateQuota(Frozen):
    """How many environments of one template may be open at a time; None sets no limit."""

    per_person: int | None = Field(default=None, ge=1, le=10_000)
    per_team: int | None = Field(default=None, ge=1, le=10_000)


class Template(Frozen):
    """What a developer can request by name."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    version: int = Field(
        ge=1, description="raised with every change; an environment keeps the one it was made from"
    )
    description: str = Field(min_length=1, max_length=200)
    chart: Chart
    kubernetes: Annotated[str, StringConstraints(pattern=r"^v?1\.[0-9]{1,2}(\.[0-9]{1,3})?$")]
    size: Size
    ttl: TimeToLive
    role: str = Field(default="PROJECT_ADMIN", description="role of the environment's group on its project")
    blueprint: str = Field(
        default="minimal", description="the control plane's blueprint of the imported cluster"
    )
    teams: tuple[str, ...] = Field(default=(), description="who may ask; empty: everybody")
    network: Network = Field(default=Network(), description="where its pods may go")
    pod_security: PodSecurity = Field(
        default=PodSecurity.BASELINE, description="what pods are kept from: baseline or restricted"
    )
    credentials: Credentials = Field(
        default=Credentials(), description="how long a credential of a person is valid, from 10m to 1h"
    )
    sleep: SleepPolicy | None = Field(
        default=None, description="when it falls asleep by itself: after an idle time, outside of some hours"
    )
    warm: WarmPool | None = Field(
        default=None, description="vClusters that are made ahead, so that a request is usable in seconds"
    )
    quota: TemplateQuota = Field(default=TemplateQuota(), description="how many of it may be open at a time")
    hosts: dict[Label, Label] = Field(
        default_factory=dict,
        max_length=20,
        description="labels that a host cluster must bear to be chosen; empty: any host",
    )
    retained_volumes: RetainedVolumes = Field(
        default=RetainedVolumes.KEEP,
        description="volumes that their storage class retains: keep (the certificate names them) or delete",
    )
    parameters: dict[ParameterName, Parameter] = Field(
        default_factory=dict,
        max_length=MAX_PARAMETERS,
        description="what a request can choose; `values` has them as `${parameters.NAME}`",
    )
    values: dict[str, Any] = Field(default_factory=dict, description="overlay on the chart's values")

    def with_parameters(self, given: Mapping[str, ParameterValue]) -> "Template":
        """Return the template with these values, and with the defaults of the others, in its `values`."""
        if not self.parameters:
            return self
        return self.model_copy(update={"values": substitute(self.values, self.all_parameters(given))})

    def all_parameters(self, given: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
        """Return the value of every parameter that has one: the given one, or its default."""
        found: dict[str, ParameterValue] = {}
        for name, parameter in self.parameters.items():
            value = given.get(name, parameter.default)
            if value is not None:
                found[name] = value
        return found

    @property
    def with_samples(self) -> "Template":
        """The template with a value for every parameter, for checks that have no request."""
        return self.with_parameters({name: one.sample for name, one in self.parameters.items()})
