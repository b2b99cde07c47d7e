"""Drift: what is missing or altered under a ready environment, and which steps mend it. Pure."""

from collections.abc import Collection, Mapping
from datetime import datetime

from contracts.environment import Drift
from contracts.environment_workflow import LifeInput
from contracts.lost_lives import STEP_SYSTEMS
from contracts.phases import StepName
from contracts.types.models import Frozen

#: The update by which the sweep tells an environment; activities may not import the workflow.
UPDATE_DRIFT = "drift"
#: The kinds that are repaired unless the settings say otherwise. A namespace or a vCluster that is gone has
#: lost its data: an empty one in its place would hide that.
DEFAULT_REPAIR = (
    StepName.PROJECT,
    StepName.GROUP,
    StepName.ROLE_BINDING,
    StepName.IDENTITY,
    StepName.IMPORT,
)
#: The steps that build on a step, so that they are done again after it.
_DEPENDENTS: Mapping[StepName, frozenset[StepName]] = {
    StepName.PROJECT: frozenset({StepName.ROLE_BINDING, StepName.IMPORT}),
    StepName.GROUP: frozenset({StepName.ROLE_BINDING}),
    StepName.NAMESPACE: frozenset({StepName.VCLUSTER, StepName.KUBECONFIG, StepName.IMPORT}),
    StepName.VCLUSTER: frozenset({StepName.KUBECONFIG, StepName.IMPORT}),
}


class Deviation(Frozen):
    """What the sweep has found of one step, as the end of a sentence."""

    step: StepName
    what: str


class DriftInput(LifeInput):
    """What the sweep has found now, which may be nothing, and which of its steps are to be repaired."""

    actor: str
    found: tuple[Deviation, ...] = ()
    repair: tuple[StepName, ...] = ()


class DriftedLife(Frozen):
    """A ready environment and what is missing or altered; `found` is empty if it is as it should be again.

    `repair` are the steps that are to be repaired.
    """

    name: str
    life: str
    found: tuple[Deviation, ...] = ()
    repair: tuple[StepName, ...] = ()


def steps_to_repair(drifted: Collection[StepName]) -> tuple[StepName, ...]:
    """Return the steps whose ensure mends these, in order."""
    wanted = set(drifted).union(*(_DEPENDENTS.get(step, frozenset()) for step in drifted))
    return tuple(step for step in StepName if step in wanted)


def merge_drift(before: Collection[Drift], now: DriftInput, at: datetime) -> tuple[Drift, ...]:
    """Return the drift to record; what was known before keeps its time."""
    known = {one.step: one for one in before}
    lines = []
    for found in now.found:
        old = known.get(found.step)
        lines.append(
            Drift(
                step=found.step,
                system=STEP_SYSTEMS[found.step],
                what=found.what,
                since=old.since if old else at,
                repairs=found.step in now.repair,
                problem=old.problem if old else None,
            )
        )
    return tuple(lines)
