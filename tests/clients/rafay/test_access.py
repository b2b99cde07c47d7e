"""Roles of groups on projects, and local users in groups."""

import pytest

from clients.errors import AlreadyExists, NotFound, Rejected
from clients.rafay import Binding, Group, Project, Rafay
from tests.support.stand_ins import RafayStandIn


@pytest.fixture
async def project(rafay: Rafay, name: str) -> Project:
    return await rafay.create_project(name, "")


@pytest.fixture
async def group(rafay: Rafay, name: str) -> Group:
    return await rafay.create_group(name, "")


async def test_role_is_bound_and_listed_under_its_project(
    rafay: Rafay, project: Project, group: Group
) -> None:
    assert await rafay.bindings(group.id) == []
    await rafay.bind_role(group.id, project.id, "PROJECT_ADMIN")
    assert await rafay.bindings(group.id) == [Binding(project.name, ("PROJECT_ADMIN",))]


async def test_role_id_is_the_one_of_exactly_that_name(rafay: Rafay, stand_in: RafayStandIn) -> None:
    stand_in.switch(page_limit=3)
    [(id,)] = stand_in.rows("SELECT id FROM roles WHERE name = 'NAMESPACE_READ_ONLY'")
    assert await rafay.role_id("NAMESPACE_READ_ONLY") == id


async def test_roles_are_read_once(rafay: Rafay, stand_in: RafayStandIn) -> None:
    before = stand_in.calls().get("role.list", 0)
    await rafay.role_id("PROJECT_ADMIN")
    await rafay.role_id("CLUSTER_ADMIN")
    assert stand_in.calls()["role.list"] == before + 1


async def test_unknown_role_is_rejected_by_its_name(rafay: Rafay, project: Project, group: Group) -> None:
    with pytest.raises(Rejected, match="PROJECT_ADMINN"):
        await rafay.bind_role(group.id, project.id, "PROJECT_ADMINN")
    assert await rafay.bindings(group.id) == []


async def test_second_binding_to_a_project_already_exists_whatever_its_role(
    rafay: Rafay, project: Project, group: Group
) -> None:
    await rafay.bind_role(group.id, project.id, "PROJECT_ADMIN")
    for role in ("PROJECT_ADMIN", "PROJECT_READ_ONLY"):
        with pytest.raises(AlreadyExists, match="already assigned"):
            await rafay.bind_role(group.id, project.id, role)
    assert await rafay.bindings(group.id) == [Binding(project.name, ("PROJECT_ADMIN",))]


@pytest.mark.parametrize("status", [404, 500])
async def test_missing_group_project_or_binding_is_not_found(
    rafay: Rafay, stand_in: RafayStandIn, project: Project, group: Group, status: int
) -> None:
    stand_in.switch(missing_status=status)
    with pytest.raises(NotFound):
        await rafay.bindings("nosuch1")
    with pytest.raises(NotFound):
        await rafay.bind_role("nosuch1", project.id, "PROJECT_ADMIN")
    with pytest.raises(NotFound):
        await rafay.bind_role(group.id, "nosuch1", "PROJECT_ADMIN")
    with pytest.raises(NotFound):
        await rafay.unbind(group.id, project.id)


async def test_unbound_group_has_no_role_left(rafay: Rafay, project: Project, group: Group) -> None:
    await rafay.bind_role(group.id, project.id, "PROJECT_ADMIN")
    await rafay.unbind(group.id, project.id)
    assert await rafay.bindings(group.id) == []


async def test_bindings_do_not_keep_a_project_and_go_with_it(
    rafay: Rafay, project: Project, group: Group
) -> None:
    await rafay.bind_role(group.id, project.id, "PROJECT_ADMIN")
    await rafay.delete_project(project.id)
    assert await rafay.bindings(group.id) == []


async def test_user_is_found_by_e_mail_in_any_case(rafay: Rafay) -> None:
    user = await rafay.find_user("Alice@Example.com")
    assert user is not None
    assert user.email == "alice@example.com"


@pytest.mark.parametrize("email", ["missing@example.com", "lice@example.com", "alice@example.co", "alice"])
async def test_only_the_whole_e_mail_finds_a_user(rafay: Rafay, email: str) -> None:
    assert await rafay.find_user(email) is None


async def test_user_with_a_plus_in_the_address_is_found(rafay: Rafay, stand_in: RafayStandIn) -> None:
    stand_in.add_user("alice+clusters@example.com")
    user = await rafay.find_user("alice+clusters@example.com")
    assert user is not None
    assert user.email == "alice+clusters@example.com"


async def test_member_is_added_once_and_adding_again_is_a_success(rafay: Rafay, group: Group) -> None:
    alice = await rafay.find_user("alice@example.com")
    assert alice is not None
    for _ in range(2):
        await rafay.add_member(group.id, alice.id)
    assert await rafay.group_members(group.id) == [alice]


async def test_member_is_removed_and_removing_again_is_a_success(rafay: Rafay, group: Group) -> None:
    alice, bob = await rafay.find_user("alice@example.com"), await rafay.find_user("bob@example.com")
    assert alice is not None
    assert bob is not None
    await rafay.add_member(group.id, alice.id)
    await rafay.add_member(group.id, bob.id)
    for _ in range(2):
        await rafay.remove_member(group.id, alice.id)
    assert await rafay.group_members(group.id) == [bob]


async def test_members_of_a_missing_group_are_not_found_and_removing_one_is_a_success(rafay: Rafay) -> None:
    alice = await rafay.find_user("alice@example.com")
    assert alice is not None
    with pytest.raises(NotFound):
        await rafay.group_members("nosuch1")
    with pytest.raises(NotFound):
        await rafay.add_member("nosuch1", alice.id)
    await rafay.remove_member("nosuch1", alice.id)


async def test_unknown_user_cannot_be_added(rafay: Rafay, group: Group) -> None:
    with pytest.raises(NotFound):
        await rafay.add_member(group.id, "nosuch1")
    assert await rafay.group_members(group.id) == []


async def test_deleted_group_leaves_neither_binding_nor_membership(
    rafay: Rafay, stand_in: RafayStandIn, project: Project, group: Group
) -> None:
    alice = await rafay.find_user("alice@example.com")
    assert alice is not None
    await rafay.bind_role(group.id, project.id, "PROJECT_ADMIN")
    await rafay.add_member(group.id, alice.id)
    await rafay.delete_group(group.id)
    assert stand_in.rows("SELECT * FROM bindings WHERE group_id = ?", group.id) == []
    assert stand_in.rows("SELECT * FROM members WHERE group_id = ?", group.id) == []
