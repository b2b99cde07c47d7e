"""The changes of access that the outside systems do not have yet. Pure."""

from collections.abc import Iterable
from datetime import datetime

from contracts.types.models import Frozen


class AccessChanges(Frozen):
    """The people to give access to and to take it from; a person is in one of the two at most.

    `doubtful` are people with a call that had no response. Until `settles_at` such a call may still have an
    effect, so what is done for these people before it is repeated after it.
    """

    granting: tuple[str, ...] = ()
    revoking: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    settles_at: datetime | None = None

    @property
    def people(self) -> tuple[str, ...]:
        """All people whose access is about to change."""
        return (*self.granting, *self.revoking)

    @property
    def is_pending(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.granting or self.revoking)

    def grant(self, person: str) -> "AccessChanges":
        """Return these changes, with access for the person."""
        return self.model_copy(
            update={
                "granting": (*_without(self.granting, person), person),
                "revoking": _without(self.revoking, person),
            }
        )

    def revoke(self, person: str) -> "AccessChanges":
        """Return these changes, with no access for the person."""
        return self.model_copy(
            update={
                "granting": _without(self.granting, person),
                "revoking": (*_without(self.revoking, person), person),
            }
        )

    def without(self, person: str) -> "AccessChanges":
        """Return these changes without any for the person."""
        return self.model_copy(
            update={
                "granting": _without(self.granting, person),
                "revoking": _without(self.revoking, person),
            }
        )

    def doubt(self, people: Iterable[str], until: datetime) -> "AccessChanges":
        """Return these changes, where a call for the people may still have an effect until then."""
        doubtful = tuple(dict.fromkeys((*self.doubtful, *people)))
        return self.model_copy(update={"doubtful": doubtful, "settles_at": until})

    def after(self, done: "AccessChanges", started_at: datetime) -> "AccessChanges":
        """Return the changes that remain when all systems have `done`, which was attempted at `started_at`.

        A change that came during the attempt stays, and so does one of a person in doubt.
        """
        settled = done.settles_at is None or started_at >= done.settles_at
        final = set(done.people) - (set() if settled else set(done.doubtful))
        is_over = self.settles_at is None or started_at >= self.settles_at
        return AccessChanges(
            granting=tuple(one for one in self.granting if one not in final & set(done.granting)),
            revoking=tuple(one for one in self.revoking if one not in final & set(done.revoking)),
            doubtful=() if is_over else self.doubtful,
            settles_at=None if is_over else self.settles_at,
        )

    def waits_until(self, now: datetime) -> datetime | None:
        """Return when the next attempt is useful, if all that is left waits for late responses."""
        if self.settles_at is None or now >= self.settles_at or not set(self.people) <= set(self.doubtful):
            return None
        return self.settles_at


def _without(people: tuple[str, ...], person: str) -> tuple[str, ...]:
    return tuple(one for one in people if one != person)
