"""Step 5: the namespace on the host cluster and its policies. Labels and an annotation are the mark.

An environment that was given a standby takes over that standby's namespace, if it still can.

The step creates the namespace with a call that never adopts an existing one, and applies nothing before it
has read the namespace as ours. An apply to a namespace of another owner would succeed, and our undo would
then delete that namespace.
"""

import contextlib
from datetime import timedelta

from activities import activity_context
from activities.errors import NotYet
from activities.ownership import NOTHING_THERE, note_foreign
from activities.parts.concurrent_reads import read_together
from activities.parts.forced_deletion import ForcedDeletion
from activities.parts.host_lookup import (
    Hosts,
    at_host,
    chart_of,
    ensure_role_binding,
    is_own_namespace,
    namespace_mark,
    require_own_namespace,
)
from activities.parts.namespace_quotas import marked, namespace_policies, pod_security
from activities.parts.standby_claim import take_over, withdraw
from clients.errors import AlreadyExists, NotFound
from clients.host.protocol import Host
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
    StepActivities,
)
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Receipt, System
from contracts.reconcile.recovery_mark import LifeMark, LifeSigner
from contracts.templates.template import RetainedVolumes
from contracts.types.naming import (
    ANNOTATION_HOST_NETWORKS,
    ANNOTATION_LIFE,
    ANNOTATION_LIFE_SIGNATURE,
    ANNOTATION_OWNER,
)

#: How long objects may take to terminate before their namespace is deleted anyway: longer than the time after
#: which they are deleted by force.
TERMINATION_TIMEOUT = timedelta(seconds=90)
#: Most objects that one message names as blockers of a namespace; there may be hundreds.
MAX_BLOCKERS = 5


class NamespaceStep(StepActivities):
    """Creates, removes and finds the namespace."""

    def __init__(self, hosts: Hosts, signer: LifeSigner | None = None) -> None:
        self._hosts = hosts
        self._signer = signer

    async def ensure(self, input: EnsureInput) -> Receipt:
        """Create the namespace and its policies; raise Conflict if it exists and is not ours.

        The namespace of the environment's standby, if it has one, is taken over instead.
        """
        host, environment = await at_host(self._hosts, input.environment)
        # Check this before anything is created: the template may contain values that cannot be composed, or
        # that its chart rejects.
        values = compose_values(environment)
        _, networks = await read_together(host.check_release(chart_of(environment), values), host.networks())
        if environment.template.retained_volumes is RetainedVolumes.DELETE:
            await host.require_volume_permission()
        mark = environment.mark
        labels = {**mark.labels, **pod_security(environment)}
        annotations = {
            ANNOTATION_OWNER: mark.text,
            ANNOTATION_HOST_NETWORKS: ",".join(networks.nodes),
            **_life_annotations(input, self._signer),
        }
        if input.environment.standby and not input.in_place:
            environment = await take_over(host, input.environment, labels, annotations)
        name = environment.host_name
        host_manifests = [marked(each, environment.mark) for each in await host.host_manifests(name, name)]
        objects = [*host_manifests, *namespace_policies(environment, values, networks, host_manifests)]
        try:
            # An empty namespace in place of one that is in use would hide that its data is lost.
            namespace = (
                await require_own_namespace(host, environment)
                if input.in_place or environment.standby
                else await host.create_namespace(name, labels, annotations)
            )
        except AlreadyExists:
            namespace = await require_own_namespace(host, environment)
        await host.apply(name, objects)
        if environment.is_standby:
            # Without it no environment could take it over, and its vCluster would be made for nothing.
            await host.require_swap_permission(name)
        return Receipt(name=name, reference=namespace.uid)

    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Delete our namespace; raise NotYet with the blockers if it does not terminate."""
        host, environment = await at_host(self._hosts, input.environment)
        name, mark = environment.host_name, environment.mark
        namespace = await host.get_namespace(name)
        if namespace is None:
            return RemoveResult(note=NOTHING_THERE)
        if not is_own_namespace(namespace, mark):
            found = namespace_mark(namespace, mark)
            return RemoveResult(note=note_foreign(f"namespace {name}", found, mark))
        if environment.is_standby and await withdraw(host, environment):
            return RemoveResult(note=f"left alone: namespace {name} was taken over")
        forced = ForcedDeletion(host, environment)
        # Bind our role before the deletion starts: it is deleted with the namespace, and without it the
        # blockers could not be removed.
        await ensure_role_binding(host, environment)
        await activity_context.wait_until(lambda: _still_running(forced), timeout=TERMINATION_TIMEOUT)
        with contextlib.suppress(NotFound):
            await host.delete_namespace(name, namespace.uid)
        if held := await activity_context.wait_until(lambda: _what_holds(host, name, namespace.uid)):
            raise NotYet(
                System.HOST_CLUSTER,
                f"Namespace {name} on host {host.name} is not gone yet: {held}",
                "Remove what holds it, as finalizers whose controller is gone",
            )
        return RemoveResult(note=f"deleted namespace {name}", forced=forced.lines)

    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return the namespace, if it exists and is ours."""
        host, environment = await at_host(self._hosts, input.environment)
        name, mark = environment.host_name, environment.mark
        namespace = await host.get_namespace(name)
        return InspectResult(left=(f"namespace {name}",) if is_own_namespace(namespace, mark) else ())


def _life_annotations(input: EnsureInput, signer: LifeSigner | None) -> dict[str, str]:
    """Return the annotations from which a new run can continue this life."""
    if input.requested_at is None:
        return {}
    text = LifeMark(
        request_id=input.request_id, environment=input.environment, requested_at=input.requested_at
    ).text
    if not text:
        return {}
    signature = {ANNOTATION_LIFE_SIGNATURE: signer.sign_life(text)} if signer else {}
    return {ANNOTATION_LIFE: text, **signature}


async def _still_running(forced: ForcedDeletion) -> str:
    things = await forced.advance()
    more = f" and {len(things) - MAX_BLOCKERS} more" if len(things) > MAX_BLOCKERS else ""
    return f"{', '.join(things[:MAX_BLOCKERS])}{more} to end" if things else ""


async def _what_holds(host: Host, name: str, uid: str) -> str:
    namespace = await host.get_namespace(name)
    if namespace is None or namespace.uid != uid:
        return ""
    blockers = await host.namespace_blockers(name)
    more = f" and {len(blockers) - MAX_BLOCKERS} more" if len(blockers) > MAX_BLOCKERS else ""
    return f"held by {', '.join(blockers[:MAX_BLOCKERS])}{more}" if blockers else "it is ending"
