"""The parts of an environment's page that change while it is watched. All who may see it see the same."""

from markupsafe import Markup

from contracts.environment import StepState
from starter.environments.schemas import EnvironmentView, StepView
from starter.page.rendering import render
from workflows.steps import STEPS

#: Each is a template, and an element of the page with its name as id.
PARTS = ("state", "steps", "chip")
_SUMMARIES = {step.name: step.summary for step in STEPS}
_DONE = frozenset({StepState.DONE, StepState.UNDONE})


def parts_of(view: EnvironmentView) -> dict[str, Markup]:
    """Return the HTML of each part by the id of its element."""
    template = {"view": view, "summaries": _SUMMARIES, "done": sum(map(_is_done, view.steps))}
    return {part: render(f"environment/{part}.html", **template) for part in PARTS}


def _is_done(step: StepView) -> bool:
    return step.state in _DONE
