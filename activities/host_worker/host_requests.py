"""What a worker beside a host does there for the capacity workflow and for the API."""

from temporalio import activity

from activities.errors import NotConfigured
from activities.host_worker.capacity_survey import survey_host
from activities.parts.host_lookup import Hosts
from clients.host.health import find_namespace, read_health
from clients.host.protocol import Host
from contracts.activities.host import HostActivities
from contracts.capacity.models import HostCapacity
from contracts.environment.models import System
from contracts.host_requests import HostAnswer, HostRequest, HostRequestKind
from contracts.templates.client_certificates import CLUSTER_FIELDS, MAX_CREDENTIAL


class OnHost(HostActivities):
    """Answers with the credentials of the hosts that this worker stands beside."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    @activity.defn(name="capacity.survey")
    async def survey(self, input: HostCapacity) -> HostCapacity:
        """Return what the host has; `input` is what the settings of the capacity say."""
        return await survey_host(self._host(input.name), input.total)

    @activity.defn(name="host.answer")
    async def answer(self, input: HostRequest) -> HostAnswer:
        """Answer a request of the API about the vCluster of one life."""
        host, labels = self._host(input.host), input.mark.labels
        if input.kind is HostRequestKind.HEALTH:
            health = await read_health(host, input.host_names, labels, where=input.host)
            return HostAnswer(problem=health.problem, since=health.since)
        # Check the namespace first, because that name may now belong to another life or another owner.
        namespace = await find_namespace(host, input.host_names, labels)
        if namespace is None or not input.mark.matches_labels(namespace.labels):
            return HostAnswer(is_there=False)
        kubeconfig = await host.kubeconfig(namespace.name, namespace.name)
        if kubeconfig is None:
            return HostAnswer(is_there=False)
        if input.kind is HostRequestKind.CLUSTER:
            cluster, _ = kubeconfig.current()
            return HostAnswer(cluster={key: cluster[key] for key in CLUSTER_FIELDS if cluster.get(key)})
        async with host.virtual_cluster(kubeconfig) as virtual:
            if input.kind is HostRequestKind.ENSURE_PERSON:
                return HostAnswer(is_new=await virtual.ensure_person(input.person, labels))
            if input.kind is HostRequestKind.REMOVE_PERSON:
                await virtual.remove_person(input.person)
                return HostAnswer()
            # The API asks for less; a certificate cannot be withdrawn.
            validity = min(input.validity, MAX_CREDENTIAL)
            certificate = await virtual.issue_certificate(
                input.certificate_request.encode(), input.person, validity, labels
            )
            return HostAnswer(certificate=certificate)

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            raise NotConfigured(
                System.HOST_CLUSTER,
                f"The worker's settings name no host {name}",
                "Start a worker with the name of the host",
            )
        return host
