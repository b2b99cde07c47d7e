"""Drift: what is missing or altered under a ready environment, and which steps mend it. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from contracts.environment.models import Drift
from contracts.environment_workflow import LifeInput
from contracts.phases import DriftKind, StepName
from contracts.recovery_starts import STEP_SYSTEMS
from contracts.types.models import Frozen

#: The update by which the sweep tells an environment; activities may not import the workflow.
UPDATE_DRIFT = "drift"
#: The kinds that are repaired unless the settings say otherwise. A namespace or a vCluster that is gone has
#: lost its data: an empty one in its place would hide that. Guards that are weakened let tenants do more than
#: they may, so they are restored. Members whom Moorage has not put there are only reported: a person did that
#: by hand, and may have had a reason.
DEFAULT_REPAIR = (
    DriftKind.PROJECT,
    DriftKind.GROUP,
    DriftKind.ROLE_BINDING,
    DriftKind.IDENTITY,
    DriftKind.MEMBERS,
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


#: The kinds that are not those of a whole step.
MEMBER_KINDS = frozenset({DriftKind.MEMBERS, DriftKind.EXTRA_MEMBERS})
#: Extra members of one group that one repair takes out; the next sweep finds the others.
MAX_EXTRA = 20
#: Environments whose members are compared in one sweep: each costs calls to a directory, which limits them.
MAX_MEMBER_LOOKS = 100
#: How often the next ones have their turn; dry runs in between look at the same ones.
_TURN = timedelta(minutes=30)


class Deviation(Frozen):
    """What the sweep has found of one step, as the end of a sentence.

    `guards`, `members` and `extra` are as in `Drift`. `repairs`: these members are to be repaired; of all
    others, `repair` beside the deviations says so.
    """

    step: StepName
    what: str
    guards: bool = False
    members: DriftKind | None = None
    extra: tuple[str, ...] = ()
    repairs: bool = False

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

    `repair` are the steps that are to be repaired as a whole.
    """

    name: str
    life: str
    found: tuple[Deviation, ...] = ()
    repair: tuple[StepName, ...] = ()

    @property
    def is_to_repair(self) -> bool:
        """Whether anything is to be repaired."""
        return any(is_to_repair(one, self.repair) for one in self.found)

    @property
    def only_reported(self) -> "DriftedLife":
        """The same without a repair."""
        found = tuple(one.model_copy(update={"repairs": False}) for one in self.found)
        return self.model_copy(update={"found": found, "repair": ()})


def is_to_repair(found: Deviation, repair: Collection[StepName]) -> bool:
    """Return whether it is to be repaired."""
    return found.repairs if found.members else found.step in repair


def settle_found(
    found: Iterable[Deviation], *, repair: Collection[DriftKind], ignore: Collection[DriftKind]
) -> tuple[tuple[Deviation, ...], tuple[StepName, ...]]:
    """Return what is not ignored, and the steps that are to be repaired as a whole, by the settings."""
    kept = [one for one in found if one.kind not in ignore]
    steps = tuple(one.step for one in kept if not one.members and one.kind in repair)
    settled = (one.model_copy(update={"repairs": one.kind in repair}) if one.members else one for one in kept)
    return tuple(settled), steps


def member_turn(lives: Sequence[str], now: datetime) -> frozenset[str]:
    """Return the lives whose members are compared in this sweep: all, or the next ones in their order."""
    if len(lives) <= MAX_MEMBER_LOOKS:
        return frozenset(lives)
    ordered = sorted(lives)
    start = int(now.timestamp() // _TURN.total_seconds()) * MAX_MEMBER_LOOKS
    return frozenset(ordered[(start + number) % len(ordered)] for number in range(MAX_MEMBER_LOOKS))


def kind_of(drift: Deviation | Drift) -> DriftKind:
    """Return the kind of a drift."""
    if drift.members:
        return drift.members
    return DriftKind.GUARDS if drift.guards else DriftKind(drift.step.value)


def key_of(drift: Deviation | Drift) -> tuple[StepName, DriftKind]:
    """Return what tells a drift from the others of one environment: two groups have members."""
    return drift.step, kind_of(drift)


def step_of(kind: DriftKind) -> StepName:
    """Return the step whose ensure mends this kind."""
    return StepName.NAMESPACE if kind is DriftKind.GUARDS else StepName(kind.value)


def steps_to_repair(drifted: Collection[DriftKind]) -> tuple[StepName, ...]:
    """Return the steps whose ensure as a whole mends these, in order; for members there is none."""
    drifted = set(drifted) - MEMBER_KINDS
    wanted = {step_of(kind) for kind in drifted}.union(
        *(_DEPENDENTS.get(kind, frozenset()) for kind in drifted)
    )
    return tuple(step for step in StepName if step in wanted)


def merge_drift(before: Collection[Drift], now: DriftInput, at: datetime) -> tuple[Drift, ...]:
    """Return the drift to record; what was known before keeps its time."""
    known = {key_of(one): one for one in before}
    lines = []
    for found in now.found:
        old = known.get(key_of(found))
        lines.append(
            Drift(
                step=found.step,
                system=STEP_SYSTEMS[found.step],
                what=found.what,
                since=old.since if old else at,
                guards=found.guards,
                members=found.members,
                extra=found.extra,
                repairs=is_to_repair(found, now.repair),
                problem=old.problem if old else None,
            )
        )
    return tuple(lines)
