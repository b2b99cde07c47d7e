"""Step 5: the namespace on the host cluster, and the guards in it. Labels and an annotation are the mark.

It is made by a create that never adopts, and nothing is applied before it has been read as ours: an apply
onto a stranger's namespace would succeed, and our undo would then delete it.
"""

import contextlib
from datetime import timedelta

from temporalio import activity

from activities import activity_context
from activities.errors import NotYet
from activities.ownership import NOTHING_THERE, left_alone
from activities.parts.forced_deletion import Forced
from activities.parts.host_lookup import (
    Hosts,
    ensure_role_binding,
    host_of,
    is_own_namespace,
    namespace_mark,
    require_own_namespace,
)
from activities.parts.namespace_policies import guards, marked, pod_security
from activities.values import chart_of, compose
from clients.errors import AlreadyExists, NotFound
from clients.host import Host
from contracts.activities import (
    EnsureInput,
    InspectInput,
    InspectResult,
    NamespaceStep,
    RemoveInput,
    RemoveResult,
)
from contracts.environment import Receipt, System
from contracts.naming import ANNOTATION_HOST_NETWORKS, ANNOTATION_OWNER
from contracts.template import RetainedVolumes

#: How long things may take to end before their namespace is deleted all the same: longer than they are given
#: before they are ended by force.
PATIENCE = timedelta(seconds=90)
#: Things named in one sentence as holding a namespace; there may be hundreds.
MAX_BLOCKERS = 5


class Namespace(NamespaceStep):
    """Makes, removes and finds the namespace."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    @activity.defn(name="namespace.ensure")
    async def ensure(self, input: EnsureInput) -> Receipt:
        """The namespace is there, is ours, and is guarded. Conflict if it is somebody else's."""
        environment = input.environment
        host = host_of(self._hosts, environment)
        mark, name = environment.mark, environment.derived_name
        # Before anything is made: a template may hold what cannot be composed, or what its chart refuses.
        values = compose(environment)
        await host.check_release(chart_of(environment), values)
        if environment.template.retained_volumes is RetainedVolumes.DELETE:
            await host.require_right_to_volumes()
        fittings = [marked(each, environment.mark) for each in await host.fittings(name, name)]
        networks = await host.networks()
        objects = [*fittings, *guards(environment, values, networks, fittings)]
        annotations = {ANNOTATION_OWNER: mark.text, ANNOTATION_HOST_NETWORKS: ",".join(networks.nodes)}
        try:
            namespace = await host.create_namespace(
                name, {**mark.labels, **pod_security(environment)}, annotations
            )
        except AlreadyExists:
            namespace = await require_own_namespace(host, environment)
        await host.apply(name, objects)
        return Receipt(name=name, reference=namespace.uid)

    @activity.defn(name="namespace.remove")
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """No namespace of ours is there; NotYet names what holds it."""
        host = host_of(self._hosts, input.environment)
        name, mark = input.environment.derived_name, input.environment.mark
        namespace = await host.get_namespace(name)
        if namespace is None:
            return RemoveResult(note=NOTHING_THERE)
        if not is_own_namespace(namespace, mark):
            found = namespace_mark(namespace, mark)
            return RemoveResult(note=left_alone(f"namespace {name}", found, mark))
        forced = Forced(host, input.environment)
        # Before it is deleted: our rights in it go with it, and what holds it could not be released any more.
        await ensure_role_binding(host, input.environment)
        await activity_context.until(lambda: _to_end(forced), limit=PATIENCE)
        with contextlib.suppress(NotFound):
            await host.delete_namespace(name, namespace.uid)
        if held := await activity_context.until(lambda: _what_holds(host, name, namespace.uid)):
            raise NotYet(
                System.HOST_CLUSTER,
                f"Namespace {name} on host {host.name} is not gone yet: {held}",
                "Remove what holds it, as finalizers whose controller is gone",
            )
        return RemoveResult(note=f"deleted namespace {name}", forced=forced.lines)

    @activity.defn(name="namespace.inspect")
    async def inspect(self, input: InspectInput) -> InspectResult:
        """The namespace, if it is there and ours."""
        name, mark = input.environment.derived_name, input.environment.mark
        namespace = await host_of(self._hosts, input.environment).get_namespace(name)
        return InspectResult(left=(f"namespace {name}",) if is_own_namespace(namespace, mark) else ())


async def _to_end(forced: Forced) -> str:
    things = await forced.look()
    more = f" and {len(things) - MAX_BLOCKERS} more" if len(things) > MAX_BLOCKERS else ""
    return f"{', '.join(things[:MAX_BLOCKERS])}{more} to end" if things else ""


async def _what_holds(host: Host, name: str, uid: str) -> str:
    namespace = await host.get_namespace(name)
    if namespace is None or namespace.uid != uid:
        return ""
    blockers = await host.namespace_blockers(name)
    more = f" and {len(blockers) - MAX_BLOCKERS} more" if len(blockers) > MAX_BLOCKERS else ""
    return f"held by {', '.join(blockers[:MAX_BLOCKERS])}{more}" if blockers else "it is ending"
