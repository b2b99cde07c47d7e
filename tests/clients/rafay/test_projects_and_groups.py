"""Projects and groups: made once, found by exactly their name, deleted."""

import pytest

from clients.errors import AlreadyExists, InUse, NotFound, Rejected
from clients.rafay import Rafay
from tests.support.stand_ins import RafayStandIn

MISSING_STYLES = [404, 500]


async def test_project_is_created_with_its_description_and_found_again(
    rafay: Rafay, stand_in: RafayStandIn, name: str
) -> None:
    created = await rafay.create_project(name, "abcdefgh12/demo/0123")
    assert await rafay.find_project(name) == created
    assert stand_in.rows("SELECT id, description FROM projects WHERE name = ?", name) == [
        (created.id, "abcdefgh12/demo/0123")
    ]


async def test_group_is_created_with_its_description_and_found_again(
    rafay: Rafay, stand_in: RafayStandIn, name: str
) -> None:
    created = await rafay.create_group(name, "abcdefgh12/demo/0123")
    assert await rafay.find_group(name) == created
    assert stand_in.rows("SELECT id, description FROM groups WHERE name = ?", name) == [
        (created.id, "abcdefgh12/demo/0123")
    ]


async def test_second_project_of_a_name_already_exists_and_changes_nothing(rafay: Rafay, name: str) -> None:
    first = await rafay.create_project(name, "the first")
    with pytest.raises(AlreadyExists, match=name):
        await rafay.create_project(name, "the second")
    assert await rafay.find_project(name) == first


async def test_second_group_of_a_name_already_exists_and_changes_nothing(rafay: Rafay, name: str) -> None:
    first = await rafay.create_group(name, "the first")
    with pytest.raises(AlreadyExists, match=name):
        await rafay.create_group(name, "the second")
    assert await rafay.find_group(name) == first


async def test_what_was_never_made_is_not_found(rafay: Rafay, name: str) -> None:
    assert await rafay.find_project(name) is None
    assert await rafay.find_group(name) is None


async def test_part_of_a_name_finds_nothing(rafay: Rafay, name: str) -> None:
    await rafay.create_project(f"{name}-x", "")
    await rafay.create_group(f"x-{name}", "")
    assert await rafay.find_project(name) is None
    assert await rafay.find_group(name) is None


@pytest.mark.parametrize("status", MISSING_STYLES)
async def test_deleted_project_is_gone_and_deleting_it_again_says_so(
    rafay: Rafay, stand_in: RafayStandIn, name: str, status: int
) -> None:
    stand_in.switch(missing_status=status)
    project = await rafay.create_project(name, "")
    await rafay.delete_project(project.id)
    assert await rafay.find_project(name) is None
    with pytest.raises(NotFound):
        await rafay.delete_project(project.id)


@pytest.mark.parametrize("status", MISSING_STYLES)
async def test_deleted_group_is_gone_and_deleting_it_again_says_so(
    rafay: Rafay, stand_in: RafayStandIn, name: str, status: int
) -> None:
    stand_in.switch(missing_status=status)
    group = await rafay.create_group(name, "")
    await rafay.delete_group(group.id)
    assert await rafay.find_group(name) is None
    with pytest.raises(NotFound):
        await rafay.delete_group(group.id)


async def test_project_with_a_cluster_is_in_use_until_the_cluster_is_gone(
    rafay: Rafay, stand_in: RafayStandIn, name: str
) -> None:
    stand_in.switch(forced_delete=0)
    project = await rafay.create_project(name, "")
    cluster = await rafay.create_cluster(project.id, name, {}, "minimal")
    with pytest.raises(InUse, match="clusters") as refusal:
        await rafay.delete_project(project.id)
    assert refusal.value.retryable
    await rafay.delete_cluster(project.id, cluster.id, force=True)
    while await rafay.find_cluster(project.id, name):
        pass
    await rafay.delete_project(project.id)
    assert await rafay.find_project(name) is None


@pytest.mark.parametrize("bad", ["Upper", "with space", "-dash", "x" * 64, ""])
async def test_name_that_is_none_is_rejected(rafay: Rafay, bad: str) -> None:
    with pytest.raises(Rejected, match="name"):
        await rafay.create_project(bad, "")
    with pytest.raises(Rejected, match="name"):
        await rafay.create_group(bad, "")


async def test_one_of_250_with_the_same_beginning_is_found_by_exactly_its_name(
    rafay: Rafay, stand_in: RafayStandIn, name: str
) -> None:
    for number in range(250):
        await rafay.create_group(f"{name}-{number}", str(number))
    stand_in.switch(page_limit=40)  # fewer than are asked for, as a server may
    for wanted in (0, 1, 24, 99, 100, 249):
        found = await rafay.find_group(f"{name}-{wanted}")
        assert found is not None, f"number {wanted} of 250 was not found"
        assert found.description == str(wanted)
    assert await rafay.find_group(f"{name}-250") is None
    assert await rafay.find_group(name) is None


@pytest.mark.parametrize("id", ["", ".", ".."])
async def test_an_id_that_would_lead_elsewhere_never_reaches_the_wire(
    rafay: Rafay, stand_in: RafayStandIn, id: str
) -> None:
    before = stand_in.calls()
    with pytest.raises(ValueError, match="cannot be part of"):
        await rafay.delete_project(id)
    assert stand_in.calls() == before


async def test_an_id_with_a_slash_stays_one_part_of_the_path(rafay: Rafay, name: str) -> None:
    project = await rafay.create_project(name, "")
    with pytest.raises((NotFound, Rejected)):
        await rafay.delete_group(f"../projects/{project.id}")
    assert await rafay.find_project(name) == project
