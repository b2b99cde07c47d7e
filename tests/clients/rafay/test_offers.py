"""What a controller offers beside: whose key it is, roles, blueprints, chart repositories, sign-in."""

import pytest

from clients.errors import Denied, NotFound
from clients.rafay import Rafay, Repository, SignIn, same_repository
from embedded.rafay.app import SIGN_INS_PATH
from tests.support.stack import unique
from tests.support.stand_ins import RafayStandIn, control

CHARTS = Repository("vcluster", "Helm", "https://charts.example.com", "abcd1234/setup")


async def test_whose_key_it_is(stand_in: RafayStandIn, rafay: Rafay) -> None:
    """Ensures that the account has the user name and the names of its roles."""
    account = await rafay.account()
    assert (account.username, account.roles) == ("admin@example.com", ("ADMIN",))
    auditor = stand_in.client(RafayStandIn.READ_ONLY_KEY)
    assert (await auditor.account()).roles == ("ADMINISTRATOR_READ_ONLY",)
    await auditor.close()


async def test_roles_have_their_scope(rafay: Rafay) -> None:
    """Ensures that a role has the scope of its organisation or of a project."""
    scopes = {role.name: role.scope for role in await rafay.roles()}
    assert (scopes["ADMIN"], scopes["PROJECT_ADMIN"]) == ("ORGANIZATION", "PROJECT")


async def test_blueprints(stand_in: RafayStandIn, rafay: Rafay) -> None:
    """Ensures that system blueprints are read to the end, page by page, and a project's own apart."""
    project = await rafay.create_project(unique("offers"), "")
    stand_in.switch(page_limit=2)
    names = [one.name for one in await rafay.system_blueprints(project.id)]
    assert names == sorted(names)
    assert {"minimal", "default"} < set(names)
    assert await rafay.project_blueprints(project.id) == []
    with pytest.raises(NotFound):
        await rafay.system_blueprints("nowhere")


async def test_repository_is_made_and_made_so(rafay: Rafay) -> None:
    """Ensures that what was applied is read again, and that a second apply changes it."""
    project = await rafay.create_project(unique("offers"), "")
    assert await rafay.find_repository(project.name, CHARTS.name) is None
    await rafay.apply_repository(project.name, CHARTS)
    assert await rafay.find_repository(project.name, CHARTS.name) == CHARTS
    moved = Repository(CHARTS.name, "Helm", "https://mirror.example.com", CHARTS.description)
    await rafay.apply_repository(project.name, moved)
    assert await rafay.find_repository(project.name, CHARTS.name) == moved


async def test_repository_of_no_project(stand_in: RafayStandIn, rafay: Rafay) -> None:
    """Ensures that a missing project and a missing permission give different errors."""
    assert await rafay.find_repository("nowhere", CHARTS.name) is None
    with pytest.raises(NotFound):
        await rafay.apply_repository("nowhere", CHARTS)
    auditor = stand_in.client(RafayStandIn.READ_ONLY_KEY)
    with pytest.raises(Denied, match="apply repository vcluster"):
        await auditor.apply_repository("defaultproject", CHARTS)
    await auditor.close()


def test_the_same_repository() -> None:
    """Ensures that only where charts come from makes a difference."""
    alike = Repository(CHARTS.name, "helm", "https://charts.example.com/", "another's")
    assert same_repository(CHARTS, alike)
    assert not same_repository(CHARTS, Repository(CHARTS.name, "Git", CHARTS.endpoint))
    assert not same_repository(CHARTS, Repository(CHARTS.name, "Helm", "https://elsewhere.example.com"))


async def test_sign_ins(stand_in: RafayStandIn, rafay: Rafay) -> None:
    """Ensures that each sign-in has what its provider needs, and that an unserved list is None."""
    assert await rafay.sign_ins() == []
    incomplete = {"name": "corp", "domain": "example.com", "group_attribute_name": "groups"}
    control(stand_in.base_url, "PUT", SIGN_INS_PATH, [incomplete])
    [found] = await rafay.sign_ins() or [SignIn("", "")]
    assert (found.name, found.domain, found.group_attribute) == ("corp", "example.com", "groups")
    assert found.acs_url
    assert found.entity_id
    assert not found.knows_provider
    complete = incomplete | {"metadata_url": "https://idp.example.com/metadata"}
    control(stand_in.base_url, "PUT", SIGN_INS_PATH, [complete])
    assert [one.knows_provider for one in await rafay.sign_ins() or []] == [True]
    control(stand_in.base_url, "PUT", SIGN_INS_PATH, [])
    stand_in.switch(sign_ins="not_served")
    assert await rafay.sign_ins() is None
