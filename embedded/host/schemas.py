"""The bodies of calls to the simulated host, with the checks of a Kubernetes API server and of Helm."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

#: Labels of a release that Helm reserves.
_HELM_LABELS = frozenset({"name", "owner", "status", "version", "createdAt", "modifiedAt"})

_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"

NamespaceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ReleaseName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=53)]
LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
Labels = dict[LabelKey, Annotated[str, StringConstraints(pattern=_LABEL_VALUE, max_length=63)]]


class Refused(Exception):
    """The host refuses a call; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def _none_of_helm(labels: Labels) -> Labels:
    if taken := sorted(_HELM_LABELS & labels.keys()):
        raise ValueError(f"Helm reserves these labels: {', '.join(taken)}")
    return labels


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewNamespace(_Wire):
    """POST /namespaces."""

    name: NamespaceName
    labels: Labels = Field(default_factory=dict)
    annotations: dict[LabelKey, str] = Field(default_factory=dict)


class _PatchedNamespace(_Wire):
    uid: str
    resource_version: str = Field(alias="resourceVersion")
    labels: Labels = Field(default_factory=dict)
    annotations: dict[LabelKey, str | None] = Field(default_factory=dict)


class NamespacePatch(_Wire):
    """PATCH /namespaces/NAMESPACE: a JSON merge patch, with its preconditions."""

    metadata: _PatchedNamespace


class WantedChart(_Wire):
    """The chart; its version must be well-formed, nothing is fetched."""

    repository: str | None = None
    name: str = Field(min_length=1)
    version: Annotated[str, StringConstraints(pattern=r"^v?\d+\.\d+\.\d+([-+][-+.0-9A-Za-z]+)?$")]


class NewRelease(_Wire):
    """POST /namespaces/NAMESPACE/releases/NAME."""

    chart: WantedChart
    values: dict[str, Any] = Field(default_factory=dict)
    labels: Annotated[Labels, AfterValidator(_none_of_helm)] = Field(default_factory=dict)


class _PatchedMetadata(_Wire):
    resource_version: str | None = Field(default=None, alias="resourceVersion")
    annotations: dict[LabelKey, str | None] = Field(default_factory=dict)


class _PatchedSpec(_Wire):
    replicas: int | None = Field(default=None, ge=0)


class StatefulSetPatch(_Wire):
    """PATCH /namespaces/NAMESPACE/statefulsets/NAME: a JSON merge patch of what may be changed."""

    metadata: _PatchedMetadata = _PatchedMetadata()
    spec: _PatchedSpec = _PatchedSpec()


class _PatchedRequest(_Wire):
    uid: str | None = None
    resource_version: str | None = Field(default=None, alias="resourceVersion")
    finalizers: list[str]


class RequestPatch(_Wire):
    """PATCH /namespaces/NAMESPACE/configmaps/NAME: a JSON merge patch of the finalizers."""

    metadata: _PatchedRequest


class Metadata(BaseModel):
    """The metadata of an object that is checked."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=253)
    namespace: str | None = None
    labels: Labels | None = None


class Object(BaseModel):
    """A Kubernetes object, as far as it is checked."""

    model_config = ConfigDict(extra="allow")

    apiVersion: str  # noqa: N815 - as it is on the wire
    kind: str
    metadata: Metadata


LABELS = TypeAdapter(Labels)
OBJECTS = TypeAdapter(list[Object])
RELEASE_NAME = TypeAdapter(ReleaseName)
#: The statuses of a release; see `clients.host.models.ReleaseStatus`.
STATUS: TypeAdapter[str] = TypeAdapter(Literal["deployed", "pending", "failed", "uninstalling"])


class SigningLimit(_Wire):
    """PUT /-/signing: the longest validity of the client certificates that vClusters sign from now on."""

    seconds: float = Field(ge=0)


class StartupTrouble(_Wire):
    """PUT /-/trouble: starts in matching namespaces do not get ready while this is set."""

    namespace: str = "*"
    waiting_for: str = "a cluster that is not simulated"
    failed: str | None = None


class SnapshotTrouble(_Wire):
    """PUT /-/snapshots: snapshots in matching namespaces fail while this is set."""

    namespace: str = "*"
    failed: str = "no space left on device"
