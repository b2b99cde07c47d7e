"""Who may do what with whose environment: one pure table. docs/reference/access.md shows it to people."""

from collections.abc import Collection, Mapping
from enum import StrEnum

from contracts.models import Frozen


class Role(StrEnum):
    """What somebody is to the installation as a whole."""

    DEVELOPER = "developer"
    PLATFORM = "platform"


class Principal(Frozen):
    """Who is asking. The e-mail is in lower case: it is who they are in every system."""

    person: str
    email: str
    teams: tuple[str, ...]
    role: Role = Role.DEVELOPER


class Verb(StrEnum):
    """What can be done with one environment through the API."""

    LIST = "list"
    SHOW = "show"
    WATCH = "watch"
    KUBECONFIG = "kubeconfig"
    DELETE = "delete"
    CANCEL = "cancel"
    RESUME_TEARDOWN = "resume-teardown"
    FORCE_TEARDOWN = "force-teardown"
    EXTEND = "extend"
    EXTEND_BEYOND = "extend --override"
    HISTORY = "history"


class GlobalVerb(StrEnum):
    """What can be done with the installation as a whole through the API."""

    FREEZE = "freeze"
    THAW = "thaw"
    SWEEP = "sweep"
    CAPACITY = "capacity"
    HOLDINGS = "capacity --holdings"


class Relation(StrEnum):
    """What somebody is to one environment. One person can be several of these at once."""

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
    # A kubeconfig lets in: only whom the environment's own group lets in as well.
    Verb.KUBECONFIG: _USE,
    Verb.DELETE: _DECIDE,
    Verb.CANCEL: _DECIDE,
    # It goes on removing things that were given up on: whoever asks must have looked at them.
    Verb.RESUME_TEARDOWN: frozenset({Relation.PLATFORM}),
    # It removes by names and marks what nobody has a record of any more.
    Verb.FORCE_TEARDOWN: frozenset({Relation.PLATFORM}),
    Verb.EXTEND: _DECIDE,
    # Beyond what the template allows: the platform team answers for what its host holds.
    Verb.EXTEND_BEYOND: frozenset({Relation.PLATFORM}),
    Verb.HISTORY: _DECIDE | _USE,
}

#: These concern everybody's environments at once.
HOUSE: Mapping[GlobalVerb, frozenset[Role]] = {
    **{verb: frozenset({Role.PLATFORM}) for verb in GlobalVerb},
    # How much is left, in numbers: whoever asks for an environment is told the same.
    GlobalVerb.CAPACITY: frozenset(Role),
}


def is_allowed_globally(verb: GlobalVerb, role: Role) -> bool:
    """Whether somebody of this role may do it with the installation."""
    return role in HOUSE[verb]


def relations(
    principal: Principal, *, owner: str, team: str, collaborators: Collection[str]
) -> frozenset[Relation]:
    """Everything that the principal is to an environment; a stranger is nothing else."""
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


def may(verb: Verb, held: Collection[Relation]) -> bool:
    """Whether one of the relations is enough for the verb."""
    return not TABLE[verb].isdisjoint(held)


def who_may(verb: Verb) -> str:
    """Those who may, in words, for the sentence that refuses."""
    words = {
        Relation.OWNER: "its owner",
        Relation.COLLABORATOR: "its collaborators",
        Relation.TEAM_MATE: "its team",
        Relation.PLATFORM: "the platform team",
    }
    allowed = [text for relation, text in words.items() if relation in TABLE[verb]]
    return " and ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))
