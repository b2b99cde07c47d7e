"""The parts of an environment's page that change while it is watched. All who may see it see the same."""

import hashlib
import json
from collections import OrderedDict
from datetime import UTC, datetime

from markupsafe import Markup

from contracts.environment.models import StepState
from starter.environments.schemas import EnvironmentView
from starter.page.rendering import UNDOING_PHASES, render, state_of, state_words
from starter.statistics.usual_times import UsualTimes
from workflows.steps import STEPS

#: Each is a template, and an element of the page with its name as id.
PARTS = ("chip", "state", "steps")
#: Environments whose parts are kept for their watchers: some kilobytes each.
MAX_KEPT = 500

#: What decides which forms a page has, and what they say.
_DECIDING = {
    "life", "phase", "ended", "owner", "collaborators", "expires_at", "owner_left_at",
    "template", "template_version", "change", "snapshots", "restore",
}  # fmt: skip
_SUMMARIES = {step.name: step.summary for step in STEPS}
#: A step that was never started has nothing to undo.
_UNDONE = frozenset({StepState.UNDONE, StepState.WAITING})


def parts_of(view: EnvironmentView, usual: UsualTimes) -> dict[str, Markup]:
    """Return the HTML of each part by the id of its element; `usual` is how long each step usually takes."""
    finished = _UNDONE if view.phase in UNDOING_PHASES else frozenset({StepState.DONE})
    context = {
        "view": view,
        "usual": usual,
        "summaries": _SUMMARIES,
        "done": sum(step.state in finished for step in view.steps),
    }
    return {part: render(f"environment/{part}.html", **context) for part in PARTS}


def version_of(view: EnvironmentView) -> str:
    """Return a text that changes with everything that decides which forms a page has."""
    decides = view.model_dump_json(include=_DECIDING)
    return hashlib.sha256(decides.encode()).hexdigest()[:16]


class KeptMessages:
    """The messages about the last view of each watched environment, by audience."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[EnvironmentView, dict[object, str]]] = OrderedDict()

    def of(self, view: EnvironmentView) -> dict[object, str]:
        """Return the messages about this view, to which the caller adds those that are missing."""
        kept = self._kept.get(view.life)
        if kept is None or kept[0] is not view:
            kept = self._kept[view.life] = view, {}
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(view.life)
        return kept[1]


class SharedParts:
    """The parts of watched environments as messages, rendered once for all watchers of a change."""

    def __init__(self) -> None:
        self._kept = KeptMessages()

    def message(self, view: EnvironmentView, usual: UsualTimes) -> str:
        """Return the message about the view, as JSON in ASCII."""
        messages = self._kept.of(view)
        if None not in messages:
            messages[None] = _message(view, usual)
        return messages[None]


def _message(view: EnvironmentView, usual: UsualTimes) -> str:
    return json.dumps(
        {
            "now": datetime.now(UTC).isoformat(),
            "title": f"{view.name}: {state_words(state_of(view))} - Moorage",
            "parts": parts_of(view, usual),
        }
    )
