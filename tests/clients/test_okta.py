"""The Okta client against answers as Okta's API reference documents them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import pytest

from clients.errors import AlreadyExists, Denied, MalformedAnswer, NotFound, Rejected, Throttled
from clients.identity.okta import Okta
from clients.identity.protocol import Group, User
from tests.support.mock_answers import MockAnswers, answer
from tests.support.stand_ins import TLS

ORG = "https://acme.okta.com"
MARK = "k3x9q0vb/demo/0123456789abcdef0123"
GROUP = {
    "id": "00g1emaKYZTWRYYRRTSK",
    "type": "OKTA_GROUP",
    "objectClass": ["okta:user_group"],
    "profile": {"name": "moor-demo", "description": MARK},
}
OURS = Group(GROUP["id"], "moor-demo", MARK)  # type: ignore[arg-type]
DUPLICATE = {
    "errorCode": "E0000001",
    "errorSummary": "Api validation failed: name",
    "errorLink": "E0000001",
    "errorId": "oaeXyz",
    "errorCauses": [
        {"errorSummary": "name: An object with this field already exists in the current organization"}
    ],
}
NOT_FOUND = {
    "errorCode": "E0000007",
    "errorSummary": "Not found: Resource not found: x (User)",
    "errorCauses": [],
}


def user(id: str, login: str, email: str | None = None, status: str = "ACTIVE") -> dict[str, Any]:
    return {"id": id, "status": status, "profile": {"login": login, "email": email or login}}


@contextmanager
def okta(routes: dict[str, Any]) -> Iterator[tuple[Okta, MockAnswers]]:
    client, mock = Okta(f"{ORG}/", "00token", timeout=timedelta(seconds=5), verify=TLS), MockAnswers(routes)
    mock.install(client)
    yield client, mock


async def test_api_token_is_sent_in_okta_s_own_scheme() -> None:
    with okta({"GET /api/v1/groups": [], "GET /api/v1/users": []}) as (client, mock):
        await client.check()
    assert {each.headers["Authorization"] for each in mock.requests} == {"SSWS 00token"}
    assert mock.calls() == ["GET /api/v1/groups", "GET /api/v1/users"]


@pytest.mark.parametrize("address", ["alice@example.com", "Alice@Example.com"])
async def test_login_is_found_by_one_call_that_is_up_to_date(address: str) -> None:
    with okta({f"GET /api/v1/users/{address}": user("00u1", "alice@example.com")}) as (client, mock):
        assert await client.find_user(address) == User("00u1", "alice@example.com", "alice@example.com")
    assert len(mock.requests) == 1


async def test_address_that_is_no_login_is_searched() -> None:
    found = [
        user("00u1", "alice", "alice@example.com"),
        user("00u2", "other", "malice@example.com"),
        user("00u3", "old", "Alice@example.com", "DEPROVISIONED"),
    ]
    routes = {"GET /api/v1/users/alice@example.com": answer(404, NOT_FOUND), "GET /api/v1/users": found}
    with okta(routes) as (client, mock):
        assert await client.find_user("alice@example.com") == User("00u1", "alice", "alice@example.com")
    assert len(mock.requests) == 2
    assert mock.requests[1].url.params["search"] == 'profile.email eq "alice@example.com"'


async def test_search_cannot_be_injected() -> None:
    address = 'a"@x or profile.email pr or profile.email eq "'
    routes = {f"GET /api/v1/users/{address}": answer(404, NOT_FOUND), "GET /api/v1/users": []}
    with okta(routes) as (client, mock):
        assert await client.find_user(address) is None
    quoted = address.replace('"', '\\"')
    assert mock.requests[1].url.params["search"] == f'profile.email eq "{quoted}"'


@pytest.mark.parametrize(
    ("status", "is_found"),
    [
        ("ACTIVE", True), ("PROVISIONED", True), ("RECOVERY", True), ("LOCKED_OUT", True),
        ("PASSWORD_EXPIRED", True), ("STAGED", False), ("SUSPENDED", False), ("DEPROVISIONED", False),
    ],
)  # fmt: skip
async def test_disabled_account_is_not_found(status: str, is_found: bool) -> None:
    routes = {"GET /api/v1/users/a@example.com": user("00u1", "a@example.com", status=status)}
    with okta(routes) as (client, _):
        assert (await client.find_user("a@example.com") is not None) is is_found
        [there] = await client.users_by_address("a@example.com")
    assert (there.id, there.is_active) == ("00u1", is_found)


@pytest.mark.parametrize("asked", ["me", "00u1", "alice"])
async def test_user_by_id_or_short_name_is_not_taken_for_the_login(asked: str) -> None:
    routes = {f"GET /api/v1/users/{asked}": user("00u1", "alice@example.com"), "GET /api/v1/users": []}
    with okta(routes) as (client, _):
        assert await client.find_user(asked) is None


async def test_shared_address_is_for_a_person_to_decide() -> None:
    shared = [user("00u1", "a", "team@example.com"), user("00u2", "b", "Team@example.com")]
    routes = {"GET /api/v1/users/team@example.com": answer(404, NOT_FOUND), "GET /api/v1/users": shared}
    with okta(routes) as (client, _), pytest.raises(Rejected, match="2 people have this address"):
        await client.find_user("team@example.com")


async def test_group_has_the_mark_as_its_description() -> None:
    with okta({"POST /api/v1/groups": GROUP, "GET /api/v1/groups": [GROUP]}) as (client, mock):
        assert await client.create_group("moor-demo", MARK) == OURS
        assert await client.groups_by_external_id(MARK) == [OURS]
        assert await client.groups_by_name("moor-demo") == [OURS]
    assert mock.requests[0].content == (
        b'{"profile":{"name":"moor-demo","description":"k3x9q0vb/demo/0123456789abcdef0123"}}'
    )
    searches = [each.url.params["search"] for each in mock.requests[1:]]
    assert searches == [f'profile.description eq "{MARK}"', 'profile.name eq "moor-demo"']


async def test_a_taken_name_and_a_wrong_name_give_different_errors() -> None:
    wrong = {**DUPLICATE, "errorCauses": [{"errorSummary": "name: The field is too long"}]}
    routes = {"POST /api/v1/groups": [answer(400, DUPLICATE), answer(400, wrong)]}
    with okta(routes) as (client, _):
        with pytest.raises(AlreadyExists, match="already exists in the current organization"):
            await client.create_group("moor-demo", MARK)
        with pytest.raises(Rejected, match="The field is too long"):
            await client.create_group("moor-demo", MARK)


async def test_imported_group_of_the_name_counts_and_another_case_does_not() -> None:
    imported = {"id": "00g2", "type": "APP_GROUP", "profile": {"name": "moor-demo", "description": None}}
    other = {"id": "00g3", "type": "OKTA_GROUP", "profile": {"name": "Moor-Demo"}}
    with okta({"GET /api/v1/groups": [imported, other]}) as (client, _):
        assert await client.groups_by_name("moor-demo") == [Group("00g2", "moor-demo", None)]


async def test_members_are_read_to_the_last_page_and_each_once() -> None:
    path = "/api/v1/groups/00g1/users"
    more = f'<https://acme.okta.com{path}?after=00u2&limit=200>; rel="next"'
    first, second = [user("00u1", "a"), user("00u2", "b")], [user("00u2", "b"), user("00u3", "c")]
    with okta({f"GET {path}": [answer(200, first, Link=more), answer(200, second)]}) as (client, mock):
        assert await client.members("00g1") == ["00u1", "00u2", "00u3"]
    assert [dict(each.url.params) for each in mock.requests] == [
        {"limit": "200"}, {"after": "00u2", "limit": "200"}
    ]  # fmt: skip


async def test_removal_of_an_unknown_user_succeeds_and_from_an_unknown_group_does_not() -> None:
    membership = "DELETE /api/v1/groups/00g1/users/missing"
    gone = answer(404, NOT_FOUND)
    with okta({membership: gone, "GET /api/v1/groups/00g1": [answer(200, GROUP), gone]}) as (client, _):
        await client.remove_member("00g1", "missing")
        with pytest.raises(NotFound):
            await client.remove_member("00g1", "missing")


async def test_rate_limit_ends_by_okta_s_clock() -> None:
    """Ensures it while the two clocks differ by hours: the limit ends at a time, not after a delay."""
    now = int(time.time()) - 7200
    limit = {
        "Date": formatdate(now, usegmt=True), "X_Rate_Limit_Limit": "600", "X_Rate_Limit_Remaining": "0",
        "X_Rate_Limit_Reset": str(now + 17),
    }  # fmt: skip
    exceeded = {"errorCode": "E0000047", "errorSummary": "API call exceeded rate limit", "errorCauses": []}
    routes = {"POST /api/v1/groups": answer(429, exceeded, **limit)}
    with okta(routes) as (client, _), pytest.raises(Throttled, match="E0000047") as throttled:
        await client.create_group("moor-demo", MARK)
    assert throttled.value.retry_after == timedelta(seconds=18)


@pytest.mark.parametrize(
    ("status", "document", "error"),
    [
        (401, {"errorCode": "E0000011", "errorSummary": "Invalid token provided"}, Denied),
        (403, {"errorCode": "E0000006", "errorSummary": "You do not have permission"}, Denied),
        (200, {"not": "a list"}, MalformedAnswer),
        (200, [{"id": "00g1"}], MalformedAnswer),
        (404, None, NotFound),
    ],
)
async def test_errors_are_ours_and_show_no_token(status: int, document: Any, error: type[Exception]) -> None:
    routes = {"GET /api/v1/groups": answer(status, document)}
    with okta(routes) as (client, _), pytest.raises(error) as raised:
        await client.groups_by_name("moor-demo")
    assert "00token" not in str(raised.value)
    assert raised.value.__cause__ is None
