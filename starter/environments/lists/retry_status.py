"""The problem of an environment that does not progress, and its next attempt. No I/O."""

from datetime import datetime

from contracts.environment.models import Phase
from contracts.types.models import Frozen
from starter.environments.schemas import EnvironmentView

#: Phases in which the workflow of an environment is working on it.
WORKING_PHASES = (Phase.PROVISIONING, Phase.USABLE, Phase.TEARING_DOWN, Phase.TEARDOWN_INCOMPLETE)


class Trouble(Frozen):
    """The problem of an environment, and the time of its next automatic attempt.

    `next_try_at` is None if the workflow retries at once, or never.
    """

    problem: str
    next_try_at: datetime | None = None


def trouble_of(view: EnvironmentView) -> Trouble | None:
    """Return the problem of the environment; None if it has none."""
    if view.phase is Phase.ORPHANED:
        return Trouble(problem=view.remark)
    if view.ended:
        return None
    if view.unfinished:
        # Leave out steps that only wait for another step, because they are not the cause.
        causes = [one for one in view.unfinished if one.type != "Blocked"] or list(view.unfinished)
        more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
        waits = " It waits for the platform team." if view.phase is Phase.TEARDOWN_INCOMPLETE else ""
        problem = f"not undone: {causes[0].step}: {causes[0].cause}{more}{waits}"
        return Trouble(problem=problem, next_try_at=view.next_pass_at)
    for step in view.steps:
        if step.progress and step.progress.last_failure:
            problem = f"{step.step}: {step.progress.last_failure}"
            return Trouble(problem=problem, next_try_at=step.progress.next_attempt_at)
    return None
