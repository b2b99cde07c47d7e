"""Renders the templates of the page: all text is escaped, and times and lengths are written in one way."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from contracts.environment.models import MADE_PHASES, SLEEP_PHASES, Outcome, Phase, StepState
from contracts.rollout import RolloutOutcome
from contracts.templates.parameters import format_value
from contracts.types.durations import format_duration
from starter.auth.policy import Principal, Role
from starter.environments.schemas import LifeSummary
from starter.page.static_files import static_path

#: How phases, outcomes and states of steps read, and the class of their colour.
STATES: dict[str, tuple[str, str]] = {
    Phase.PROVISIONING: ("Being made", "busy"),
    Phase.USABLE: ("Usable", "good"),
    Phase.READY: ("Ready", "good"),
    Phase.FALLING_ASLEEP: ("Falling asleep", "busy"),
    Phase.ASLEEP: ("Asleep", "quiet"),
    Phase.WAKING: ("Waking", "busy"),
    Phase.TEARING_DOWN: ("Being deleted", "busy"),
    Phase.TEARDOWN_INCOMPLETE: ("Deletion is stuck", "bad"),
    Phase.GONE: ("Gone", "quiet"),
    Phase.ORPHANED: ("Orphaned", "bad"),
    Outcome.DELETED: ("Deleted", "quiet"),
    Outcome.EXPIRED: ("Expired", "quiet"),
    Outcome.FAILED: ("Failed", "bad"),
    Outcome.CANCELLED: ("Cancelled", "quiet"),
    StepState.WAITING: ("Waiting", "quiet"),
    StepState.RUNNING: ("Running", "busy"),
    StepState.DONE: ("Done", "good"),
    StepState.UNDOING: ("Being undone", "busy"),
    StepState.UNDONE: ("Undone", "quiet"),
    StepState.UNDO_FAILED: ("Undo failed", "bad"),
    RolloutOutcome.RUNNING: ("Being upgraded", "busy"),
    RolloutOutcome.UPGRADED: ("Upgraded", "good"),
    RolloutOutcome.ROLLED_BACK: ("Rolled back", "bad"),
    RolloutOutcome.REFUSED: ("Refused", "busy"),
    RolloutOutcome.SKIPPED: ("Not upgraded", "quiet"),
}


#: In which a life is made, in which it is undone, and in which people use it or soon will.
MAKING_PHASES = frozenset({Phase.PROVISIONING, Phase.USABLE})
UNDOING_PHASES = frozenset({Phase.TEARING_DOWN, Phase.TEARDOWN_INCOMPLETE, Phase.GONE})
LASTING_PHASES = MAKING_PHASES | MADE_PHASES


#: A number that has a separator: of thousands, or of decimals. No date, time or version.
_NUMBER = re.compile(r"(?:\d{4,}(?:\.\d+)?|\d+\.\d+)(?![\d.:-])")


def utc_text(moment: datetime) -> str:
    """Return the time in UTC, as it is read where the script does not run."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(moment: datetime) -> str:
    """Return the time for the attribute `datetime`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def relative(moment: datetime, now: datetime | None = None) -> str:
    """Return how far a time is in the past or the future."""
    away = moment - (now or datetime.now(UTC))
    return f"in {format_duration(away)}" if away.total_seconds() > 0 else f"{format_duration(-away)} ago"


def next_try(moment: datetime, now: datetime | None = None) -> str:
    """Return when something is tried again: "now" if that is due, because it starts within a moment."""
    now = now or datetime.now(UTC)
    return relative(moment, now) if moment > now else "now"


def length(value: timedelta) -> str:
    """Return a length of time, short ones with tenths of a second."""
    seconds = max(0.0, value.total_seconds())
    return f"{seconds:.1f}s" if seconds < 10 else format_duration(value)


def number(value: object) -> Markup:
    """Return the text of an amount, with its number marked up if readers write it in different ways."""
    text = str(value)
    found = _NUMBER.match(text)
    if found is None:
        return escape(text)
    template = Markup('<data class="number" value="{0}">{0}</data>{1}')
    return template.format(found[0], text[found.end() :])


def capitalize_first(text: str) -> str:
    """Return the text as it begins a line; a name such as vCluster stays as it is."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def state_of(life: LifeSummary) -> str:
    """Return the state to show: the outcome of a life that has ended, and the phase before."""
    return life.outcome if life.ended and life.outcome else life.phase


def state_words(state: str) -> str:
    """Return how a state reads."""
    return STATES.get(state, (state, ""))[0]


def state_class(state: str) -> str:
    """Return the class of the colour of a state."""
    return STATES.get(state, ("", "quiet"))[1]


def with_commands(text: str) -> Markup:
    """Return the escaped text, with commands in backquotes as code, as in "see `moorage doctor`"."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(text)
    template = Markup("<code>{}</code>")
    return Markup("").join(template.format(part) if number % 2 else part for number, part in enumerate(parts))


_environment = Environment(
    loader=PackageLoader("starter.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_environment.filters |= {
    "utc": utc_text,
    "with_commands": with_commands,
    "iso": iso,
    "relative": relative,
    "next_try": next_try,
    "seconds": lambda seconds: number(length(timedelta(seconds=seconds))),
    "length_of": lambda value: number(length(value)),
    "number": number,
    "capitalize_first": capitalize_first,
    "duration": format_duration,
    "parameter_text": format_value,
    "state_of": state_of,
    "state_words": state_words,
    "state_class": state_class,
}
_environment.globals |= {
    "static_path": static_path,
    "Role": Role,
    "StepState": StepState,
    "Phase": Phase,
    "MAKING_PHASES": MAKING_PHASES,
    "UNDOING_PHASES": UNDOING_PHASES,
    "LASTING_PHASES": LASTING_PHASES,
    "SLEEP_PHASES": SLEEP_PHASES,
}


def render(template: str, /, **context: Any) -> Markup:
    """Return the HTML of a template, in which all text of others is escaped."""
    html = _environment.get_template(template).render(now=datetime.now(UTC), **context)
    return Markup(html)  # noqa: S704 - the output of a template with autoescape


def page(request: Request, template: str, /, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Answer with a page, for the caller if one is signed in."""
    principal: Principal | None = getattr(request.state, "principal", None)
    text = render(template, principal=principal, csrf=csrf_token(request), path=request.url.path, **context)
    return HTMLResponse(text, status_code=status)


def csrf_token(request: Request) -> str:
    """Return the token that each form of the caller has; "" without a session."""
    return str(getattr(request.state, "csrf_token", ""))
