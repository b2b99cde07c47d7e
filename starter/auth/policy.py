"""The authorization policy, as one table of verbs and relations. docs/reference/access.md documents it."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from contracts.types.models import Frozen


class Role(StrEnum):
    """The role of a person in the whole installation."""

    DEVELOPER = "developer"
    PLATFORM = "platform"


class Principal(Frozen):
    """The authenticated caller. The e-mail is in lower case, and identifies the person in every system."""

    person: str
    email: str
    teams: tuple[str, ...]
    role: Role = Role.DEVELOPER


class Verb(StrEnum):
    """An action on one environment through the API."""

    LIST = "list"
    SHOW = "show"
    WATCH = "watch"
    KUBECONFIG = "kubeconfig"
    CREDENTIAL = "credential"
    DELETE = "delete"
    CANCEL = "cancel"
    RESUME_TEARDOWN = "resume-teardown"
    FORCE_TEARDOWN = "force-teardown"
    EXTEND = "extend"
    EXTEND_BEYOND = "extend --override"
    SLEEP = "sleep"
    WAKE = "wake"
    COLLABORATORS = "collaborators"
    TRANSFER = "transfer"
    TAKE = "take"
    RESIZE = "resize"
    UPGRADE = "upgrade"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    HISTORY = "history"


class GlobalVerb(StrEnum):
    """An action on the whole installation through the API."""

    LEAVERS = "leavers"
    RECONCILE = "reconcile"
    ROLLOUT = "upgrade --all"
    FREEZE = "freeze"
    THAW = "thaw"
    SWEEP = "sweep"
    CAPACITY = "capacity"
    HOLDINGS = "capacity --holdings"
    RESUME_POOL = "pools --resume"
    BOOK = "book"
    BOOKINGS = "bookings"
    END_BOOKING = "bookings --end"
    NEW_CODES = "bookings --new-codes"
    SEAT = "seat"
    AUDIT = "audit trail"
    FIGURES = "figures"


class Relation(StrEnum):
    """The relation of a person to one environment. One person can have several relations."""

    OWNER = "owner"
    COLLABORATOR = "collaborator"
    TEAM_MATE = "team mate"
    PLATFORM = "platform"
    STRANGER = "stranger"


_DECIDE = frozenset({Relation.OWNER, Relation.TEAM_MATE, Relation.PLATFORM})
_USE = frozenset({Relation.OWNER, Relation.COLLABORATOR})

TABLE: Mapping[Verb, frozenset[Relation]] = {
    Verb.LIST: _DECIDE | _USE,
    Verb.SHOW: _DECIDE | _USE,
    Verb.WATCH: _DECIDE | _USE,
    # A credential gives access to the environment, so only those get it who are in the environment's group.
    Verb.CREDENTIAL: _USE,
    # Without a credential it leads nowhere.
    Verb.KUBECONFIG: _USE,
    Verb.DELETE: _DECIDE,
    Verb.CANCEL: _DECIDE,
    # It continues to remove resources that the teardown has given up on; the caller must have inspected them.
    Verb.RESUME_TEARDOWN: frozenset({Relation.PLATFORM}),
    # It removes resources without a record, by names and owner marks only.
    Verb.FORCE_TEARDOWN: frozenset({Relation.PLATFORM}),
    Verb.EXTEND: _DECIDE,
    # It exceeds what the template allows, and the platform team is responsible for the capacity of its hosts.
    Verb.EXTEND_BEYOND: frozenset({Relation.PLATFORM}),
    # It interrupts the work of all its people, as a delete does.
    Verb.SLEEP: _DECIDE,
    Verb.WAKE: _DECIDE | _USE,
    # It lets people in, so only the person who answers for the environment decides, and the platform team.
    Verb.COLLABORATORS: frozenset({Relation.OWNER, Relation.PLATFORM}),
    Verb.TRANSFER: frozenset({Relation.OWNER, Relation.PLATFORM}),
    # Only while its owner has left; `starter.environments.membership` checks that.
    Verb.TAKE: frozenset({Relation.OWNER, Relation.TEAM_MATE, Relation.PLATFORM}),
    # It restarts the control plane, as those who may end it may also decide.
    Verb.RESIZE: _DECIDE,
    Verb.UPGRADE: _DECIDE,
    # It takes the place of an older one, which another person may rely on.
    Verb.SNAPSHOT: _DECIDE,
    # What was made since is lost, as with a delete.
    Verb.RESTORE: _DECIDE,
    Verb.HISTORY: _DECIDE | _USE,
}

#: The roles for each global verb; these verbs affect the environments of all users.
GLOBAL_TABLE: Mapping[GlobalVerb, frozenset[Role]] = {
    **{verb: frozenset({Role.PLATFORM}) for verb in GlobalVerb},
    # Numbers of free capacity; every user who requests an environment gets the same information.
    GlobalVerb.CAPACITY: frozenset(Role),
    # The code decides.
    GlobalVerb.SEAT: frozenset(Role),
}


class NotAllowed(Exception):
    """The caller may not use the verb; the text says who may."""


def ensure_allowed_globally(principal: Principal, verb: GlobalVerb) -> None:
    """Raise NotAllowed if the principal may not use the verb."""
    if not is_allowed_globally(verb, principal.role):
        raise NotAllowed(f"{verb} is for the platform team")


def is_allowed_globally(verb: GlobalVerb, role: Role) -> bool:
    """Return whether the role allows the verb."""
    return role in GLOBAL_TABLE[verb]


def relations(
    principal: Principal, *, owner: str, team: str, collaborators: Collection[str]
) -> frozenset[Relation]:
    """Return all relations of the principal to an environment; STRANGER if there is no other."""
    found = {
        relation
        for relation, holds in (
            (Relation.OWNER, principal.email == owner.lower()),
            (Relation.COLLABORATOR, principal.email in {one.lower() for one in collaborators}),
            (Relation.TEAM_MATE, team in principal.teams),
            (Relation.PLATFORM, principal.role is Role.PLATFORM),
        )
        if holds
    }
    return frozenset(found or {Relation.STRANGER})


def is_allowed(verb: Verb, held: Collection[Relation]) -> bool:
    """Return whether one of the relations allows the verb."""
    return not TABLE[verb].isdisjoint(held)


def describe_allowed(verb: Verb) -> str:
    """Return who may use the verb, as text for the refusal message."""
    words = {
        Relation.OWNER: "its owner",
        Relation.COLLABORATOR: "its collaborators",
        Relation.TEAM_MATE: "its team",
        Relation.PLATFORM: "the platform team",
    }
    return _join([text for relation, text in words.items() if relation in TABLE[verb]])


def describe_held(held: Collection[Relation]) -> str:
    """Return what the caller is to the environment, as text for the refusal message."""
    words = {
        Relation.OWNER: "its owner",
        Relation.COLLABORATOR: "one of its collaborators",
        Relation.TEAM_MATE: "in its team",
        Relation.PLATFORM: "in the platform team",
        Relation.STRANGER: "not one of its people",
    }
    return _join([text for relation, text in words.items() if relation in held])


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
