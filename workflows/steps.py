"""The steps as data. `Saga.forward` walks the table down and the teardown walks it up.

There is no other list of steps.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts import activities as signatures
    from contracts.activities import EnsureInput, InspectInput, InspectResult, RemoveInput, RemoveResult
    from contracts.environment import Environment, Receipt, StepName, System

Ensure = Callable[[Any, EnsureInput], Awaitable[Receipt]]
Remove = Callable[[Any, RemoveInput], Awaitable[RemoveResult]]
Inspect = Callable[[Any, InspectInput], Awaitable[InspectResult]]

#: One attempt of a few API calls. Each call has its own timeout, which is well below this limit.
FEW_CALLS = timedelta(minutes=1)
#: All attempts of a few API calls, and the wait for a free worker: when hundreds of environments are
#: requested at once, the last of them wait until the first are ready. After a longer outage the user makes a
#: new request.
FEW_CALLS_LIMIT = timedelta(minutes=15)
#: Images are pulled and volumes are bound in this time. A vCluster that has not started after it will not
#: start.
START_LIMIT = timedelta(minutes=15)
#: The virtual API server answers within seconds after its Secret appears. If it does not, something is wrong
#: with it.
ANSWER_LIMIT = timedelta(minutes=5)
#: The control plane's agent pulls its images inside the new cluster in this time.
IMPORT_LIMIT = timedelta(minutes=15)


def _always(_: Environment) -> bool:
    return True


@dataclass(frozen=True)
class Step:
    """One row of the table: three activities of a step, and their time limits.

    The activities create, remove and inspect what the step is about.

    `attempt` is the limit of one attempt of ensure, `limit` the limit of all its attempts. `undo_after` names
    the steps that must be undone before the undo of this step is tried. `wanted` returns whether an
    environment has this step.
    """

    name: StepName
    system: System
    summary: str
    ensure: Ensure
    remove: Remove | None
    inspect: Inspect | None
    attempt: timedelta = FEW_CALLS
    limit: timedelta = FEW_CALLS_LIMIT
    undo_after: frozenset[StepName] = frozenset()
    wanted: Callable[[Environment], bool] = _always


STEPS: tuple[Step, ...] = (
    Step(
        name=StepName.PROJECT,
        system=System.CONTROL_PLANE,
        summary="project in the control plane",
        ensure=signatures.ProjectStep.ensure,
        remove=signatures.ProjectStep.remove,
        inspect=signatures.ProjectStep.inspect,
        # A project cannot be deleted while a cluster record is in it.
        undo_after=frozenset({StepName.IMPORT}),
    ),
    Step(
        name=StepName.GROUP,
        system=System.CONTROL_PLANE,
        summary="group in the control plane",
        ensure=signatures.GroupStep.ensure,
        remove=signatures.GroupStep.remove,
        inspect=signatures.GroupStep.inspect,
    ),
    Step(
        name=StepName.ROLE_BINDING,
        system=System.CONTROL_PLANE,
        summary="the group's role on the project",
        ensure=signatures.RoleBindingStep.ensure,
        remove=signatures.RoleBindingStep.remove,
        inspect=signatures.RoleBindingStep.inspect,
    ),
    Step(
        name=StepName.IDENTITY,
        system=System.IDENTITY_PROVIDER,
        summary="group and members in the identity provider",
        ensure=signatures.IdentityStep.ensure,
        remove=signatures.IdentityStep.remove,
        inspect=signatures.IdentityStep.inspect,
        wanted=lambda environment: environment.has_identity_provider,
    ),
    Step(
        name=StepName.NAMESPACE,
        system=System.HOST_CLUSTER,
        summary="namespace, quota and policies on the host",
        ensure=signatures.NamespaceStep.ensure,
        remove=signatures.NamespaceStep.remove,
        inspect=signatures.NamespaceStep.inspect,
        # The undo of the vCluster step looks in this namespace, by release, for what the chart leaves.
        undo_after=frozenset({StepName.VCLUSTER}),
    ),
    Step(
        name=StepName.VCLUSTER,
        system=System.HOST_CLUSTER,
        summary="vCluster, started",
        ensure=signatures.VClusterStep.ensure,
        remove=signatures.VClusterStep.remove,
        inspect=signatures.VClusterStep.inspect,
        attempt=START_LIMIT,
        limit=START_LIMIT,
    ),
    Step(
        name=StepName.KUBECONFIG,
        system=System.HOST_CLUSTER,
        summary="kubeconfig that works",
        ensure=signatures.KubeconfigStep.ensure,
        remove=None,
        inspect=None,
        attempt=ANSWER_LIMIT,
        limit=ANSWER_LIMIT,
    ),
    Step(
        name=StepName.IMPORT,
        system=System.CONTROL_PLANE,
        summary="import into the control plane",
        ensure=signatures.ImportStep.ensure,
        remove=signatures.ImportStep.remove,
        inspect=signatures.ImportStep.inspect,
        attempt=IMPORT_LIMIT,
        limit=IMPORT_LIMIT,
    ),
)


def steps_of(environment: Environment) -> tuple[Step, ...]:
    """Return the steps that this environment has, in order."""
    return tuple(step for step in STEPS if step.wanted(environment))
