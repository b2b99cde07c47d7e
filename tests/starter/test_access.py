"""The table of who may do what: what people read is what the code does."""

import re
from pathlib import Path

import pytest

from starter.auth.policy import (
    GLOBAL_TABLE,
    TABLE,
    GlobalVerb,
    Principal,
    Relation,
    Role,
    Verb,
    describe_allowed,
    describe_held,
    is_allowed,
    relations,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "access.md"


def documented() -> dict[Verb, set[Relation]]:
    """The table in docs/reference/access.md."""
    rows = [line.strip("| ").split(" | ") for line in DOCUMENT.read_text().splitlines() if "|" in line]
    header = next(row for row in rows if row[0] == "owner" and len(row) == 5)
    columns = [Relation(cell) for cell in header]
    verbs = {str(verb) for verb in Verb}
    return {
        Verb(row[0]): {column for column, cell in zip(columns, row[1:], strict=True) if cell == "yes"}
        for row in rows
        if row[0] in verbs
    }


def test_the_document_is_the_code() -> None:
    """Ensures that docs/reference/access.md shows exactly the table that is enforced."""
    assert documented() == {verb: set(allowed) for verb, allowed in TABLE.items()}


def test_the_document_is_the_code_for_the_installation_too() -> None:
    """Ensures that docs/reference/access.md shows who may freeze, thaw and sweep."""
    rows = [line.strip("| ").split(" | ") for line in DOCUMENT.read_text().splitlines() if "|" in line]
    header = next(row for row in rows if row[0] == "of the installation")
    roles = [Role(cell) for cell in header[1:]]
    shown = {
        GlobalVerb(row[0]): {role for role, cell in zip(roles, row[1:], strict=True) if cell == "yes"}
        for row in rows
        if row[0] in {str(verb) for verb in GlobalVerb}
    }
    assert shown == {verb: set(allowed) for verb, allowed in GLOBAL_TABLE.items()}


def test_strangers() -> None:
    """Ensures that a stranger may do nothing, and that a user who may do something may also see it."""
    for verb, allowed in TABLE.items():
        assert Relation.STRANGER not in allowed
        assert allowed <= TABLE[Verb.SHOW], verb


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        (Principal(person="", email="o@x.com", teams=("t",)), {Relation.OWNER, Relation.TEAM_MATE}),
        (Principal(person="", email="o@x.com", teams=("u",)), {Relation.OWNER}),
        (Principal(person="", email="c@x.com", teams=("u",)), {Relation.COLLABORATOR}),
        (Principal(person="", email="m@x.com", teams=("u", "t")), {Relation.TEAM_MATE}),
        (Principal(person="", email="p@x.com", teams=("u",), role=Role.PLATFORM), {Relation.PLATFORM}),
        (Principal(person="", email="s@x.com", teams=("T", "", "o@x.com")), {Relation.STRANGER}),
    ],
)
def test_relations_of_a_user_to_an_environment(principal: Principal, expected: set[Relation]) -> None:
    """Ensures that a user has all matching relations, in any case of addresses, or is a stranger."""
    found = relations(principal, owner="O@x.com", team="t", collaborators=["C@X.com"])
    assert found == expected


def test_the_most_holds() -> None:
    """Ensures that of several relations one that may is enough."""
    assert is_allowed(Verb.DELETE, {Relation.COLLABORATOR, Relation.TEAM_MATE})
    assert not is_allowed(Verb.DELETE, {Relation.COLLABORATOR})


def test_who_may_in_words() -> None:
    """Ensures that a refusal can say who it is for."""
    assert describe_allowed(Verb.DELETE) == "its owner, its team and the platform team"
    assert describe_allowed(Verb.RESUME_TEARDOWN) == "the platform team"
    assert not re.search(r"None", "".join(map(describe_allowed, Verb)))


def test_what_one_is_in_words() -> None:
    """Ensures that a refusal can say what the caller is."""
    assert describe_held({Relation.PLATFORM, Relation.TEAM_MATE}) == "in its team and in the platform team"
    assert all(describe_held({relation}) for relation in Relation)
