"""The sections of an environment's page that offer what can be done now: they differ by who looks.

All who have the same relations to an environment see the same, except for the secrets of their forms. The
live updates send the sections without these, and the script of the page fills them in. So five hundred
watchers cost a few renderings when an environment becomes ready, and not five hundred requests.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from contracts.environment.models import SLEEP_PHASES, Phase, Snapshot
from starter.auth.policy import Principal, Verb, is_allowed
from starter.environments.access import relations_in
from starter.environments.schemas import USABLE_PHASES, EnvironmentView
from starter.page.environment_parts import KeptMessages, version_of
from starter.page.rendering import render
from starter.page.temporal_links import TemporalLinks

#: Each is a template, and an element of the page with its name as id.
SECTIONS = ("links", "using", "progress", "side")
#: Renderings of one view that are kept: people have a handful of relations, but a client may name any host.
MAX_AUDIENCES = 20
#: Lengths that the form to extend offers, as far as the policy allows them.
_EXTENSIONS = tuple(timedelta(hours=hours) for hours in (1, 8, 24, 72, 168))


def choices_of(view: EnvironmentView, caller: Principal) -> dict[str, Any]:
    """Return what the caller can do with the environment now, for the templates of the sections."""
    relations = relations_in(view, caller)
    return {
        "usable": view.phase in USABLE_PHASES,
        # One that sleeps has people and a kubeconfig as well.
        "made": view.phase in USABLE_PHASES | SLEEP_PHASES,
        "may": {verb.name.lower(): is_allowed(verb, relations) for verb in Verb},
        "extensions": _extensions(view),
        "restorable": _restorable(view),
    }


class SharedSections:
    """The sections of watched environments as messages, rendered once for all who have the same relations."""

    def __init__(self, temporal_links: TemporalLinks) -> None:
        self._temporal_links = temporal_links
        self._kept = KeptMessages()

    def message(self, view: EnvironmentView, caller: Principal, base_url: str) -> str:
        """Return the message with the sections, as JSON in ASCII. `base_url` is in the commands to copy."""
        messages = self._kept.of(view)
        # Only the form to take an environment whose owner has left has the caller's address.
        audience = relations_in(view, caller), base_url, caller.email if view.owner_left_at else ""
        if audience not in messages:
            if len(messages) >= MAX_AUDIENCES:
                messages.clear()
            messages[audience] = self._message(view, caller, base_url)
        return messages[audience]

    def _message(self, view: EnvironmentView, caller: Principal, base_url: str) -> str:
        context = {
            "view": view,
            "principal": caller,
            "temporal_links": self._temporal_links,
            "base_url": base_url,
            "problem": None,
            "typed": {},
            "csrf": "",
            "key": "live",
            **choices_of(view, caller),
        }
        sections = {section: render(f"environment/{section}.html", **context) for section in SECTIONS}
        return json.dumps({"version": version_of(view), "sections": sections})


def _restorable(view: EnvironmentView) -> list[Snapshot]:
    """Return the snapshots that can be restored now, the latest first."""
    if view.phase is not Phase.READY or view.change or view.restore or view.no_snapshots:
        return []
    return [one for one in reversed(view.snapshots) if one.taken_at]


def _extensions(view: EnvironmentView) -> list[tuple[datetime, timedelta]]:
    """Return the ends that its policy allows, each with how much later it is; the latest one last."""
    if view.extendable_until is None or view.expires_at is None:
        return []
    most = view.extendable_until - view.expires_at
    offered = [length for length in _EXTENSIONS if length < most][-2:]
    return [(view.expires_at + length, length) for length in (*offered, most)]
