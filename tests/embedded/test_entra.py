"""The stand-in for Microsoft Entra ID, against Microsoft's documentation and what users of Graph report."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from embedded.cloud_directories.controls import EXPIRE_PATH, PEOPLE_PATH, SETTLE_PATH
from embedded.cloud_directory_behaviour import EntraBehaviour
from embedded.faults import CALLS_PATH, Fault, FaultKind
from embedded.standin_options import PEOPLE
from tests.support.cloud_directories import Signer, assertion_form, behave, client, thumbprint
from tests.support.stand_ins import TLS, control, running_stand_ins, set_faults, start_stand_ins, stop_process

TENANT = "7d1b3f9a-0000-4000-8000-moorage"
APP, SECRET = "app-with-secret", "a-secret-of-an-app"
READER, MEMBERS_ONLY, BY_CERTIFICATE = "app-that-reads", "app-for-members", "app-with-certificate"
SCOPE = "https://graph.microsoft.com/.default"
#: Longer than any test: what lags is shown only by `settle`.
FOREVER = 86400.0
REFERENCE = "https://graph.microsoft.com/v1.0/directoryObjects/"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def options(database: Path, *certificates: str, **others: Any) -> dict[str, Any]:
    secret = {"client_secret": SECRET}
    return {
        "database": database,
        "tenant": TENANT,
        "apps": [
            {"client_id": APP, **secret},
            {"client_id": READER, **secret, "permissions": ["Group.Read.All"]},
            {"client_id": MEMBERS_ONLY, **secret, "permissions": ["GroupMember.ReadWrite.All"]},
            {"client_id": BY_CERTIFICATE, "certificates": certificates},
        ],
        "behaviour": {"lag": 0},
        **others,
    }


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[str]:
    database = tmp_path_factory.mktemp("entra") / "entra.sqlite"
    with running_stand_ins(entra=options(database, signer.certificate_pem)) as [url]:
        yield url


@pytest.fixture(autouse=True)
def _as_at_the_start(url: str) -> Iterator[None]:
    yield
    set_faults(url)
    behave(url, **{**EntraBehaviour().model_dump(), "lag": 0})
    control(url, "POST", SETTLE_PATH)
    deleted = "/v1.0/directory/deletedItems"
    with graph(url) as http:
        for group in everything(http, "/v1.0/groups"):
            http.delete(f"/v1.0/groups/{group['id']}").raise_for_status()
        for group in everything(http, f"{deleted}/microsoft.graph.group"):
            http.delete(f"{deleted}/{group['id']}").raise_for_status()


def token_of(url: str, app: str = APP) -> str:
    form = {"client_id": app, "client_secret": SECRET, "grant_type": "client_credentials", "scope": SCOPE}
    with client(url, "") as http:
        answer = http.post(f"/{TENANT}/oauth2/v2.0/token", data=form)
    token: str = answer.raise_for_status().json()["access_token"]
    return token


def graph(url: str, app: str = APP) -> httpx.Client:
    return client(url, f"Bearer {token_of(url, app)}")


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with graph(url) as http:
        yield http


def wanted(name: str, **others: Any) -> dict[str, Any]:
    """A security group as the reference has it."""
    return {
        "displayName": name,
        "mailEnabled": False,
        "mailNickname": name,
        "securityEnabled": True,
        **others,
    }


def create(http: httpx.Client, name: str, **others: Any) -> dict[str, Any]:
    answer = http.post("/v1.0/groups", json=wanted(name, **others))
    assert answer.status_code == 201, answer.text
    group: dict[str, Any] = answer.json()
    return group


def everything(http: httpx.Client, path: str, **parameters: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    answer = http.get(path, params=parameters).raise_for_status().json()
    found = list(answer["value"])
    while "@odata.nextLink" in answer:
        answer = http.get(answer["@odata.nextLink"]).raise_for_status().json()
        found += answer["value"]
    return found


def names(http: httpx.Client, path: str = "/v1.0/groups", **parameters: str) -> list[str]:
    return sorted(each["displayName"] for each in everything(http, path, **parameters))


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of an error, which has the ids of its request."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "innerError"}
    assert {"date", "request-id", "client-request-id"} == set(error["innerError"])
    return answer.status_code, error["code"]


def user_id(http: httpx.Client, name: str = "alice@example.com") -> str:
    found: str = http.get(f"/v1.0/users/{name}").raise_for_status().json()["id"]
    return found


def add(http: httpx.Client, group: str, user: str) -> httpx.Response:
    return http.post(f"/v1.0/groups/{group}/members/$ref", json={"@odata.id": f"{REFERENCE}{user}"})


NOT_FOUND = (404, "Request_ResourceNotFound")
BAD_REQUEST = (400, "Request_BadRequest")
UNSUPPORTED = (400, "Request_UnsupportedQuery")


class TestToken:
    @pytest.mark.parametrize(
        ("changes", "status", "error", "code"),
        [
            ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
            ({"client_secret": ""}, 401, "invalid_client", 7000218),
            ({"client_id": "unknown"}, 400, "unauthorized_client", 700016),
            ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
            ({"scope": "https://graph.microsoft.com/Group.ReadWrite.All"}, 400, "invalid_scope", 1002012),
        ],
    )
    def test_is_refused_with_the_code_of_its_reason(
        self, url: str, changes: dict[str, str], status: int, error: str, code: int
    ) -> None:
        form = {"client_id": APP, "client_secret": SECRET, "grant_type": "client_credentials", "scope": SCOPE}
        with client(url, "") as http:
            answer = http.post(f"/{TENANT}/oauth2/v2.0/token", data={**form, **changes})
            body = answer.json()
            assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
            assert body["error_description"].startswith(f"AADSTS{code}: ")
            assert SECRET not in answer.text
            other = http.post("/another-tenant/oauth2/v2.0/token", data=form)
            assert other.json()["error_codes"] == [90002]

    def of_certificate(self, url: str, signer: Signer, **changes: Any) -> httpx.Response:
        """The answer to a request with an assertion; `changes` replace its header, claims and audience."""
        endpoint = f"{url}/{TENANT}/oauth2/v2.0/token"
        assertion = signer.assertion(BY_CERTIFICATE, changes.pop("aud", endpoint), **changes)
        form = assertion_form(assertion, client_id=BY_CERTIFICATE, scope=SCOPE)
        with client(url, "") as http:
            return http.post(f"/{TENANT}/oauth2/v2.0/token", data=form)

    @pytest.mark.parametrize("name", ["x5t", "x5t#S256"])
    @pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
    def test_is_given_for_a_certificate(self, url: str, signer: Signer, name: str, algorithm: str) -> None:
        digest = hashes.SHA1() if name == "x5t" else hashes.SHA256()
        header = {"alg": algorithm, name: thumbprint(signer.certificate, digest)}
        answer = self.of_certificate(url, signer, header=header)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 3600)
        with client(url, f"Bearer {answer.json()['access_token']}") as http:
            create(http, "moor-a")

    def test_of_a_certificate_is_refused_with_the_code_of_its_reason(self, url: str, signer: Signer) -> None:
        header = {"x5t#S256": thumbprint(signer.certificate, hashes.SHA256())}
        for changes, code in (
            ({"header": {}}, 700027),
            ({"header": {"x5t#S256": "another"}}, 700027),
            ({"header": header, "aud": url}, 700023),
            ({"header": header, "sub": "another"}, 700021),
            ({"header": header, "exp": int(time.time()) - 600}, 700024),
        ):
            answer = self.of_certificate(url, signer, **changes)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
            assert answer.json()["error_codes"] == [code], changes
        assert self.of_certificate(url, Signer(), header=header).json()["error_codes"] == [700027]

    def test_that_is_missing_wrong_or_expired_gets_nothing(self, url: str) -> None:
        for given in ("", "Bearer", "Bearer wrong", f"Basic {SECRET}"):
            with client(url, given) as http:
                assert error_of(http.get("/v1.0/groups")) == (401, "InvalidAuthenticationToken")
        with graph(url) as http:
            control(url, "POST", EXPIRE_PATH)
            answer = http.get("/v1.0/groups")
            assert error_of(answer) == (401, "InvalidAuthenticationToken")
            assert "expired" in answer.json()["error"]["message"]

    def test_gives_the_permissions_of_its_app(self, url: str, http: httpx.Client) -> None:
        group, alice = create(http, "moor-a")["id"], user_id(http)
        denied = (403, "Authorization_RequestDenied")
        with graph(url, READER) as reader, graph(url, MEMBERS_ONLY) as adder:
            assert reader.get(f"/v1.0/groups/{group}").status_code == 200
            assert error_of(reader.post("/v1.0/groups", json=wanted("moor-b"))) == denied
            assert error_of(reader.get("/v1.0/users")) == denied
            assert error_of(add(reader, group, alice)) == denied
            assert error_of(adder.delete(f"/v1.0/groups/{group}")) == denied
            assert add(adder, group, alice).status_code == 204


class TestGroup:
    def test_is_created_with_its_default_properties(self, http: httpx.Client) -> None:
        group = create(http, "moor-a", description="moorage:1")
        assert (group["groupTypes"], group["mail"], group["uniqueName"]) == ([], None, None)
        assert group["@odata.context"].endswith("$metadata#groups/$entity")
        assert http.get(f"/v1.0/groups/{group['id']}").json() == group
        selected = http.get(f"/v1.0/groups/{group['id']}", params={"$select": "id,description"}).json()
        assert {key: value for key, value in selected.items() if not key.startswith("@")} == {
            "id": group["id"],
            "description": "moorage:1",
        }

    @pytest.mark.parametrize(
        "changes",
        [
            {"displayName": None},
            {"mailNickname": None},
            {"mailEnabled": None},
            {"securityEnabled": None},
            {"displayName": "a" * 257},
            {"mailNickname": "a" * 65},
            {"mailNickname": "with space"},
            {"mailNickname": "a@b"},
            {"mailNickname": "ü"},
            {"mailEnabled": True},
            {"securityEnabled": False},
            {"securityEnabled": "yes"},
            {"unknown": 1},
        ],
    )
    def test_that_breaks_a_rule_is_refused(self, http: httpx.Client, changes: dict[str, Any]) -> None:
        body = {key: value for key, value in wanted("moor-a", **changes).items() if value is not None}
        assert error_of(http.post("/v1.0/groups", json=body)) == BAD_REQUEST
        assert names(http) == []

    def test_of_a_name_that_is_taken_is_a_second_one(self, http: httpx.Client) -> None:
        first, second = create(http, "moor-a"), create(http, "moor-a")
        assert first["id"] != second["id"]
        assert names(http, **{"$filter": "displayName eq 'moor-a'"}) == ["moor-a", "moor-a"]

    def test_of_a_mail_nickname_that_is_taken_is_refused_for_microsoft_365(self, http: httpx.Client) -> None:
        unified = {"groupTypes": ["Unified"], "mailEnabled": True, "securityEnabled": False}
        assert create(http, "moor-a", **unified)["mail"] == "moor-a@example.com"
        answer = http.post("/v1.0/groups", json=wanted("moor-a", **unified))
        assert error_of(answer) == BAD_REQUEST
        assert "property mailNickname already exists" in answer.json()["error"]["message"]

    def test_is_created_with_at_most_twenty_members(self, url: str, http: httpx.Client) -> None:
        control(url, "PUT", PEOPLE_PATH, [{"email": f"many-{number}@example.com"} for number in range(21)])
        many = everything(http, "/v1.0/users", **{"$filter": "startswith(userPrincipalName,'many-')"})
        bind = [f"https://graph.microsoft.com/v1.0/users/{each['id']}" for each in many]
        too_many = wanted("moor-a", **{"members@odata.bind": bind})
        assert error_of(http.post("/v1.0/groups", json=too_many)) == BAD_REQUEST
        group = create(http, "moor-a", **{"members@odata.bind": bind[:20]})
        assert len(everything(http, f"/v1.0/groups/{group['id']}/members")) == 20
        unknown = wanted("moor-b", **{"members@odata.bind": [f"{REFERENCE}none"]})
        assert error_of(http.post("/v1.0/groups", json=unknown)) == NOT_FOUND

    def test_is_changed_with_204(self, http: httpx.Client) -> None:
        path = f"/v1.0/groups/{create(http, 'moor-a')['id']}"
        assert http.patch(path, json={"displayName": "moor-b", "description": "new"}).status_code == 204
        after = http.get(path).json()
        assert (after["displayName"], after["description"], after["mailNickname"]) == (
            "moor-b",
            "new",
            "moor-a",
        )
        assert error_of(http.patch(path, json={"displayName": ""})) == BAD_REQUEST
        assert error_of(http.patch("/v1.0/groups/none", json={"description": "x"})) == NOT_FOUND

    def test_is_deleted_restored_and_purged(self, http: httpx.Client) -> None:
        group, alice = create(http, "moor-a")["id"], user_id(http)
        add(http, group, alice).raise_for_status()
        path, deleted = f"/v1.0/groups/{group}", f"/v1.0/directory/deletedItems/{group}"
        assert http.delete(path).status_code == 204
        assert error_of(http.delete(path)) == NOT_FOUND
        assert error_of(http.get(path)) == NOT_FOUND
        assert http.get(deleted).json()["deletedDateTime"]
        assert names(http, "/v1.0/directory/deletedItems/microsoft.graph.group") == ["moor-a"]
        assert http.post(f"{deleted}/restore").json()["id"] == group
        assert len(everything(http, f"{path}/members")) == 1
        http.delete(path).raise_for_status()
        assert http.delete(deleted).status_code == 204
        assert error_of(http.get(deleted)) == NOT_FOUND

    def test_is_gone_at_once_where_security_groups_are_not_kept(self, url: str, http: httpx.Client) -> None:
        behave(url, deletes_softly=False)
        group = create(http, "moor-a")["id"]
        http.delete(f"/v1.0/groups/{group}").raise_for_status()
        assert error_of(http.get(f"/v1.0/directory/deletedItems/{group}")) == NOT_FOUND


class TestUpsert:
    PREFER = {"Prefer": "create-if-missing"}

    @pytest.mark.parametrize("form", ["/v1.0/groups(uniqueName='{}')", "/v1.0/groups/(uniqueName='{}')"])
    @pytest.mark.parametrize("name", ["moor-a", "it's", "a/b", "a b"])
    def test_creates_once_and_then_adopts(self, http: httpx.Client, form: str, name: str) -> None:
        path = form.format(quote(name.replace("'", "''"), safe="'"))
        answer = http.patch(path, json=wanted("moor-a"), headers=self.PREFER)
        assert (answer.status_code, answer.json()["uniqueName"]) == (201, name)
        again = http.patch(path, json=wanted("moor-b", description="others"), headers=self.PREFER)
        assert (again.status_code, again.content) == (204, b"")
        read = http.get(path).json()
        assert (read["id"], read["displayName"]) == (answer.json()["id"], "moor-b")
        alice = user_id(http)
        reference = {"@odata.id": f"{REFERENCE}{alice}"}
        assert http.post(f"{path}/members/$ref", json=reference).status_code == 204
        assert len(everything(http, f"{path}/members")) == 1
        assert http.delete(path).status_code == 204

    def test_without_the_preference_is_an_update(self, http: httpx.Client) -> None:
        answer = http.patch("/v1.0/groups(uniqueName='moor-a')", json=wanted("moor-a"))
        assert error_of(answer) == NOT_FOUND
        assert names(http) == []

    def test_of_a_deleted_groups_name_is_refused(self, http: httpx.Client) -> None:
        path = "/v1.0/groups(uniqueName='moor-a')"
        group = http.patch(path, json=wanted("moor-a"), headers=self.PREFER).json()["id"]
        http.delete(f"/v1.0/groups/{group}").raise_for_status()
        answer = http.patch(path, json=wanted("moor-a"), headers=self.PREFER)
        assert error_of(answer) == BAD_REQUEST
        taken = "Another object with the same value for property uniqueName already exists."
        assert answer.json()["error"]["message"] == taken
        http.delete(f"/v1.0/directory/deletedItems/{group}").raise_for_status()
        assert http.patch(path, json=wanted("moor-a"), headers=self.PREFER).status_code == 201

    def test_needs_what_a_create_needs(self, http: httpx.Client) -> None:
        path = "/v1.0/groups(uniqueName='moor-a')"
        assert error_of(http.patch(path, json={"displayName": "a"}, headers=self.PREFER)) == BAD_REQUEST

    def test_name_does_not_change(self, http: httpx.Client) -> None:
        path = f"/v1.0/groups/{create(http, 'moor-a')['id']}"
        assert http.patch(path, json={"uniqueName": "first"}).status_code == 204
        assert error_of(http.patch(path, json={"uniqueName": "second"})) == BAD_REQUEST

    def test_of_ten_at_once_creates_one(self, url: str) -> None:
        async def statuses() -> list[int]:
            headers = {"Authorization": f"Bearer {token_of(url)}", **self.PREFER}
            async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, verify=TLS) as http:
                path = "/v1.0/groups(uniqueName='race')"
                answers = await asyncio.gather(*(http.patch(path, json=wanted("race")) for _ in range(10)))
            return sorted(answer.status_code for answer in answers)

        assert asyncio.run(statuses()) == [201] + [204] * 9


class TestMembers:
    def test_are_added_and_removed_once(self, http: httpx.Client) -> None:
        group, alice = create(http, "moor-a")["id"], user_id(http)
        assert add(http, group, alice).status_code == 204
        answer = add(http, group, alice)
        assert error_of(answer) == BAD_REQUEST
        exists = "One or more added object references already exist for the following modified properties"
        assert answer.json()["error"]["message"] == f"{exists}: 'members'."
        [member] = everything(http, f"/v1.0/groups/{group}/members")
        assert (member["@odata.type"], member["id"]) == ("#microsoft.graph.user", alice)
        path = f"/v1.0/groups/{group}/members/{alice}"
        assert http.delete(f"{path}/$ref").status_code == 204
        assert error_of(http.delete(f"{path}/$ref")) == NOT_FOUND

    def test_are_never_deleted_as_users(self, http: httpx.Client) -> None:
        group, alice = create(http, "moor-a")["id"], user_id(http)
        add(http, group, alice).raise_for_status()
        answer = http.delete(f"/v1.0/groups/{group}/members/{alice}")
        assert error_of(answer) == (403, "Authorization_RequestDenied")
        assert len(everything(http, f"/v1.0/groups/{group}/members")) == 1

    def test_that_are_not_there_are_refused(self, http: httpx.Client) -> None:
        group, alice = create(http, "moor-a")["id"], user_id(http)
        answer = add(http, group, "none")
        assert error_of(answer) == NOT_FOUND
        assert answer.json()["error"]["message"].startswith("Resource 'none' does not exist")
        assert error_of(add(http, "none", alice)) == NOT_FOUND
        assert error_of(http.post(f"/v1.0/groups/{group}/members/$ref", json={})) == BAD_REQUEST
        assert error_of(http.get("/v1.0/groups/none/members")) == NOT_FOUND

    def test_are_added_several_at_once_or_none(self, http: httpx.Client) -> None:
        group = create(http, "moor-a")["id"]
        alice, bob = user_id(http), user_id(http, "bob@example.com")
        path = f"/v1.0/groups/{group}"
        bind = {"members@odata.bind": [f"{REFERENCE}{alice}", f"{REFERENCE}none"]}
        assert error_of(http.patch(path, json=bind)) == NOT_FOUND
        assert everything(http, f"{path}/members") == []
        bind = {"members@odata.bind": [f"{REFERENCE}{alice}", f"{REFERENCE}{bob}"]}
        assert http.patch(path, json=bind).status_code == 204
        assert len(everything(http, f"{path}/members/microsoft.graph.user")) == 2

    def test_come_in_pages(self, url: str, http: httpx.Client) -> None:
        group = create(http, "moor-a")["id"]
        for email in PEOPLE:
            add(http, group, user_id(http, email)).raise_for_status()
        path = f"/v1.0/groups/{group}/members"
        first = http.get(path, params={"$top": "4", "$select": "id"}).json()
        assert [len(first["value"]), len(first["value"][0])] == [4, 2]
        rest = http.get(first["@odata.nextLink"]).json()
        assert [len(rest["value"]), "@odata.nextLink" in rest] == [2, False]
        behave(url, page_limit=2)
        assert len(http.get(path).json()["value"]) == 2
        assert len(everything(http, path)) == 6


class TestQueries:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("displayName eq 'moor-a'", ["moor-a"]),
            ("displayName eq 'MOOR-A'", ["moor-a"]),
            ("displayName eq 'it''s'", ["it's"]),
            ("startswith(displayName,'moor')", ["moor-a", "moor-b"]),
            ("displayName in ('moor-a', 'it''s')", ["it's", "moor-a"]),
            ("mail eq 'moor-b@example.com'", ["moor-b"]),
            ("securityEnabled eq false", ["moor-b"]),
            ("securityEnabled eq true and displayName eq 'moor-b'", []),
            ("displayName eq 'moor-a' or (mailEnabled eq true)", ["moor-a", "moor-b"]),
        ],
    )
    def test_filter_groups_by_documented_expressions(
        self, http: httpx.Client, expression: str, expected: list[str]
    ) -> None:
        create(http, "moor-a")
        create(http, "moor-b", groupTypes=["Unified"], mailEnabled=True, securityEnabled=False)
        create(http, "its", displayName="it's")
        assert names(http, **{"$filter": expression}) == expected

    @pytest.mark.parametrize(
        ("parameters", "error"),
        [
            ({"$filter": "displayName"}, BAD_REQUEST),
            ({"$filter": "displayName eq moor-a'"}, BAD_REQUEST),
            ({"$filter": "displayName like 'moor'"}, BAD_REQUEST),
            ({"$filter": "theme eq 'Blue'"}, UNSUPPORTED),
            ({"$search": '"displayName:moor"'}, UNSUPPORTED),
            ({"$select": "id,nothing"}, BAD_REQUEST),
            ({"$top": "0"}, BAD_REQUEST),
            ({"$top": "1000"}, BAD_REQUEST),
            ({"$skiptoken": "none"}, BAD_REQUEST),
        ],
    )
    def test_that_are_not_documented_are_refused(
        self, http: httpx.Client, parameters: dict[str, str], error: tuple[int, str]
    ) -> None:
        assert error_of(http.get("/v1.0/groups", params=parameters)) == error

    @pytest.mark.parametrize(
        "parameters",
        [
            {"$filter": "displayName ne 'moor-a'"},
            {"$filter": "endswith(displayName,'-b')"},
            {"$filter": "not(displayName eq 'moor-a')"},
            {"$filter": "startswith(displayName,'moor-b')", "$orderby": "displayName"},
        ],
    )
    def test_that_are_advanced_need_the_header_and_the_count(
        self, http: httpx.Client, parameters: dict[str, str]
    ) -> None:
        create(http, "moor-a")
        create(http, "moor-b")
        level, counted = {"ConsistencyLevel": "eventual"}, {**parameters, "$count": "true"}
        for given, headers in ((parameters, {}), (parameters, level), (counted, {})):
            assert error_of(http.get("/v1.0/groups", params=given, headers=headers)) == UNSUPPORTED
        answer = http.get("/v1.0/groups", params=counted, headers=level).raise_for_status().json()
        assert (answer["@odata.count"], answer["value"][0]["displayName"]) == (1, "moor-b")

    def test_do_not_filter_by_the_alternate_key_as_far_as_is_documented(
        self, url: str, http: httpx.Client
    ) -> None:
        create(http, "moor-a", uniqueName="unique")
        by_key = {"$filter": "uniqueName eq 'unique'"}
        assert error_of(http.get("/v1.0/groups", params=by_key)) == UNSUPPORTED
        behave(url, filters_unique_name=True)
        assert names(http, **by_key) == ["moor-a"]
        assert http.get("/v1.0/groups(uniqueName='unique')").status_code == 200

    def test_come_in_pages_without_gaps(self, http: httpx.Client) -> None:
        made = {create(http, f"moor-{number}")["id"] for number in range(7)}
        first = http.get("/v1.0/groups", params={"$top": "3"}).json()
        gone = first["value"][2]["id"]
        http.delete(f"/v1.0/groups/{gone}").raise_for_status()
        found = [each["id"] for each in first["value"]]
        while link := first.get("@odata.nextLink"):
            first = http.get(link).json()
            found += [each["id"] for each in first["value"]]
        assert sorted(found) == sorted(made)


class TestUsers:
    def test_are_found_by_id_or_principal_name(self, http: httpx.Client) -> None:
        alice = http.get("/v1.0/users/ALICE@example.com").json()
        assert http.get(f"/v1.0/users/{alice['id']}").json() == alice
        assert "accountEnabled" not in alice, "it is returned only on $select"
        assert error_of(http.get("/v1.0/users/missing@example.com")) == NOT_FOUND

    def test_show_whether_they_are_enabled_on_select(self, url: str, http: httpx.Client) -> None:
        control(url, "PUT", PEOPLE_PATH, [{"email": "zoe@example.com", "accountEnabled": False}])
        select = {"$select": "id,mail,accountEnabled"}
        assert http.get("/v1.0/users/zoe@example.com", params=select).json()["accountEnabled"] is False
        disabled = everything(http, "/v1.0/users", **{"$filter": "accountEnabled eq false"})
        assert [each["userPrincipalName"] for each in disabled] == ["zoe@example.com"]

    def test_with_another_address_than_name_are_found_by_filter(self, url: str, http: httpx.Client) -> None:
        guest = "yan_other.org#EXT#@example.onmicrosoft.com"
        control(url, "PUT", PEOPLE_PATH, [{"email": guest, "mail": "Yan@other.org", "userType": "Guest"}])
        [found] = everything(http, "/v1.0/users", **{"$filter": "mail eq 'yan@other.org'"})
        assert found["userPrincipalName"] == guest
        assert http.get(f"/v1.0/users/{quote(guest)}").json()["id"] == found["id"]
        assert error_of(http.get("/v1.0/users/yan@other.org")) == NOT_FOUND

    def test_that_are_deleted_leave_their_groups(self, url: str, http: httpx.Client) -> None:
        control(url, "PUT", PEOPLE_PATH, [{"email": "xia@example.com"}])
        group = create(http, "moor-a")["id"]
        add(http, group, user_id(http, "xia@example.com")).raise_for_status()
        control(url, "PUT", PEOPLE_PATH, [{"email": "xia@example.com", "deleted": True}])
        assert error_of(http.get("/v1.0/users/xia@example.com")) == NOT_FOUND
        assert everything(http, f"/v1.0/groups/{group}/members") == []

    def test_come_in_pages_of_a_hundred(self, url: str, http: httpx.Client) -> None:
        control(url, "PUT", PEOPLE_PATH, [{"email": f"crowd-{number}@example.com"} for number in range(150)])
        crowd = {"$filter": "startswith(mail,'crowd-')"}
        assert len(http.get("/v1.0/users", params=crowd).json()["value"]) == 100
        assert len(everything(http, "/v1.0/users", **crowd)) == 150


class TestLag:
    def test_hides_a_new_group_from_everything_but_its_create(self, url: str, http: httpx.Client) -> None:
        behave(url, lag=FOREVER)
        alice = user_id(http)
        group = create(http, "moor-a", uniqueName="unique")["id"]
        path = f"/v1.0/groups/{group}"
        for answer in (
            http.get(path),
            http.get("/v1.0/groups(uniqueName='unique')"),
            http.patch(path, json={"description": "x"}),
            add(http, group, alice),
            http.get(f"{path}/members"),
            http.delete(path),
        ):
            assert error_of(answer) == NOT_FOUND
        assert names(http) == []
        # What must be unique is so at once.
        upsert = http.patch(
            "/v1.0/groups(uniqueName='unique')", json=wanted("moor-b"), headers=TestUpsert.PREFER
        )
        assert upsert.status_code == 204
        control(url, "POST", SETTLE_PATH)
        assert http.get(path).json()["displayName"] == "moor-b"

    def test_of_one_replica_is_not_that_of_all(self, url: str, http: httpx.Client) -> None:
        behave(url, lag=FOREVER, stale_share=0.5)
        path = f"/v1.0/groups/{create(http, 'moor-a')['id']}"
        wanted_statuses = {200, 404}
        while wanted_statuses:
            wanted_statuses.discard(http.get(path).status_code)
        behave(url, stale_share=0)
        assert http.get(path).status_code == 200

    def test_shows_members_and_groups_after_their_end(self, url: str, http: httpx.Client) -> None:
        alice, group = user_id(http), create(http, "moor-a")["id"]
        behave(url, lag=FOREVER)
        path = f"/v1.0/groups/{group}"
        add(http, group, alice).raise_for_status()
        assert everything(http, f"{path}/members") == []
        assert error_of(add(http, group, alice)) == BAD_REQUEST, "the directory knows it, reads do not"
        control(url, "POST", SETTLE_PATH)
        assert len(everything(http, f"{path}/members")) == 1
        http.delete(path).raise_for_status()
        assert http.get(path).status_code == 200
        assert error_of(http.delete(path)) == NOT_FOUND
        control(url, "POST", SETTLE_PATH)
        assert error_of(http.get(path)) == NOT_FOUND


class TestThrottling:
    def test_says_how_long_to_wait_or_not(self, url: str, http: httpx.Client) -> None:
        behave(url, throttled_calls=1, throttled_seconds=7)
        answer = http.get("/v1.0/groups")
        assert error_of(answer) == (429, "TooManyRequests")
        assert answer.headers["Retry-After"] == "7"
        behave(url, throttled_calls=1, retry_after=False)
        answer = http.get("/v1.0/groups")
        assert (answer.status_code, "Retry-After" in answer.headers) == (429, False)
        assert http.get("/v1.0/groups").status_code == 200

    @pytest.mark.slow
    def test_limits_writes_in_a_window(self, tmp_path: Path) -> None:
        behaviour = {"lag": 0, "write_limit": 2, "write_window": 3600}
        given = options(tmp_path / "entra.sqlite", behaviour=behaviour)
        with running_stand_ins(entra=given) as [url], graph(url) as http:
            for name in ("moor-a", "moor-b"):
                create(http, name)
            answer = http.post("/v1.0/groups", json=wanted("moor-c"))
            assert error_of(answer) == (429, "TooManyRequests")
            assert 0 < int(answer.headers["Retry-After"]) <= 3600
            assert names(http) == ["moor-a", "moor-b"], "reads are not limited by it"


class TestFaults:
    def test_lose_the_answer_of_what_was_done(self, url: str, http: httpx.Client) -> None:
        set_faults(
            url,
            Fault(operation="group.create", kind=FaultKind.CUT_AFTER, times=1),
            Fault(operation="group.upsert", kind=FaultKind.STATUS_AFTER, status=504, times=1),
            Fault(operation="member.add", kind=FaultKind.CUT_AFTER, times=1),
            Fault(operation="group.delete", kind=FaultKind.STATUS, status=503, retry_after=2, times=1),
            Fault(operation="token", kind=FaultKind.HTML, status=502, times=1),
        )
        with pytest.raises(httpx.TransportError):
            create(http, "moor-a")
        [group] = everything(http, "/v1.0/groups")
        path = "/v1.0/groups(uniqueName='unique')"
        assert http.patch(path, json=wanted("moor-b"), headers=TestUpsert.PREFER).status_code == 504
        assert names(http) == ["moor-a", "moor-b"]
        with pytest.raises(httpx.TransportError):
            add(http, group["id"], user_id(http))
        assert len(everything(http, f"/v1.0/groups/{group['id']}/members")) == 1
        answer = http.delete(f"/v1.0/groups/{group['id']}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert http.get(f"/v1.0/groups/{group['id']}").status_code == 200
        assert http.post(f"/{TENANT}/oauth2/v2.0/token").status_code == 502
        calls = control(url, "GET", CALLS_PATH)
        assert {"group.create", "group.upsert", "member.add", "token"} <= set(calls)


@pytest.mark.slow
def test_what_was_answered_outlives_a_kill(tmp_path: Path) -> None:
    given = options(tmp_path / "entra.sqlite", behaviour={"lag": FOREVER})
    [url], process = start_stand_ins(entra=given)
    with graph(url) as http:
        group = create(http, "moor-a", **{"members@odata.bind": [f"{REFERENCE}{user_id(http)}"]})["id"]
    process.kill()
    stop_process(process)
    with running_stand_ins(entra=given) as [url], graph(url) as http:
        assert error_of(http.get(f"/v1.0/groups/{group}")) == NOT_FOUND
        control(url, "POST", SETTLE_PATH)
        assert names(http) == ["moor-a"]
        assert len(everything(http, f"/v1.0/groups/{group}/members")) == 1
        assert len(everything(http, "/v1.0/users")) == len(PEOPLE), "people were lost, or added twice"
