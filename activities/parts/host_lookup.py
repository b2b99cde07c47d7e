"""What several steps need to know of the host cluster: which one, and what there is the environment's own."""

from collections.abc import Mapping

from activities.errors import NotConfigured, NotYet
from activities.ownership import mark_text, require_ours
from clients.host import Host, Namespace, Release
from contracts.environment import Environment, System
from contracts.naming import ANNOTATION_OWNER, OwnerMark

Hosts = Mapping[str, Host]


def host_of(hosts: Hosts, environment: Environment) -> Host:
    """The environment's host; NotConfigured if this worker's settings do not name it."""
    host = hosts.get(environment.host)
    if host is None:
        raise NotConfigured(
            System.HOST_CLUSTER,
            f"The worker's settings name no host {environment.host}",
            "Put it back into the settings, or ask for another host",
        )
    return host


def namespace_mark(namespace: Namespace, ours: OwnerMark) -> str | None:
    """The mark that the namespace bears: ours only if labels and annotation both say so."""
    labels, annotation = mark_text(namespace.labels), namespace.annotations.get(ANNOTATION_OWNER)
    return annotation if ours.is_text(labels) else labels


def is_own_namespace(namespace: Namespace | None, ours: OwnerMark) -> bool:
    """Whether it is there and bears exactly our mark."""
    return namespace is not None and ours.is_text(namespace_mark(namespace, ours))


async def require_own_namespace(host: Host, environment: Environment) -> Namespace:
    """The environment's namespace. NotYet if there is none or it is going, Conflict if it is not ours."""
    name = environment.derived_name
    namespace = await host.get_namespace(name)
    if namespace is None:
        raise NotYet(
            System.HOST_CLUSTER,
            f"Namespace {name} is not to be found on host {host.name}",
            "See whether somebody has deleted it",
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
    """Have our rights in the environment's namespace, if it is ours and stays: one may take them away."""
    namespace = await host.get_namespace(environment.derived_name)
    if is_own_namespace(namespace, environment.mark) and namespace and not namespace.terminating:
        await host.ensure_role_binding(environment.derived_name, environment.mark.labels)


def require_own_release(release: Release, ours: OwnerMark) -> None:
    """Return if the release bears our mark; else a Conflict."""
    thing = f"Helm release {release.name} in namespace {release.namespace}"
    require_ours(System.HOST_CLUSTER, thing, mark_text(release.labels), ours)
