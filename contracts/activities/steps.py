"""The interface of the activities of each step.

Each step has three activities, `<step>.ensure`, `<step>.remove` and `<step>.inspect`. They guarantee:

- ensure   after it, the resource exists once and has our owner mark; repeating it changes nothing
- remove   after it, nothing of the step with our owner mark exists; removing what never existed succeeds
- inspect  returns what exists of the step with our owner mark; changes nothing
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from contracts.environment.models import Environment, Receipt, StepName
from contracts.types.models import Frozen


class MemberRepair(Frozen):
    """A repair of the members of a group: `adds` who is missing, and takes out `extra`, which are ids.

    Who has become one of its people is not taken out.
    """

    adds: bool = False
    extra: tuple[str, ...] = ()


class EnsureInput(Frozen):
    """The input of ensure: the environment for which the step creates its part.

    `request_id` and `requested_at` are for the mark of its life; the sender may leave them out.
    `is_bootstrapped` is for the import: the worker beside the host has applied the bootstrap manifest.
    `in_place`: the environment is in use, so the step changes what is there and never replaces it.
    `members`: only the members of the step's group are repaired, and nothing else is done.
    `project_id` and `group_id`: what this life has made before; the step reads what is left out.
    """

    environment: Environment
    request_id: str = ""
    requested_at: datetime | None = None
    is_bootstrapped: bool = False
    in_place: bool = False
    members: MemberRepair | None = None
    project_id: str = ""
    group_id: str = ""


class RemoveInput(Frozen):
    """The input of remove.

    `force` means: do not wait for an answer of the virtual cluster, it is gone or cannot answer.
    `life_started_at` is when this life started: older resources do not belong to it.
    """

    environment: Environment
    life_started_at: datetime
    force: bool = False


class RemoveResult(Frozen):
    """What remove did, in a few words.

    A lost response leaves no doubt here, because a late delete creates nothing. `forced` is what did not end
    by itself and was removed by force, one line for each resource.
    """

    note: str = ""
    forced: tuple[str, ...] = ()


class InspectInput(Frozen):
    """The input of inspect: the environment to look for, and the start of its life as in `RemoveInput`."""

    environment: Environment
    life_started_at: datetime


class InspectResult(Frozen):
    """What exists, one line for each resource; empty when nothing is left.

    `kept` is there because the template says so, or because it is older than the environment.
    """

    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class StepActivities(ABC):
    """The activities of one step."""

    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the step's part of the environment exists and has our owner mark."""

    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the step's part of the environment."""

    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the step's part of the environment."""


def step_activity_name(step: StepName, method: Callable[..., Awaitable[Any]]) -> str:
    """Return the activity name of a method of `StepActivities` for `step`, such as "project.ensure"."""
    return f"{step}.{method.__name__}"


class HeartbeatDetails(Frozen):
    """The details of an activity's heartbeats: what it waits for, in words.

    `checkpoint` is the state from which the next attempt continues, if this attempt is interrupted.
    """

    waiting_for: str
    checkpoint: str = ""
