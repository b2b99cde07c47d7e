"""The list of all activities that a worker registers, built with the clients that they need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from temporalio.client import Client

from activities.booking_end import Bookings
from activities.capacity.audit import CapacityAudit, CapacitySettings
from activities.capacity.standby_starts import Pools
from activities.capacity.wake_admission import WakeAdmission
from activities.changes.access import GroupAccess, VirtualAccess
from activities.changes.sleep import Sleep
from activities.changes.snapshots import Snapshots
from activities.host_worker.cluster_bootstrap import BootstrapOnHost
from activities.host_worker.host_requests import OnHost
from activities.notices.life_record import AuditLog, AuditLogSinks
from activities.notices.notifications import NotificationChannels, Notifications
from activities.people_check import PeopleCheck
from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.sweep import ReconcileSweep
from activities.rollout import Rollout
from activities.standby_offer import StandbyOffer
from activities.steps.cluster_import import ImportStep
from activities.steps.group import GroupStep
from activities.steps.identity_group import IdentityStep
from activities.steps.kubeconfig import KubeconfigStep
from activities.steps.namespace import NamespaceStep
from activities.steps.project import ProjectStep
from activities.steps.role_binding import RoleBindingStep
from activities.steps.vcluster import VClusterStep
from activities.sweeps.expiry import ExpirySweep
from activities.sweeps.leavers import LeaverSweep
from activities.task_queues import Queues, ensure_right_queue
from clients.host.protocol import Host
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
    StepActivities,
    step_activity_name,
)
from contracts.environment.models import Environment, Receipt, StepName, System
from contracts.environment_workflow import LifecycleTimeouts
from contracts.reconcile.recovery_mark import LifeSigner
from contracts.recovery_starts import STEP_SYSTEMS
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues
from contracts.types.naming import Prefix


@dataclass(frozen=True)
class InstallationSettings:
    """What the reconcile sweep knows its own resources by, and the timeouts of the runs that it starts."""

    id: str = ""
    prefix: Prefix = "mrg"
    timeouts: LifecycleTimeouts = field(default_factory=LifecycleTimeouts)


@dataclass(frozen=True)
class Clients:
    """The clients of the outside systems.

    These are the control plane, the identity provider if one is configured, the hosts by name, the
    notification channels and the audit log sinks. `own_queues` are the systems with a task queue.
    """

    rafay: Rafay
    directory: IdentityProvider | None
    hosts: Mapping[str, Host]
    channels: NotificationChannels = field(default_factory=NotificationChannels)
    sinks: AuditLogSinks = field(default_factory=AuditLogSinks)
    admission: CapacitySettings = field(default_factory=CapacitySettings)
    installation: InstallationSettings = field(default_factory=InstallationSettings)
    own_queues: OwnQueues = NO_OWN_QUEUES


def all_activities(clients: Clients, temporal: Client) -> list[Callable[..., Any]]:
    """Return every activity of every step, regardless of what is configured.

    An environment that needs a system which is not configured (any more) gets an error, instead of waiting
    for a worker that knows its activities. `temporal` is the client of the activities that query
    environments.
    """
    rafay, directory, hosts, own = clients.rafay, clients.directory, clients.hosts, clients.own_queues
    cluster_import, signer = ImportStep(rafay, hosts), _signer_of(temporal)
    steps: dict[StepName, StepActivities] = {
        StepName.PROJECT: ProjectStep(rafay),
        StepName.GROUP: GroupStep(rafay),
        StepName.ROLE_BINDING: RoleBindingStep(rafay),
        StepName.IDENTITY: IdentityStep(directory),
        StepName.IMPORT: cluster_import,
        **_host_steps(hosts, signer),
    }
    bookings = Bookings(temporal)
    capacity = CapacityAudit(temporal, hosts, clients.admission)
    leavers = LeaverSweep(temporal, rafay if directory is None else directory)
    installation = clients.installation
    reconcile = ReconcileSweep(
        temporal,
        MarkedSystems(installation.id, installation.prefix, rafay, directory, hosts, own.hosts, signer),
        installation.timeouts,
    )
    return [
        *(each for name, step in steps.items() for each in step_activities(name, step, own)),
        *_on_hosts(hosts, own),
        cluster_import.register,
        GroupAccess(rafay, directory, own).change_group,
        PeopleCheck(rafay, directory, own).check,
        Queues(own).read,
        Notifications(clients.channels).send,
        AuditLog(clients.sinks).write,
        ExpirySweep(temporal).run,
        leavers.look,
        leavers.apply,
        WakeAdmission(temporal, clients.admission).admit,
        Rollout(temporal).upgrade,
        reconcile.survey,
        reconcile.settle,
        capacity.audit,
        capacity.resize,
        Pools(temporal, installation.timeouts).start,
        bookings.freeze,
        bookings.end_places,
    ]


def host_activities(hosts: Mapping[str, Host], temporal: Client) -> list[Callable[..., Any]]:
    """Return the activities of a worker beside these hosts, which reaches no other system."""
    steps = _host_steps(hosts, _signer_of(temporal))
    return [
        *(each for name, step in steps.items() for each in step_activities(name, step)),
        *_on_hosts(hosts),
    ]


def _signer_of(temporal: Client) -> LifeSigner | None:
    """Return what signs life marks; None where payloads are not authenticated either."""
    codec = temporal.data_converter.payload_codec
    return codec if isinstance(codec, LifeSigner) else None


def _host_steps(hosts: Mapping[str, Host], signer: LifeSigner | None) -> dict[StepName, StepActivities]:
    return {
        StepName.NAMESPACE: NamespaceStep(hosts, signer),
        StepName.VCLUSTER: VClusterStep(hosts),
        StepName.KUBECONFIG: KubeconfigStep(hosts),
    }


def _on_hosts(hosts: Mapping[str, Host], own_queues: OwnQueues = NO_OWN_QUEUES) -> list[Callable[..., Any]]:
    """Return the activities besides steps that may be put into the queue of a host."""
    bootstrap, on_host, sleep = BootstrapOnHost(hosts), OnHost(hosts), Sleep(hosts, own_queues)
    standby, snapshots = StandbyOffer(hosts, own_queues), Snapshots(hosts, own_queues)
    return [
        VirtualAccess(hosts, own_queues).change_virtual_cluster,
        sleep.pause,
        sleep.resume,
        snapshots.take,
        snapshots.restore,
        snapshots.settle,
        bootstrap.key,
        bootstrap.bootstrap,
        on_host.survey,
        on_host.answer,
        standby.offer,
        standby.withdraw,
    ]


def step_activities(
    name: StepName, step: StepActivities, own_queues: OwnQueues = NO_OWN_QUEUES
) -> list[Callable[..., Any]]:
    """Return the activities of a step under the names by which workflows execute them.

    With `own_queues`, they run only in the task queue of their system, if it has one.
    """
    system = STEP_SYSTEMS[name]

    def check(environment: Environment, *systems: System) -> None:
        ensure_right_queue(own_queues, environment, (system, *systems))

    async def ensure(input: EnsureInput) -> Receipt:
        is_on_host = name is StepName.IMPORT and not input.is_bootstrapped
        check(input.environment, *([System.HOST_CLUSTER] if is_on_host else []))
        return await step.ensure(input)

    async def remove(input: RemoveInput) -> RemoveResult:
        check(input.environment)
        return await step.remove(input)

    async def inspect(input: InspectInput) -> InspectResult:
        check(input.environment)
        return await step.inspect(input)

    return [
        activity.defn(name=step_activity_name(name, method))(method) for method in (ensure, remove, inspect)
    ]
