"""What callers send to the simulated host, checked as a Kubernetes API server and Helm would check it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

#: Names that Helm keeps for itself among a release's labels.
_HELM_LABELS = frozenset({"name", "owner", "status", "version", "createdAt", "modifiedAt"})

_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"

NamespaceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ReleaseName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=53)]
LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
Labels = dict[LabelKey, Annotated[str, StringConstraints(pattern=_LABEL_VALUE, max_length=63)]]


class Refused(Exception):
    """The host will not do it; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def _none_of_helm(labels: Labels) -> Labels:
    if taken := sorted(_HELM_LABELS & labels.keys()):
        raise ValueError(f"Helm keeps these labels for itself: {', '.join(taken)}")
    return labels


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewNamespace(_Wire):
    """POST /namespaces."""

    name: NamespaceName
    labels: Labels = Field(default_factory=dict)
    annotations: dict[LabelKey, str] = Field(default_factory=dict)


class WantedChart(_Wire):
    """Which chart; the version has to be one, nothing is fetched."""

    repository: str | None = None
    name: str = Field(min_length=1)
    version: Annotated[str, StringConstraints(pattern=r"^v?\d+\.\d+\.\d+([-+][-+.0-9A-Za-z]+)?$")]


class NewRelease(_Wire):
    """POST /namespaces/NAMESPACE/releases/NAME."""

    chart: WantedChart
    values: dict[str, Any] = Field(default_factory=dict)
    labels: Annotated[Labels, AfterValidator(_none_of_helm)] = Field(default_factory=dict)


class Metadata(BaseModel):
    """The part of an object's metadata that is looked at."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=253)
    namespace: str | None = None
    labels: Labels | None = None


class Object(BaseModel):
    """A Kubernetes object, as far as it is looked at here."""

    model_config = ConfigDict(extra="allow")

    apiVersion: str  # noqa: N815 - as it is on the wire
    kind: str
    metadata: Metadata


OBJECTS = TypeAdapter(list[Object])
RELEASE_NAME = TypeAdapter(ReleaseName)
#: What a release can be left in; see `clients.host.models.ReleaseStatus`.
STATUS: TypeAdapter[str] = TypeAdapter(Literal["deployed", "pending", "failed", "uninstalling"])


class StartupTrouble(_Wire):
    """PUT /-/trouble: starts in matching namespaces do not get ready while this is set."""

    namespace: str = "*"
    waiting_for: str = "a cluster that is not simulated"
    failed: str | None = None
