"""The policy of a warm pool: how many standbys a template keeps, and in which hours. Pure."""

from datetime import datetime

from pydantic import Field

from contracts.templates.sleep import is_within_schedule, next_change, parse_schedule
from contracts.types.models import Frozen

#: Standbys of one template: each uses a host as an environment does.
MAX_STANDBYS = 100


class WarmPool(Frozen):
    """How many standbys wait, how many there may be while they are taken quickly, and in which hours."""

    ready: int = Field(ge=1, le=MAX_STANDBYS, description="how many wait to be taken over")
    most: int | None = Field(
        default=None, ge=1, le=MAX_STANDBYS, description="how many there may be while they are taken quickly"
    )
    hours: str | None = Field(
        default=None, max_length=200, description="the hours of the week in which they are kept"
    )

    @property
    def limit(self) -> int:
        """The largest number of standbys at a time."""
        return max(self.most or 0, self.ready)

    def is_open(self, now: datetime) -> bool:
        """Return whether standbys are kept at that moment."""
        return self.hours is None or is_within_schedule(self.hours, now)

    def next_change(self, now: datetime) -> datetime | None:
        """Return when the hours in which standbys are kept begin or end next; None if they never do."""
        return None if self.hours is None else next_change(self.hours, now)

    @property
    def sentence(self) -> str:
        """The policy in words."""
        most = f", up to {self.most} while they are taken quickly" if self.most else ""
        return f"{self.ready} ready{most}{f', in {self.hours}' if self.hours else ''}"


def pool_problems(pool: WarmPool) -> dict[str, str]:
    """Return the fields of a policy that are wrong, each with a sentence."""
    problems = {}
    if pool.most is not None and pool.most < pool.ready:
        problems["most"] = f"{pool.most} is less than the {pool.ready} that are to be ready"
    if pool.hours is not None:
        try:
            parse_schedule(pool.hours)
        except ValueError as error:
            problems["hours"] = str(error)
    return problems
