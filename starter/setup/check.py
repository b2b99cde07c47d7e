"""A part of what has to be so: how it is checked and repaired, and what came of it.

A check changes nothing. A repair may be repeated, and is believed only when the check says so after it. A
trial shows by deed what cannot be read, and leaves nothing behind.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from pydantic import computed_field

from contracts.models import Frozen
from starter.setup.areas import Area

#: One check; longer than the timeouts of the systems is no answer, and a person waits.
CHECK_PATIENCE = timedelta(seconds=20)


class Kind(StrEnum):
    """What a check can find."""

    WELL = "well"
    MISSING = "missing"  #: a repair will make it
    WRONG = "wrong"  #: a repair will mend it
    BY_HAND = "by hand"  #: only a person can do it
    REFUSED = "refused"  #: what is there will not do, and nothing here can change that


@dataclass(frozen=True)
class Found:
    """What a check found. `remedy` is what a repair would do, or what a person has to do, `steps` how."""

    kind: Kind
    detail: str
    remedy: str = ""
    steps: tuple[str, ...] = ()


def well(detail: str) -> Found:
    """It is as it should be."""
    return Found(Kind.WELL, detail)


@dataclass(frozen=True, eq=False)
class Part:
    """One thing that has to be so. `where` is its address or name.

    `denied` is what a refusal of our credentials means here, and what to do about it.
    """

    area: Area
    system: str
    name: str
    where: str
    check: Callable[[], Awaitable[Found]]
    repair: Callable[[], Awaitable[str]] | None = None
    trial: Callable[[], Awaitable[str]] | None = None
    needs: tuple["Part", ...] = ()
    denied: tuple[str, str] = ("refuses our credentials", "correct its credentials in the settings")
    patience: timedelta = CHECK_PATIENCE


class State(StrEnum):
    """What came of a part."""

    OK = "ok"
    DONE = "done"
    REPAIRED = "repaired"
    WOULD_DO = "would do"
    BY_HAND = "by hand"
    FAILED = "failed"
    WAITS = "waits"


class Result(Frozen):
    """What came of a part. `remedy` and `steps` say what to do when it is not well."""

    area: Area
    system: str
    part: str
    where: str
    state: State
    detail: str
    remedy: str = ""
    steps: tuple[str, ...] = ()
    milliseconds: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def well(self) -> bool:
        """Whether it is now as it should be."""
        return self.state in (State.OK, State.DONE, State.REPAIRED)


def chosen(parts: Sequence[Part], only: Sequence[Area]) -> list[Part]:
    """The parts of these areas and all that they need, in order; all of them if no area is named."""
    wanted: set[Part] = set()

    def want(part: Part) -> None:
        wanted.add(part)
        for needed in part.needs:
            want(needed)

    for part in parts:
        if not only or part.area in only:
            want(part)
    return [part for part in parts if part in wanted]
