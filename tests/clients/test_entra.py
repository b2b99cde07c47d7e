"""The Entra ID client against answers as Microsoft's reference of Graph documents them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from clients.errors import (
    AlreadyExists,
    Denied,
    MalformedAnswer,
    NotFound,
    NotYet,
    Rejected,
    Throttled,
)
from clients.identity.client_credentials import ClientCredentials, secret_proof
from clients.identity.entra import Entra, mark_of, scope, unique_name
from clients.identity.protocol import Group, User
from tests.support.mock_answers import MockAnswers, answer
from tests.support.stand_ins import TLS

GRAPH = "https://graph.microsoft.com/v1.0"
MARK = "k3x9q0vb/demo/0123456789abcdef0123"
KEY = "/v1.0/groups(uniqueName='moorage.k3x9q0vb.2fdemo.2f0123456789abcdef0123')"
ID = "45b7d2e7-b882-4a80-ba97-10b7a63b8fa4"
GROUP = {"id": ID, "displayName": "moor-demo", "uniqueName": unique_name(MARK)}
OURS = Group(ID, "moor-demo", MARK)
SELECT = "id,displayName,uniqueName"


def error(status: int, code: str, message: str, **headers: str) -> Any:
    inner = {"date": "2026-11-27T00:00:00", "request-id": "d9bbd4d8", "client-request-id": "d9bbd4d8"}
    return answer(status, {"error": {"code": code, "message": message, "innerError": inner}}, **headers)


GONE = error(
    404,
    "Request_ResourceNotFound",
    f"Resource '{ID}' does not exist or one of its queried reference-property objects are not present.",
)
PRESENT = error(
    400,
    "Request_BadRequest",
    "One or more added object references already exist for the following modified properties: 'members'.",
)
NOT_REPLICATED = error(
    400,
    "Request_BadRequest",
    "The source resource object or one of the objects being referenced do not exist.",
)
TOKEN = {"access_token": "eyJ0", "token_type": "Bearer", "expires_in": 3599}


@contextmanager
def entra(routes: Mapping[str, Any]) -> Iterator[tuple[Entra, MockAnswers]]:
    credentials = ClientCredentials(
        "https://login.microsoftonline.com/tenant/oauth2/v2.0/token",
        "client-1",
        secret_proof(lambda: "s3cret"),
        timeout=timedelta(seconds=5),
        scope=scope(GRAPH),
        verify=TLS,
    )
    client = Entra(GRAPH, credentials, timeout=timedelta(seconds=5), verify=TLS)
    mock, tokens = MockAnswers(routes), MockAnswers({"POST /tenant/oauth2/v2.0/token": TOKEN})
    mock.install(client)
    tokens.install(credentials)
    yield client, mock
    credentials_used = {each.headers["Authorization"] for each in mock.requests}
    assert credentials_used <= {"Bearer eyJ0"}


def users(*found: Mapping[str, Any]) -> dict[str, Any]:
    return {"GET /v1.0/users": {"value": list(found)}}


def user(id: str, name: str, mail: str | None = None, enabled: bool | None = True) -> dict[str, Any]:
    return {"id": id, "userPrincipalName": name, "mail": mail, "accountEnabled": enabled}


@pytest.mark.parametrize(
    "mark", [MARK, "made by hand", "ä%2f.", "", "a.b", "A'b", "k3x9q0vb/demo-1/0123456789abcdef0123"]
)
def test_mark_is_read_from_its_unique_name(mark: str) -> None:
    name = unique_name(mark)
    assert mark_of(name) == mark
    assert name.isascii()
    assert not set(name) & set("/'%?# "), "an address would need an escape"


@pytest.mark.parametrize(
    "name", [None, "", "golf-assist", "moorage", "Moorage.demo", "moorage.a.zz", "moorage.a_b", "moorage.%41"]
)
def test_unique_name_of_others_is_no_mark(name: str | None) -> None:
    assert mark_of(name) is None


def test_scope_is_that_of_the_cloud() -> None:
    assert scope(GRAPH) == "https://graph.microsoft.com/.default"
    assert scope("https://graph.microsoft.us/v1.0") == "https://graph.microsoft.us/.default"


async def test_user_is_found_by_name_or_address_in_one_call() -> None:
    one = user("u1", "alice@acme.onmicrosoft.com", "Alice@Example.com")
    with entra(users(one)) as (client, mock):
        found = await client.find_user("alice@example.com")
    assert found == User("u1", "alice@acme.onmicrosoft.com", "Alice@Example.com")
    [request] = mock.requests
    assert request.url.params["$filter"] == (
        "userPrincipalName eq 'alice@example.com' or mail eq 'alice@example.com'"
    )
    assert "ConsistencyLevel" not in request.headers, "the index of advanced queries lags more"
    assert request.headers["Authorization"] == "Bearer eyJ0"


async def test_filter_cannot_be_injected() -> None:
    with entra(users()) as (client, mock):
        assert await client.find_user("o'brien@example.com") is None
    assert "mail eq 'o''brien@example.com'" in mock.requests[0].url.params["$filter"]


@pytest.mark.parametrize(
    ("found", "id"),
    [
        ([user("u1", "a@x.com", enabled=False)], None),
        ([user("u1", "a@x.com", enabled=False), user("u2", "b@x.com", "a@x.com")], None),
        ([user("u1", "b@x.com", "a@x.com", False), user("u2", "c@x.com", "A@x.com")], "u2"),
        ([user("u1", "A@X.com"), user("u2", "b@x.com", "a@x.com")], "u1"),
        ([user("u1", "other@x.com", "malice@x.com")], None),
    ],
)
async def test_disabled_account_is_not_found_and_the_name_goes_before_the_address(
    found: list[Mapping[str, Any]], id: str | None
) -> None:
    with entra(users(*found)) as (client, _):
        result = await client.find_user("a@x.com")
    assert (result.id if result else None) == id


async def test_shared_address_is_for_a_person_to_decide() -> None:
    shared = users(user("u1", "b@x.com", "a@x.com"), user("u2", "c@x.com", "a@x.com"))
    with entra(shared) as (client, _), pytest.raises(Rejected, match="2 people have this address"):
        await client.find_user("a@x.com")


async def test_right_that_hides_whether_an_account_is_enabled_is_named() -> None:
    hidden = users(user("u1", "a@x.com", enabled=None))
    with entra(hidden) as (client, _), pytest.raises(Denied, match=r"grant User\.Read\.All"):
        await client.find_user("a@x.com")


async def test_group_is_created_by_an_upsert_after_a_look() -> None:
    routes = {f"GET {KEY}": GONE, f"PATCH {KEY}": answer(201, {**GROUP, "mailNickname": "moor-demo"})}
    with entra(routes) as (client, mock):
        assert await client.create_group("moor-demo", MARK) == OURS
    assert [each.method for each in mock.requests] == ["GET", "PATCH"]
    assert mock.requests[1].headers["Prefer"] == "create-if-missing"
    body = json.loads(mock.requests[1].content)
    assert (body["displayName"], body["mailNickname"]) == ("moor-demo", "moor-demo")
    assert (body["mailEnabled"], body["securityEnabled"], body["groupTypes"]) == (False, True, [])


async def test_group_that_is_there_is_returned_and_not_changed() -> None:
    with entra({f"GET {KEY}": GROUP}) as (client, mock):
        assert await client.create_group("moor-demo", MARK) == OURS
    assert [each.method for each in mock.requests] == ["GET"]


@pytest.mark.parametrize("is_found", [True, False])
async def test_upsert_of_a_group_that_the_look_did_not_see_reads_it(is_found: bool) -> None:
    routes = {f"GET {KEY}": [GONE, GROUP if is_found else GONE], f"PATCH {KEY}": answer(204)}
    with entra(routes) as (client, _):
        if is_found:
            assert await client.create_group("moor-demo", MARK) == OURS
        else:
            with pytest.raises(NotYet) as waits:
                await client.create_group("moor-demo", MARK)
            assert waits.value.ambiguous


async def test_groups_are_found_by_mark_and_by_name_exactly() -> None:
    stranger = {"id": "g2", "displayName": "moor-demo", "uniqueName": None}
    case = {"id": "g3", "displayName": "Moor-Demo"}
    more = f"{GRAPH}/groups?$filter=displayName%20eq%20'moor-demo'&$skiptoken=RFNw"
    first = {"value": [GROUP, case], "@odata.nextLink": more}
    routes = {
        "GET /v1.0/groups": [answer(200, first), answer(200, {"value": [stranger]})],
        f"GET {KEY}": GROUP,
    }
    with entra(routes) as (client, mock):
        assert await client.groups_by_name("moor-demo") == [OURS, Group("g2", "moor-demo", None)]
        assert await client.groups_by_external_id(MARK) == [OURS]
    assert mock.requests[0].url.params["$select"] == SELECT
    assert mock.requests[1].url.params["$skiptoken"] == "RFNw"


async def test_member_that_is_there_is_no_error_and_a_group_not_replicated_is_waited_for() -> None:
    path = f"POST /v1.0/groups/{ID}/members/$ref"
    with entra({path: [PRESENT, answer(204), NOT_REPLICATED, GONE]}) as (client, mock):
        await client.add_members(ID, ["u1", "u2"])
        with pytest.raises(NotYet):
            await client.add_members(ID, ["u1"])
        with pytest.raises(NotFound):
            await client.add_members(ID, ["u1"])
    assert json.loads(mock.requests[0].content) == {"@odata.id": f"{GRAPH}/directoryObjects/u1"}


async def test_removal_always_ends_with_ref_or_graph_would_delete_the_user() -> None:
    path = f"DELETE /v1.0/groups/{ID}/members/u1/$ref"
    routes = {path: [answer(204), GONE, GONE], f"GET /v1.0/groups/{ID}": [answer(200, GROUP), GONE]}
    with entra(routes) as (client, mock):
        await client.remove_member(ID, "u1")
        await client.remove_member(ID, "u1")
        with pytest.raises(NotFound):
            await client.remove_member(ID, "u1")
    assert {each.url.path for each in mock.requests if each.method == "DELETE"} == {path.split()[1]}


@pytest.mark.parametrize(
    ("given", "raised"),
    [
        (error(400, "Request_BadRequest", "Invalid object identifier 'no-such-group'."), NotFound),
        (
            error(400, "Request_BadRequest", "Another object with the same value already exists."),
            AlreadyExists,
        ),
        (error(400, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause."), Rejected),
        (error(401, "InvalidAuthenticationToken", "Access token has expired."), Denied),
        (error(403, "Authorization_RequestDenied", "Insufficient privileges."), Denied),
        (answer(200, {"id": ID}), MalformedAnswer),
    ],
)
async def test_errors_are_ours_and_show_no_secret(given: Any, raised: type[Exception]) -> None:
    with entra({f"GET /v1.0/groups/{ID}": given}) as (client, _), pytest.raises(raised) as caught:
        await client.group(ID)
    assert not any(secret in str(caught.value) for secret in ("s3cret", "eyJ0"))


async def test_throttled_call_is_repeated_after_the_delay_asked_for() -> None:
    limit = error(429, "Request_ThrottledTemporarily", "Your request is throttled.", Retry_After="10")
    routes = {f"DELETE /v1.0/groups/{ID}": limit}
    with entra(routes) as (client, _), pytest.raises(Throttled, match="throttled") as throttled:
        await client.delete_group(ID)
    assert throttled.value.retry_after == timedelta(seconds=10)


@pytest.mark.parametrize("purged", [answer(204), GONE, error(403, "Authorization_RequestDenied", "No.")])
async def test_deleted_group_is_purged_because_it_keeps_its_unique_name(purged: Any) -> None:
    deleted = f"/v1.0/directory/deletedItems/{ID}"
    routes = {f"DELETE /v1.0/groups/{ID}": answer(204), f"DELETE {deleted}": purged}
    with entra(routes) as (client, mock):
        await client.delete_group(ID)
    assert mock.calls() == [f"DELETE /v1.0/groups/{ID}", f"DELETE {deleted}"]


async def test_deleted_group_with_the_unique_name_is_purged_before_the_next_attempt() -> None:
    taken = error(
        400, "Request_BadRequest", "Another object with the same value for uniqueName already exists."
    )
    deleted = "/v1.0/directory/deletedItems"
    stranger = {"id": "g2", "displayName": "golf", "uniqueName": "golf"}
    routes = {
        f"GET {KEY}": GONE,
        f"PATCH {KEY}": taken,
        f"GET {deleted}/microsoft.graph.group": [
            answer(200, {"value": [stranger, GROUP]}),
            answer(200, {"value": []}),
        ],
        f"DELETE {deleted}/{ID}": answer(204),
    }
    with entra(routes) as (client, _):
        with pytest.raises(NotYet, match="is purged now"):
            await client.create_group("moor-demo", MARK)
        with pytest.raises(AlreadyExists):
            await client.create_group("moor-demo", MARK)
