"""Look-ups for the host cluster: the environment's host, its chart, and the resources that are its own."""

from collections.abc import Mapping

from activities import activity_context
from activities.errors import NotConfigured, NotYet
from activities.ownership import mark_text, require_ours
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Chart, Namespace, Release
from clients.host.protocol import Host
from contracts.environment.models import Environment, System
from contracts.types.naming import ANNOTATION_OWNER, OwnerMark

Hosts = Mapping[str, Host]


def host_of(hosts: Hosts, environment: Environment) -> Host:
    """Return the environment's host; raise NotConfigured if this worker's settings do not name it."""
    host = hosts.get(environment.host)
    if host is None:
        raise NotConfigured(
            System.HOST_CLUSTER,
            f"The worker's settings name no host {environment.host}",
            "Put it back into the settings, or ask for another host",
        )
    return host


async def at_host(hosts: Hosts, environment: Environment) -> tuple[Host, Environment]:
    """Return the environment's host, and the environment as it is there: with a standby only if it has it.

    The mark of the standby's namespace alone says so. It is never read by an environment that was not given
    a standby.
    """
    host = host_of(hosts, environment)
    if environment.standby is None:
        return host, environment
    has_it = is_own_namespace(await host.get_namespace(environment.host_name), environment.mark)
    return host, environment if has_it else environment.without_standby


def chart_of(environment: Environment) -> Chart:
    """Return the chart to install, as the template names it."""
    chart = environment.template.chart
    return Chart(
        repository=chart.repository or None, name=chart.name, version=chart.version, digest=chart.digest
    )


def namespace_mark(namespace: Namespace, ours: OwnerMark) -> str | None:
    """Return the mark of the namespace: ours only if the labels and the annotation both hold it."""
    labels, annotation = mark_text(namespace.labels), namespace.annotations.get(ANNOTATION_OWNER)
    return annotation if ours.matches_text(labels) else labels


def is_own_namespace(namespace: Namespace | None, ours: OwnerMark) -> bool:
    """Return whether the namespace exists and has exactly our mark."""
    return namespace is not None and ours.matches_text(namespace_mark(namespace, ours))


async def require_own_namespace(host: Host, environment: Environment) -> Namespace:
    """Return the environment's namespace.

    Raises NotYet if there is none or it is terminating, and Conflict if it is not ours.
    """
    name = environment.host_name
    namespace = await host.get_namespace(name)
    if namespace is None:
        raise NotYet(
            System.HOST_CLUSTER,
            f"Namespace {name} is not to be found on host {host.name}",
            "See who has deleted it",
        )
    found = namespace_mark(namespace, environment.mark)
    require_ours(System.HOST_CLUSTER, f"Namespace {name}", found, environment.mark)
    if namespace.terminating:
        raise NotYet(
            System.HOST_CLUSTER,
            f"Namespace {name} on host {host.name} is being deleted",
            "Wait until it is gone, then ask again",
        )
    return namespace


async def ensure_role_binding(host: Host, environment: Environment) -> None:
    """Bind the worker's role in the environment's namespace, unless it is terminating or not ours.

    Steps call this again because the binding may have been deleted since it was created.
    """
    namespace = await host.get_namespace(environment.host_name)
    if is_own_namespace(namespace, environment.mark) and namespace and not namespace.terminating:
        await host.ensure_role_binding(environment.host_name, environment.mark.labels)


def has_own_mark(release: Release, environment: Environment) -> bool:
    """Return whether a release in our namespace is ours: by our mark, or by that of our standby.

    The labels of a release are from its install, so one that was taken over has those of the standby.
    """
    standby = environment.standby
    return environment.mark.matches_labels(release.labels) or (
        standby is not None and standby.matches_labels(release.labels)
    )


def require_own_release(release: Release, environment: Environment) -> None:
    """Return if the release in our namespace is ours; else raise Conflict."""
    if not has_own_mark(release, environment):
        thing = f"Helm release {release.name} in namespace {release.namespace}"
        require_ours(System.HOST_CLUSTER, thing, mark_text(release.labels), environment.mark)


async def require_installed(host: Host, environment: Environment) -> None:
    """Return if our release is in our namespace.

    Raises NotYet if one of them is missing, and Conflict if one is not ours.
    """
    name = environment.host_name
    await require_own_namespace(host, environment)
    release = await host.get_release(name, name)
    if release is None:
        raise release_missing(host, name)
    require_own_release(release, environment)


def release_missing(host: Host, name: str) -> NotYet:
    """Return the error of a vCluster that is not there."""
    return NotYet(
        System.HOST_CLUSTER,
        f"Helm release {name} is not to be found on host {host.name}",
        "See who has uninstalled it",
    )


async def own_kubeconfig(host: Host, environment: Environment) -> Kubeconfig:
    """Return the kubeconfig of our vCluster, and wait until it is exported.

    The chart writes it a little after the pod is ready. Raises Conflict if the namespace or the release is
    not ours.
    """
    name = environment.host_name
    await require_installed(host, environment)
    found: list[Kubeconfig] = []

    async def exported() -> str:
        kubeconfig = await host.kubeconfig(name, name)
        if kubeconfig is None:
            return "the vCluster to export its kubeconfig"
        found.append(kubeconfig)
        return ""

    if waiting_for := await activity_context.wait_until(exported):
        raise NotYet(
            System.HOST_CLUSTER,
            f"The vCluster on host {host.name} is not usable in its time: waiting for {waiting_for}",
            "See the log of the vCluster's pod",
        )
    return found[0]
