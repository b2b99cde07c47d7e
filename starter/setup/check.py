"""A part of the set-up: its check, its repair, and the result.

A check changes nothing. A repair can be repeated, and counts only if the check after it succeeds. A trial
verifies by doing it what no call can read, and leaves nothing behind.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from pydantic import computed_field

from contracts.types.models import Frozen
from starter.setup.areas import Area

#: Timeout of one check: after the timeouts of the systems no answer arrives any more, and a user waits.
CHECK_TIMEOUT = timedelta(seconds=20)


class Kind(StrEnum):
    """The possible results of a check."""

    WELL = "well"
    MISSING = "missing"  #: a repair will create it
    WRONG = "wrong"  #: a repair will correct it
    BY_HAND = "by hand"  #: only a person can do it
    REFUSED = "refused"  #: the present state is not usable, and setup cannot change it


@dataclass(frozen=True)
class Found:
    """The finding of a check. `remedy`: what a repair would do or a person has to do; `steps`: how."""

    kind: Kind
    detail: str
    remedy: str = ""
    steps: tuple[str, ...] = ()


def well(detail: str) -> Found:
    """Build a finding for a part that is as it should be."""
    return Found(Kind.WELL, detail)


@dataclass(frozen=True, eq=False)
class SetupCheck:
    """One part of the set-up. `where` is its address or name.

    `denied` says what a refusal of our credentials means for this part, and what to do about it.
    """

    area: Area
    system: str
    name: str
    where: str
    check: Callable[[], Awaitable[Found]]
    repair: Callable[[], Awaitable[str]] | None = None
    trial: Callable[[], Awaitable[str]] | None = None
    needs: tuple["SetupCheck", ...] = ()
    denied: tuple[str, str] = ("refuses our credentials", "correct its credentials in the settings")
    timeout: timedelta = CHECK_TIMEOUT


class State(StrEnum):
    """The state of a part after check, repair and trial."""

    OK = "ok"
    DONE = "done"
    REPAIRED = "repaired"
    WOULD_DO = "would do"
    BY_HAND = "by hand"
    FAILED = "failed"
    WAITS = "waits"


class Result(Frozen):
    """The result for a part. `remedy` and `steps` say what to do if it is not well."""

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
        """Whether the part is now as it should be."""
        return self.state in (State.OK, State.DONE, State.REPAIRED)


def chosen(parts: Sequence[SetupCheck], only: Sequence[Area]) -> list[SetupCheck]:
    """Return the parts of these areas and the parts that they need; all if no area is given."""
    wanted: set[SetupCheck] = set()

    def want(part: SetupCheck) -> None:
        wanted.add(part)
        for needed in part.needs:
            want(needed)

    for part in parts:
        if not only or part.area in only:
            want(part)
    return [part for part in parts if part in wanted]
