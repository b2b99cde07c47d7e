"""The view by which each response of the API is checked before a command sees it."""

import json
import re
from typing import Any

from starter.cli.views.base import View, parse
from starter.cli.views.bookings import BookingCodes, BookingList, BookingView
from starter.cli.views.capacity import CapacityView, PoolList, PoolView
from starter.cli.views.environments import (
    Done,
    EnvironmentPage,
    EnvironmentView,
    HistoryView,
    RequestsChecked,
)
from starter.cli.views.expiry import FreezeAnswer
from starter.cli.views.people import CallerView, CredentialView, SignInOptions
from starter.cli.views.rollouts import RolloutView
from starter.cli.views.sweeps import LeaversView, ReconcileView, SweepView
from starter.cli.views.templates import TemplateList, TemplateView

#: The view of a response by method and path; the first match counts.
_RESPONSES: tuple[tuple[str, str, type[View]], ...] = (
    ("GET", "templates", TemplateList),
    ("GET", "templates/.*", TemplateView),
    ("GET", "environments", EnvironmentPage),
    ("GET", "environments/[^/]*", EnvironmentView),
    ("GET", "environments/[^/]*/history", HistoryView),
    ("POST", "environments/[^/]*/credential", CredentialView),
    ("POST|PUT|DELETE", "environments(/.*)?", Done),
    ("POST", "requests/check", RequestsChecked),
    (".*", "freeze", FreezeAnswer),
    (".*", "sweeps(/.*)?", SweepView),
    (".*", "leavers(/.*)?", LeaversView),
    (".*", "reconcile(/.*)?", ReconcileView),
    (".*", "rollouts(/.*)?", RolloutView),
    ("GET", "capacity", CapacityView),
    ("GET", "pools", PoolList),
    ("POST", "pools/[^/]*/resume", PoolView),
    ("POST", "bookings(/[^/]*/codes)?", BookingCodes),
    ("GET", "bookings", BookingList),
    ("GET|DELETE", "bookings/[^/]*", BookingView),
    ("POST", "seats", Done),
    ("GET", "sign-in", SignInOptions),
    ("GET", "whoami", CallerView),
)


def parse_answer(content: bytes, method: str, path: str) -> Any:
    """Return the JSON of a response to this call.

    Raises:
        ValueError, RecursionError: it is no JSON, or not what this call returns.
    """
    document = json.loads(content)
    parse(document, _view_of(method, path))
    return document


def _view_of(method: str, path: str) -> type[View]:
    return next(view for methods, paths, view in _RESPONSES
                if re.fullmatch(methods, method) and re.fullmatch(paths, path))  # fmt: skip
