"""The steps as data. `Saga.forward` walks the table down and the teardown walks it up.

There is no other list of steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import Environment, StepName, System

#: One attempt of a few API calls. Each call has its own timeout, which is well below this limit.
FEW_CALLS_ATTEMPT_TIMEOUT = timedelta(minutes=1)
#: All attempts of a few API calls, and the wait for a free worker: when hundreds of environments are
#: requested at once, the last of them wait until the first are ready. After a longer outage the user makes a
#: new request.
FEW_CALLS_TIMEOUT = timedelta(minutes=15)
#: Images are pulled and volumes are bound in this time. A vCluster that has not started after it will not
#: start.
START_TIMEOUT = timedelta(minutes=15)
#: The virtual API server answers within seconds after its Secret appears. If it does not, something is wrong
#: with it.
ANSWER_TIMEOUT = timedelta(minutes=5)
#: The control plane's agent pulls its images inside the new cluster in this time.
IMPORT_TIMEOUT = timedelta(minutes=15)


def _always(_: Environment) -> bool:
    return True


@dataclass(frozen=True)
class Step:
    """One row of the table. The step's activities are `<name>.ensure`, `<name>.remove`, `<name>.inspect`.

    `attempt_timeout` is the limit of one attempt of ensure, `timeout` the limit of all its attempts.
    `undo_after` names the steps that must be undone before the undo of this step is tried. `has_undo` is
    False for a step that creates nothing: its remove and inspect are not called. `wanted` returns whether an
    environment has this step.
    """

    name: StepName
    system: System
    summary: str
    attempt_timeout: timedelta = FEW_CALLS_ATTEMPT_TIMEOUT
    timeout: timedelta = FEW_CALLS_TIMEOUT
    undo_after: frozenset[StepName] = frozenset()
    has_undo: bool = True
    wanted: Callable[[Environment], bool] = _always


STEPS: tuple[Step, ...] = (
    Step(
        name=StepName.PROJECT,
        system=System.CONTROL_PLANE,
        summary="project in the control plane",
        # A project cannot be deleted while a cluster record is in it.
        undo_after=frozenset({StepName.IMPORT}),
    ),
    Step(name=StepName.GROUP, system=System.CONTROL_PLANE, summary="group in the control plane"),
    Step(name=StepName.ROLE_BINDING, system=System.CONTROL_PLANE, summary="the group's role on the project"),
    Step(
        name=StepName.IDENTITY,
        system=System.IDENTITY_PROVIDER,
        summary="group and members in the identity provider",
        wanted=lambda environment: environment.has_identity_provider,
    ),
    Step(
        name=StepName.NAMESPACE,
        system=System.HOST_CLUSTER,
        summary="namespace, quota and policies on the host",
        # The undo of the vCluster step looks in this namespace, by release, for what the chart leaves.
        undo_after=frozenset({StepName.VCLUSTER}),
    ),
    Step(
        name=StepName.VCLUSTER,
        system=System.HOST_CLUSTER,
        summary="vCluster, started",
        attempt_timeout=START_TIMEOUT,
        timeout=START_TIMEOUT,
    ),
    Step(
        name=StepName.KUBECONFIG,
        system=System.HOST_CLUSTER,
        summary="kubeconfig that works",
        attempt_timeout=ANSWER_TIMEOUT,
        timeout=ANSWER_TIMEOUT,
        has_undo=False,
    ),
    Step(
        name=StepName.IMPORT,
        system=System.CONTROL_PLANE,
        summary="import into the control plane",
        attempt_timeout=IMPORT_TIMEOUT,
        timeout=IMPORT_TIMEOUT,
    ),
)


def steps_of(environment: Environment) -> tuple[Step, ...]:
    """Return the steps that this environment has, in order; a standby has those on its host."""
    return tuple(
        step
        for step in STEPS
        if step.wanted(environment) and (step.system is System.HOST_CLUSTER or not environment.is_standby)
    )
