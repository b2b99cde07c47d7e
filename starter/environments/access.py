"""Access to one environment: find it for a caller who may use a verb on it."""

from contracts.errors import Refusal, RefusalReason
from contracts.types.naming import is_name
from starter.auth.policy import (
    TABLE,
    NotAllowed,
    Principal,
    Relation,
    Verb,
    describe_allowed,
    describe_held,
    is_allowed,
    relations,
)
from starter.auth.security_log import note_denied
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import EnvironmentView
from starter.temporal.updates import Refused


class EnvironmentNotFound(Exception):
    """The caller can see no environment of this name, whether it exists or not."""

    def __init__(self, name: str) -> None:
        super().__init__(f'there is no environment "{name[:80]}" that you can see')


class EnvironmentAccess:
    """Finds environments for callers."""

    def __init__(self, reader: EnvironmentReader) -> None:
        self._reader = reader

    async def find(
        self,
        name: str,
        principal: Principal,
        verb: Verb,
        life: str | None = None,
        *,
        may_be_recent: bool | None = None,
    ) -> EnvironmentSnapshot:
        """Return the latest life of the name, if the principal may use `verb` on it and it is `life`.

        With `may_be_recent`, by default for views that are shown, it may be as it was a moment ago if it was
        ready then.

        Raises:
            EnvironmentNotFound: The principal may not see it, whether it exists or not.
            NotAllowed: The principal may see it but not use the verb.
            Refused: It is another life than `life`.
        """
        recent = verb is Verb.SHOW if may_be_recent is None else may_be_recent
        read = self._reader.read_recent if recent else self._reader.read
        snapshot = await read(name) if is_name(name) else None
        if snapshot is None:
            raise EnvironmentNotFound(name)
        relations = relations_to(snapshot, principal)
        if not is_allowed(Verb.SHOW, relations):
            note_denied()
            raise EnvironmentNotFound(name)
        if life and life != snapshot.life:
            message = f"{name} has another life now, and that is not the one that is meant: look at it"
            raise Refused(Refusal(reason=RefusalReason.OTHER_LIFE, message=message))
        if not is_allowed(verb, relations):
            message = (
                f'"{verb}" of {name} is for {describe_allowed(verb)}, and you are {describe_held(relations)}'
            )
            if Relation.OWNER in TABLE[verb] and not snapshot.view.owner_left_at:
                message += f": ask {snapshot.owner}"
            raise NotAllowed(message)
        return snapshot


def relations_to(snapshot: EnvironmentSnapshot, principal: Principal) -> frozenset[Relation]:
    """Return all relations of the principal to the environment."""
    return relations_in(snapshot.view, principal)


def relations_in(view: EnvironmentView, principal: Principal) -> frozenset[Relation]:
    """Return all relations of the principal to the environment that the view shows."""
    # An owner who has left has no access, and who takes their address has none either.
    owner = "" if view.owner_left_at and not view.ended else view.owner
    return relations(principal, owner=owner, team=view.team, collaborators=view.collaborators)
