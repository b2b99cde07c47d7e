"""The API's answers about rollouts, as the command line reads them; see `starter.cli.views.base`."""

from datetime import datetime

from starter.cli.views.base import View


class RolloutLine(View, frozen=True, kw_only=True):
    """One environment in a rollout, what has become of it, and why."""

    name: str
    life: str
    outcome: str
    reason: str = ""
    wave: int = 0


class RolloutStatus(View, frozen=True, kw_only=True):
    """What a rollout has done so far."""

    template: str
    version: int
    actor: str
    started_at: datetime | None = None
    dry_run: bool = False
    over: bool = False
    stopped: str = ""
    lines: tuple[RolloutLine, ...] = ()
    more: int = 0


class RolloutView(View, frozen=True, kw_only=True):
    """A rollout."""

    over: bool
    joined: bool = False
    result: RolloutStatus | None = None
    message: str
