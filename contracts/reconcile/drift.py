"""Drift: what is missing or altered under a ready environment, and which steps mend it. Pure."""

from collections.abc import Collection, Mapping
from datetime import datetime

from contracts.environment import Drift
from contracts.environment_workflow import LifeInput
from contracts.lost_lives import STEP_SYSTEMS
from contracts.phases import DriftKind, StepName
from contracts.types.models import Frozen

#: The update by which the sweep tells an environment; activities may not import the workflow.
UPDATE_DRIFT = "drift"
#: The kinds that are repaired unless the settings say otherwise. A namespace or a vCluster that is gone has
#: lost its data: an empty one in its place would hide that. Guards that are weakened let tenants do more than
#: they may, so they are restored.
DEFAULT_REPAIR = (
    DriftKind.PROJECT,
    DriftKind.GROUP,
    DriftKind.ROLE_BINDING,
    DriftKind.IDENTITY,
    DriftKind.GUARDS,
    DriftKind.IMPORT,
)
#: The steps that build on a step, so that they are done again after it.
_DEPENDENTS: Mapping[DriftKind, frozenset[StepName]] = {
    DriftKind.PROJECT: frozenset({StepName.ROLE_BINDING, StepName.IMPORT}),
    DriftKind.GROUP: frozenset({StepName.ROLE_BINDING}),
    DriftKind.NAMESPACE: frozenset({StepName.VCLUSTER, StepName.KUBECONFIG, StepName.IMPORT}),
    DriftKind.VCLUSTER: frozenset({StepName.KUBECONFIG, StepName.IMPORT}),
}


class Deviation(Frozen):
    """What the sweep has found of one step, as the end of a sentence; `guards` is as in `Drift`."""

    step: StepName
    what: str
    guards: bool = False

    @property
    def kind(self) -> DriftKind:
        """The kind, by which the settings repair or ignore it."""
        return kind_of(self)


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


def kind_of(drift: Deviation | Drift) -> DriftKind:
    """Return the kind of a drift."""
    return DriftKind.GUARDS if drift.guards else DriftKind(drift.step.value)


def step_of(kind: DriftKind) -> StepName:
    """Return the step whose ensure mends this kind."""
    return StepName.NAMESPACE if kind is DriftKind.GUARDS else StepName(kind.value)


def steps_to_repair(drifted: Collection[DriftKind]) -> tuple[StepName, ...]:
    """Return the steps whose ensure mends these, in order."""
    wanted = {step_of(kind) for kind in drifted}.union(
        *(_DEPENDENTS.get(kind, frozenset()) for kind in drifted)
    )
    return tuple(step for step in StepName if step in wanted)


def merge_drift(before: Collection[Drift], now: DriftInput, at: datetime) -> tuple[Drift, ...]:
    """Return the drift to record; what was known before keeps its time."""
    known = {kind_of(one): one for one in before}
    lines = []
    for found in now.found:
        old = known.get(found.kind)
        lines.append(
            Drift(
                step=found.step,
                system=STEP_SYSTEMS[found.step],
                what=found.what,
                since=old.since if old else at,
                guards=found.guards,
                repairs=found.step in now.repair,
                problem=old.problem if old else None,
            )
        )
    return tuple(lines)
