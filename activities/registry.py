"""The list of all activities that a worker registers, built with the clients that they need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client

from activities.audit_log import AuditLog, Sinks
from activities.capacity_audit import Admission, CapacityAudit
from activities.expiry_sweep import Sweep
from activities.notifications import NotificationChannels, Notifications
from activities.people_check import People
from activities.steps.cluster_import import ClusterImport
from activities.steps.group import Group
from activities.steps.identity_group import Identity
from activities.steps.kubeconfig import KubeconfigOf
from activities.steps.namespace import Namespace
from activities.steps.project import Project
from activities.steps.role_binding import RoleBinding
from activities.steps.vcluster import VCluster
from clients.host.protocol import Host
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay


@dataclass(frozen=True)
class Clients:
    """The clients of the outside systems.

    These are the control plane, the identity provider if one is configured, the hosts by name, the
    notification channels and the audit log sinks.
    """

    rafay: Rafay
    directory: IdentityProvider | None
    hosts: Mapping[str, Host]
    channels: NotificationChannels = field(default_factory=NotificationChannels)
    sinks: Sinks = field(default_factory=Sinks)
    admission: Admission = field(default_factory=Admission)


def all_activities(clients: Clients, temporal: Client) -> list[Callable[..., Any]]:
    """Return every activity of every step, regardless of what is configured.

    An environment that needs a system which is not configured (any more) gets an error, instead of waiting
    for a worker that knows its activities. `temporal` is the client of the activities that query
    environments.
    """
    rafay, directory, hosts = clients.rafay, clients.directory, clients.hosts
    people, kubeconfig = People(rafay, directory), KubeconfigOf(hosts)
    steps = (
        Project(rafay),
        Group(rafay),
        RoleBinding(rafay),
        Identity(directory),
        Namespace(hosts),
        VCluster(hosts),
        ClusterImport(rafay, hosts),
    )
    notices, trail, sweep = Notifications(clients.channels), AuditLog(clients.sinks), Sweep(temporal)
    capacity = CapacityAudit(temporal, hosts, clients.admission)
    activities: list[Callable[..., Any]] = [
        people.check,
        kubeconfig.ensure,
        notices.send,
        trail.keep,
        sweep.sweep,
        capacity.audit,
    ]
    for step in steps:
        activities += [step.ensure, step.remove, step.inspect]
    return activities
