"""The settings of host clusters: the simulated one of the embedded stack, and real ones."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from clients.kubernetes.vcluster_options import Exposure, HostOptions
from contracts.templates.template import ChartRepository
from worker.settings.groups.capacity import Labels, Share
from worker.settings.types import (
    DnsPeers,
    Group,
    HeaderSecret,
    HttpsPeers,
    Networks,
    PositiveDuration,
    ProtectedUrl,
    Rate,
)


class _HostGroup(Group):
    """The settings of every host: who reaches it, the labels that it is selected by, and its capacity."""

    own_worker: bool = Field(
        default=False,
        description="that only a worker beside it, `moorage worker --host NAME`, reaches it: its steps have "
        "a task queue of the host, and other processes need no credentials of it",
    )
    max_steps_per_second: Rate | None = Field(
        default=None,
        description="how many steps and undos all workers beside it start in a second together; only with "
        "own_worker, and only in the settings of that worker",
        examples=["5"],
    )
    labels: Labels = Field(
        default_factory=dict,
        description='what templates choose hosts by; in one variable as "zone=eu, gpu=yes"',
    )
    capacity: Share = Share()

    @field_validator("max_steps_per_second")
    @classmethod
    def _has_a_queue(cls, rate: float | None, info: ValidationInfo) -> float | None:
        if rate is not None and not info.data.get("own_worker"):
            raise ValueError("needs own_worker = true: without it, the host has no task queue")
        return rate


class SimulatedHostCluster(_HostGroup):
    """A host cluster of the embedded stack, which runs nothing."""

    kind: Literal["simulated"] = Field(description="which kind of host cluster this is")
    url: ProtectedUrl | None = Field(
        default=None,
        validate_default=True,
        description="base URL of the simulated host; not needed where it has its own worker",
        examples=["http://127.0.0.1:7003"],
    )
    token: HeaderSecret | None = Field(
        default=None,
        validate_default=True,
        description="bearer token of the simulated host; not needed where it has its own worker",
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30), description="longest wait for one answer"
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed its certificate, if a private one"
    )

    @field_validator("url", "token")
    @classmethod
    def _is_there_for_this_process(cls, value: object, info: ValidationInfo) -> object:
        if value is None and not info.data.get("own_worker"):
            raise ValueError("is missing")
        return value


class KubernetesHostCluster(_HostGroup):
    """A host cluster that is a Kubernetes cluster."""

    kind: Literal["kubernetes"] = Field(description="which kind of host cluster this is")
    kubeconfig: Path | None = Field(
        default=None, description="kubeconfig file; without one, the service account of the pod is used"
    )
    context: str | None = Field(
        default=None, description="context in the kubeconfig; without one, its current one"
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30), description="longest wait for one answer of its API server"
    )
    exposure: Exposure = Field(
        default=Exposure.IN_CLUSTER,
        description="how vClusters are reached: node-port, at a port of the nodes; or in-cluster, from "
        "within the host cluster only",
    )
    address: str | None = Field(
        default=None,
        validate_default=True,
        description="name or address at which the ports of its nodes are reached; needed for node-port",
        examples=["nodes.example.com"],
    )
    image_registry: str | None = Field(
        default=None,
        description="registry that all images of vClusters come from; without it, the chart's",
        examples=["registry.example.com"],
    )
    image_repository: str | None = Field(
        default=None,
        description="name of the vCluster's own image there; without it, the chart's",
        examples=["loft-sh/vcluster-oss"],
    )
    storage_class: str | None = Field(
        default=None, description="storage class of the vClusters' volumes; without it, the host's default"
    )
    chart_repository: ChartRepository | None = Field(
        default=None,
        description="where charts come from on this host (https, oci, or a folder), whatever templates say",
        examples=["oci://registry.example.com/charts"],
    )
    api_account: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+/[a-z0-9.-]+$")] | None = Field(
        default=None,
        description="service account, as namespace/name, under which the API reads kubeconfigs; see "
        "deploy/rbac.yaml",
        examples=["moorage/moorage-api"],
    )
    reachable: HttpsPeers = Field(
        default=(),
        description="networks with ports (443 without any) beyond the internet that environments may reach, "
        "as the control plane's when that is private",
        examples=["10.20.0.0/16:443+8443"],
    )
    dns: DnsPeers = Field(
        default=(),
        description="DNS servers beside the Service kube-dns in kube-system, as a cache on the nodes",
        examples=["169.254.20.10:53"],
    )
    api_server: HttpsPeers = Field(
        default=(),
        description="where its own API server is; without it, what the Service kubernetes in default says "
        "when an environment is made",
        examples=["10.0.0.0/24:443+6443"],
    )
    node_networks: Networks = Field(
        default=(),
        description="networks of nodes and pods that environments must not reach, beside the addresses that "
        "its nodes say when an environment is made; private ones never are reached",
        examples=["198.51.100.0/24"],
    )

    @field_validator("address")
    @classmethod
    def _is_there_for_node_ports(cls, address: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("exposure") is Exposure.NODE_PORT and not address:
            raise ValueError("is needed for the exposure node-port")
        return address

    @property
    def options(self) -> HostOptions:
        """The settings that the client of the host uses."""
        return HostOptions(
            exposure=self.exposure,
            address=self.address or "",
            image_registry=self.image_registry or "",
            image_repository=self.image_repository or "",
            storage_class=self.storage_class or "",
            chart_repository=self.chart_repository or "",
            api_account=self.api_account or "",
            reachable=self.reachable,
            dns=self.dns,
            api_server=self.api_server,
            node_networks=tuple(str(network) for network in self.node_networks),
        )


HostCluster = Annotated[SimulatedHostCluster | KubernetesHostCluster, Field(discriminator="kind")]
