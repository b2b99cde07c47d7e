"""Environments that do not get on: what holds each up, and when it tries again. Pure."""

from datetime import datetime

from contracts.environment import Phase
from contracts.models import Frozen
from starter.environments.schemas import EnvironmentView

#: Phases in which an environment is on its way to somewhere.
UNDER_WAY = (Phase.PROVISIONING, Phase.USABLE, Phase.TEARING_DOWN, Phase.TEARDOWN_INCOMPLETE)


class Trouble(Frozen):
    """What holds an environment up, and when it tries again by itself; None: at once, or never."""

    problem: str
    next_try_at: datetime | None = None


def trouble_of(view: EnvironmentView) -> Trouble | None:
    """What holds it up; None if nothing does."""
    if view.phase is Phase.ORPHANED:
        return Trouble(problem=view.remark)
    if view.ended:
        return None
    if view.unfinished:
        # A step that only waits for another one is not the cause.
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
