"""The stand-in for Okta, against Okta's documentation and what users of its API report."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.cloud_directories.controls import EXPIRE_PATH, GROUPS_PATH, PEOPLE_PATH, SETTLE_PATH
from embedded.cloud_directory_behaviour import OktaBehaviour
from embedded.faults import CALLS_PATH, Fault, FaultKind
from embedded.standin_options import PEOPLE
from tests.support.cloud_directories import (
    OKTA_TOKEN,
    Signer,
    assertion_form,
    behave,
    client,
    okta_client,
)
from tests.support.stand_ins import TLS, control, running_stand_ins, set_faults, start_stand_ins, stop_process

READ_ONLY = "00-token-of-a-read-only-administrator"
APP, BARE_APP = "0oa-moorage", "0oa-without-rights"
#: Longer than any test: what lags is shown only by `settle`.
FOREVER = 86400.0
SCOPES = "okta.groups.manage okta.users.read"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def options(database: Path, signer: Signer | None = None, **others: Any) -> dict[str, Any]:
    keys = [signer.public_jwk] if signer else []
    clients = [
        {"client_id": APP, "keys": keys},
        {"client_id": BARE_APP, "keys": keys, "scopes": ["okta.users.read"]},
    ]
    return {
        "database": database,
        "api_token": OKTA_TOKEN,
        "read_only_token": READ_ONLY,
        "clients": clients,
        "group_attributes": ["moorageId"],
        "behaviour": {"lag": FOREVER},
        **others,
    }


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[str]:
    database = tmp_path_factory.mktemp("okta") / "okta.sqlite"
    with running_stand_ins(okta=options(database, signer)) as [url]:
        yield url


@pytest.fixture(autouse=True)
def _as_at_the_start(url: str) -> Iterator[None]:
    yield
    set_faults(url)
    behave(url, **OktaBehaviour(lag=FOREVER).model_dump())
    with okta_client(url) as http:
        for group in http.get("/api/v1/groups").json():
            if group["type"] != "BUILT_IN":
                http.delete(f"/api/v1/groups/{group['id']}").raise_for_status()
    control(url, "POST", SETTLE_PATH)


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with okta_client(url) as http:
        yield http


def create(http: httpx.Client, name: str, **profile: Any) -> dict[str, Any]:
    answer = http.post("/api/v1/groups", json={"profile": {"name": name, **profile}})
    group: dict[str, Any] = answer.raise_for_status().json()
    return group


def names(answer: httpx.Response) -> list[str]:
    return [each["profile"]["name"] for each in answer.raise_for_status().json()]


def logins(answer: httpx.Response) -> list[str]:
    return sorted(each["profile"]["login"] for each in answer.raise_for_status().json())


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of an error, which has all fields of one."""
    body = answer.json()
    assert set(body) == {"errorCode", "errorSummary", "errorLink", "errorId", "errorCauses"}
    return answer.status_code, body["errorCode"]


class TestAuthorization:
    @pytest.mark.parametrize("given", ["", "SSWS", "SSWS wrong", f"SSWS{OKTA_TOKEN}", OKTA_TOKEN, "Basic x"])
    def test_without_an_api_token_is_refused(self, url: str, given: str) -> None:
        with client(url, given) as http:
            for path in ("groups", "groups/any", "groups/any/users", "users", "users/alice@example.com"):
                assert error_of(http.get(f"/api/v1/{path}")) == (401, "E0000011")

    def test_of_an_administrator_who_may_only_read_refuses_writes(self, url: str) -> None:
        with okta_client(url, READ_ONLY) as http:
            assert http.get("/api/v1/groups").status_code == 200
            answer = http.post("/api/v1/groups", json={"profile": {"name": "moor-a"}})
        assert error_of(answer) == (403, "E0000006")

    def token(self, url: str, signer: Signer, app: str = APP, scope: str = SCOPES) -> str:
        with client(url, "") as http:
            form = assertion_form(signer.assertion(app, f"{url}/oauth2/v1/token"), scope=scope)
            answer = http.post("/oauth2/v1/token", data=form).raise_for_status().json()
        assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 3600, scope)
        token: str = answer["access_token"]
        return token

    def test_with_an_access_token_is_within_its_scopes(self, url: str, signer: Signer) -> None:
        with client(url, f"Bearer {self.token(url, signer)}") as http:
            group = create(http, "moor-a")
            assert http.get("/api/v1/users/alice@example.com").status_code == 200
            assert http.get(f"/api/v1/groups/{group['id']}/users").status_code == 200
        with client(url, f"Bearer {self.token(url, signer, scope='okta.users.read')}") as http:
            answer = http.get("/api/v1/groups")
        assert (answer.status_code, answer.content) == (403, b"")
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]

    def test_with_an_access_token_that_has_expired_is_refused(self, url: str, signer: Signer) -> None:
        with client(url, f"Bearer {self.token(url, signer)}") as http:
            control(url, "POST", EXPIRE_PATH)
            answer = http.get("/api/v1/groups")
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]

    def test_of_a_token_request_is_by_private_key_only(self, url: str, signer: Signer) -> None:
        endpoint = f"{url}/oauth2/v1/token"
        good = signer.assertion(APP, endpoint)
        now = int(time.time())
        cases: list[tuple[dict[str, str], int, str, str]] = [
            ({"grant_type": "password"}, 400, "unsupported_grant_type", ""),
            (
                {"grant_type": "client_credentials", "client_id": APP, "client_secret": "x"},
                401,
                "invalid_client",
                "must use the private_key_jwt",
            ),
            (assertion_form("no.jwt"), 401, "invalid_client", "client_id"),
            (assertion_form(signer.assertion("0oa-other", endpoint)), 401, "invalid_client", "client_id"),
            (assertion_form(Signer().assertion(APP, endpoint)), 401, "invalid_client", "signature"),
            (assertion_form(signer.assertion(APP, url)), 401, "invalid_client", "audience"),
            (assertion_form(signer.assertion(APP, endpoint, sub="x")), 401, "invalid_client", "subject"),
            (
                assertion_form(signer.assertion(APP, endpoint, exp=now - 600)),
                401,
                "invalid_client",
                "expired",
            ),
            (
                assertion_form(signer.assertion(APP, endpoint, exp=now + 7200)),
                401,
                "invalid_client",
                "too far into the future",
            ),
            (assertion_form(signer.assertion(APP, endpoint, exp=None)), 401, "invalid_client", "parsing"),
            (assertion_form(good), 400, "invalid_scope", ""),
            (assertion_form(good, scope=SCOPES), 401, "invalid_client", "reused"),
            (
                assertion_form(signer.assertion(APP, endpoint), scope="openid"),
                400,
                "invalid_scope",
                "Custom scopes",
            ),
            (
                assertion_form(signer.assertion(BARE_APP, endpoint), scope=SCOPES),
                400,
                "invalid_scope",
                "not configured",
            ),
        ]
        with client(url, "") as http:
            for form, status, error, words in cases:
                answer = http.post("/oauth2/v1/token", data=form)
                assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
                assert words in answer.json()["error_description"]


class TestGroup:
    def test_is_created_with_200_and_read_at_once(self, http: httpx.Client) -> None:
        answer = http.post(
            "/api/v1/groups",
            json={"profile": {"name": "moor-a", "description": "moorage:1", "moorageId": "1"}},
        )
        assert answer.status_code == 200
        group = answer.json()
        assert group["type"] == "OKTA_GROUP"
        assert group["objectClass"] == ["okta:user_group"]
        assert group["profile"] == {"name": "moor-a", "description": "moorage:1", "moorageId": "1"}
        assert http.get(f"/api/v1/groups/{group['id']}").json() == group

    def test_of_a_name_that_is_taken_is_refused(self, http: httpx.Client) -> None:
        create(http, "moor-a")
        answer = http.post("/api/v1/groups", json={"profile": {"name": "moor-a"}})
        assert error_of(answer) == (400, "E0000001")
        assert answer.json()["errorSummary"] == "Api validation failed: name"
        [cause] = answer.json()["errorCauses"]
        taken = "name: An object with this field already exists in the current organization"
        assert cause["errorSummary"] == taken

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"{", "E0000003"),
            (b"[]", "E0000003"),
            (b"{}", "E0000001"),
            (b'{"profile": {}}', "E0000001"),
            (b'{"profile": {"name": " "}}', "E0000001"),
            (b'{"profile": {"name": "%s"}}' % (b"a" * 256), "E0000001"),
            (b'{"profile": {"name": "a", "description": "%s"}}' % (b"a" * 1025), "E0000001"),
            (b'{"profile": {"name": "a", "undeclared": "1"}}', "E0000001"),
        ],
    )
    def test_that_breaks_a_rule_is_refused(self, http: httpx.Client, body: bytes, code: str) -> None:
        assert error_of(http.post("/api/v1/groups", content=body)) == (400, code)

    def test_profile_is_replaced_as_a_whole(self, http: httpx.Client) -> None:
        group = create(http, "moor-a", description="old", moorageId="1")
        path = f"/api/v1/groups/{group['id']}"
        replaced = http.put(path, json={"profile": {"name": "moor-b"}}).raise_for_status().json()
        assert replaced["profile"] == {"name": "moor-b", "description": None}
        create(http, "moor-a")
        assert error_of(http.put(path, json={"profile": {"name": "moor-a"}})) == (400, "E0000001")

    def test_is_deleted_with_204_once(self, http: httpx.Client) -> None:
        path = f"/api/v1/groups/{create(http, 'moor-a')['id']}"
        assert (http.delete(path).status_code, http.delete(path).status_code) == (204, 404)
        answer = http.get(path)
        assert error_of(answer) == (404, "E0000007")
        assert answer.json()["errorSummary"].endswith(" (UserGroup)")

    def test_of_an_app_or_built_in_is_not_changed(self, url: str, http: httpx.Client) -> None:
        create(http, "moor-a")
        app = control(url, "POST", GROUPS_PATH, {"profile": {"name": "moor-a"}, "type": "APP_GROUP"})
        [everyone] = http.get("/api/v1/groups", params={"q": "Everyone"}).json()
        alice = http.get("/api/v1/users/alice").json()["id"]
        for group, error in ((app["id"], (403, "E0000006")), (everyone["id"], (501, "E0000060"))):
            path = f"/api/v1/groups/{group}"
            assert error_of(http.put(path, json={"profile": {"name": "x"}})) == error
            assert error_of(http.put(f"{path}/users/{alice}")) == error
            assert error_of(http.delete(f"{path}/users/{alice}")) == error
        assert error_of(http.delete(f"/api/v1/groups/{everyone['id']}")) == (501, "E0000060")
        assert http.delete(f"/api/v1/groups/{app['id']}").status_code == 204
        assert len(http.get(f"/api/v1/groups/{everyone['id']}/users").json()) >= len(PEOPLE)


class TestFindingGroups:
    def test_by_query_is_by_prefix_with_exact_names_first_and_never_lags(self, http: httpx.Client) -> None:
        for name in ("moor-ab", "Moor-A", "moor-b", "a-moor"):
            create(http, name)
        assert names(http.get("/api/v1/groups", params={"q": "moor-a"})) == ["Moor-A", "moor-ab"]
        limited = http.get("/api/v1/groups", params={"q": "moor", "limit": "2"})
        assert len(limited.json()) == 2
        assert "next" not in limited.links, "a query has no pages"

    def test_by_search_lags_behind_creates_changes_and_deletes(self, url: str, http: httpx.Client) -> None:
        def found(expression: str) -> list[str]:
            return names(http.get("/api/v1/groups", params={"search": expression}))

        group = create(http, "moor-a", description="moorage:1")
        assert found('profile.name eq "moor-a"') == []
        control(url, "POST", SETTLE_PATH)
        assert found('profile.name eq "MOOR-a"') == ["moor-a"]
        http.put(f"/api/v1/groups/{group['id']}", json={"profile": {"name": "moor-b"}})
        assert found('profile.name eq "moor-a"') == ["moor-a"]
        http.delete(f"/api/v1/groups/{group['id']}")
        assert found('profile.name eq "moor-a"') == ["moor-a"]
        control(url, "POST", SETTLE_PATH)
        assert found('profile.name sw "moor"') == []

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ('profile.name eq "moor-a"', {"moor-a"}),
            ('profile.name sw "moor"', {"moor-a", "moor-b"}),
            ('profile.name co "or-"', {"moor-a", "moor-b"}),
            ('profile.description eq "a \\"b\\""', {"moor-b"}),
            ('profile.moorageId eq "7"', {"moor-a"}),
            ('type eq "OKTA_GROUP" and not (profile.name eq "moor-a")', {"moor-b"}),
            ('type eq "BUILT_IN" or profile.name eq "moor-b"', {"Everyone", "moor-b"}),
        ],
    )
    def test_by_search_takes_documented_expressions(
        self, url: str, http: httpx.Client, expression: str, expected: set[str]
    ) -> None:
        create(http, "moor-a", moorageId="7")
        create(http, "moor-b", description='a "b"')
        control(url, "POST", SETTLE_PATH)
        assert set(names(http.get("/api/v1/groups", params={"search": expression}))) == expected

    @pytest.mark.parametrize(
        ("parameter", "expression"),
        [
            ("search", "profile.name"),
            ("search", 'profile.name eq "a'),
            ("search", 'profile.name ew "a"'),
            ("search", 'profile.moorageId co "a"'),
            ("search", 'objectClass eq "a"'),
            ("search", 'profile.name eq "a" or'),
            ("search", 'profile.name eq "a" profile.name eq "b"'),
            ("search", ""),
            ("filter", 'profile.name eq "moor-a"'),
            ("filter", 'id sw "00g"'),
        ],
    )
    def test_by_what_is_not_documented_is_refused(
        self, http: httpx.Client, parameter: str, expression: str
    ) -> None:
        assert error_of(http.get("/api/v1/groups", params={parameter: expression})) == (400, "E0000031")

    def test_by_filter_does_not_lag(self, http: httpx.Client) -> None:
        group = create(http, "moor-a")
        for expression in (f'id eq "{group["id"]}"', f'lastUpdated ge "{group["lastUpdated"]}"'):
            found = names(
                http.get("/api/v1/groups", params={"filter": f'type eq "OKTA_GROUP" and {expression}'})
            )
            assert found == ["moor-a"]

    def test_in_pages_follows_links_with_an_opaque_cursor(self, http: httpx.Client) -> None:
        made = {create(http, f"moor-{number}")["id"] for number in range(7)}
        found, pages = [], 0
        answer = http.get("/api/v1/groups", params={"limit": "3", "filter": 'type eq "OKTA_GROUP"'})
        while True:
            pages += 1
            found += [each["id"] for each in answer.raise_for_status().json()]
            assert len([link for link in answer.headers.get_list("Link") if 'rel="self"' in link]) == 1
            if "next" not in answer.links:
                break
            assert all(group not in answer.links["next"]["url"] for group in made)
            # What is deleted between pages leaves no gap, and no double.
            if pages == 1:
                http.delete(f"/api/v1/groups/{found[0]}")
            answer = http.get(answer.links["next"]["url"])
        assert (pages, sorted(found)) == (3, sorted(made))
        assert error_of(http.get("/api/v1/groups", params={"after": "no-cursor"}))[0] == 400
        assert error_of(http.get("/api/v1/groups", params={"limit": "0"}))[0] == 400


class TestMembers:
    def test_are_added_and_removed_any_number_of_times(self, http: httpx.Client) -> None:
        path = f"/api/v1/groups/{create(http, 'moor-a')['id']}/users"
        alice = http.get("/api/v1/users/alice@example.com").json()["id"]
        for method, expected in (("PUT", ["alice@example.com"]), ("DELETE", [])):
            for _ in range(2):
                assert http.request(method, f"{path}/{alice}").status_code == 204
                assert logins(http.get(path)) == expected

    def test_that_are_not_there_are_404(self, http: httpx.Client) -> None:
        group = create(http, "moor-a")["id"]
        alice = http.get("/api/v1/users/alice@example.com").json()["id"]
        for method in ("PUT", "DELETE"):
            assert error_of(http.request(method, f"/api/v1/groups/none/users/{alice}")) == (404, "E0000007")
            # By its id only, not by its login.
            for user in ("none", "alice@example.com"):
                assert error_of(http.request(method, f"/api/v1/groups/{group}/users/{user}"))[0] == 404
        assert error_of(http.get("/api/v1/groups/none/users")) == (404, "E0000007")

    def test_come_in_pages(self, url: str, http: httpx.Client) -> None:
        path = f"/api/v1/groups/{create(http, 'moor-a')['id']}/users"
        for email in PEOPLE:
            user = http.get(f"/api/v1/users/{email}").json()["id"]
            http.put(f"{path}/{user}").raise_for_status()
        found = []
        answer = http.get(path, params={"limit": "4"})
        found += logins(answer)
        answer = http.get(answer.links["next"]["url"])
        found += logins(answer)
        assert "next" not in answer.links
        assert sorted(found) == sorted(PEOPLE)
        behave(url, page_limit=2)
        assert len(http.get(path).json()) == 2, "a server may have a lower limit than is asked for"

    def test_change_when_the_group_says_it_last_did(self, http: httpx.Client) -> None:
        group = create(http, "moor-a")
        alice = http.get("/api/v1/users/alice@example.com").json()["id"]
        path = f"/api/v1/groups/{group['id']}"
        while (after := http.get(path).json())["lastMembershipUpdated"] == group["lastMembershipUpdated"]:
            for method in ("PUT", "DELETE"):
                http.request(method, f"{path}/users/{alice}").raise_for_status()
        assert after["lastUpdated"] == group["lastUpdated"]


class TestUsers:
    def test_are_found_by_id_login_or_short_login(self, url: str, http: httpx.Client) -> None:
        alice = http.get("/api/v1/users/alice@example.com").json()
        for key in (alice["id"], "ALICE@example.com", "alice"):
            assert http.get(f"/api/v1/users/{key}").json()["id"] == alice["id"]
        control(url, "PUT", PEOPLE_PATH, [{"email": "alice@example.org"}])
        for key in ("alice", "missing@example.com"):
            answer = http.get(f"/api/v1/users/{key}")
            assert error_of(answer) == (404, "E0000007")
            assert answer.json()["errorSummary"] == f"Not found: Resource not found: {key} (User)"

    @pytest.mark.parametrize("status", ["SUSPENDED", "DEPROVISIONED", "STAGED", "LOCKED_OUT"])
    def test_show_their_status(self, url: str, http: httpx.Client, status: str) -> None:
        control(url, "PUT", PEOPLE_PATH, [{"email": "zoe@example.com", "status": status}])
        assert http.get("/api/v1/users/zoe@example.com").json()["status"] == status

        def is_in(**parameters: str) -> bool:
            return "zoe@example.com" in logins(http.get("/api/v1/users", params=parameters))

        for parameters in (
            {"search": 'profile.email eq "ZOE@example.com"'},
            {"search": f'status eq "{status}"'},
            {"filter": 'profile.email eq "zoe@example.com"'},
        ):
            assert is_in(**parameters), parameters
        assert not is_in(filter='profile.email eq "ZOE@example.com"'), "values of a filter are case-sensitive"
        # Lists and queries leave out those who are deactivated.
        for parameters in ({}, {"q": "zoe"}):
            assert is_in(**parameters) == (status != "DEPROVISIONED"), parameters

    def test_with_another_address_than_login_are_found_by_either(self, url: str, http: httpx.Client) -> None:
        person = {"email": "yan", "profile": {"email": "Yan.Smith@example.com", "login": "yan"}}
        control(url, "PUT", PEOPLE_PATH, [person])
        search = {"search": 'profile.email eq "yan.smith@example.com"'}
        assert logins(http.get("/api/v1/users", params=search)) == ["yan"]
        assert http.get("/api/v1/users/yan").status_code == 200
        assert http.get("/api/v1/users/yan.smith@example.com").status_code == 404

    def test_come_in_pages_of_at_most_200(self, url: str, http: httpx.Client) -> None:
        control(url, "PUT", PEOPLE_PATH, [{"email": f"crowd-{number}@example.com"} for number in range(250)])
        search = {"search": 'profile.email sw "crowd-"', "limit": "1000"}
        answer = http.get("/api/v1/users", params=search)
        assert len(answer.json()) == 200
        assert len(http.get(answer.links["next"]["url"]).json()) == 50
        assert len(http.get("/api/v1/users", params={"q": "crowd"}).json()) == 10


class TestRateLimit:
    def test_is_in_every_response_and_ends_at_an_epoch(self, url: str, http: httpx.Client) -> None:
        behave(url, rate_limit=3, rate_window=3600)
        http.get("/api/v1/users/alice@example.com")  # of another kind, with its own window
        left = []
        answer = http.get("/api/v1/users")
        while answer.status_code == 200:
            left.append(int(answer.headers["X-Rate-Limit-Remaining"]))
            answer = http.get("/api/v1/users")
        assert error_of(answer) == (429, "E0000047")
        assert answer.headers["X-Rate-Limit-Limit"] == "3"
        assert answer.headers["X-Rate-Limit-Remaining"] == "0"
        assert 0 < int(answer.headers["X-Rate-Limit-Reset"]) - time.time() <= 3601
        assert "Retry-After" not in answer.headers
        assert answer.headers["Date"]
        assert left[-1:] in ([0], []), "earlier tests may have used the window up"

    def test_strikes_the_next_calls_on_order(self, url: str, http: httpx.Client) -> None:
        behave(url, throttled_calls=2, throttled_seconds=30)
        statuses = [http.get(f"/api/v1/groups/{number}").status_code for number in range(3)]
        assert statuses == [429, 429, 404]


class TestFaults:
    def test_lose_the_answer_of_what_was_done(self, url: str, http: httpx.Client) -> None:
        set_faults(
            url,
            Fault(operation="group.create", kind=FaultKind.CUT_AFTER, times=1),
            Fault(operation="member.add", kind=FaultKind.STATUS_AFTER, status=504, times=1),
            Fault(operation="group.delete", kind=FaultKind.STATUS, status=503, times=1),
            Fault(operation="token", kind=FaultKind.HTML, status=502, times=1),
        )
        with pytest.raises(httpx.TransportError):
            create(http, "moor-a")
        [group] = http.get("/api/v1/groups", params={"q": "moor-a"}).json()
        path = f"/api/v1/groups/{group['id']}"
        alice = http.get("/api/v1/users/alice@example.com").json()["id"]
        assert http.put(f"{path}/users/{alice}").status_code == 504
        assert logins(http.get(f"{path}/users")) == ["alice@example.com"]
        assert http.delete(path).status_code == 503
        assert http.get(path).status_code == 200
        assert http.post("/oauth2/v1/token").status_code == 502
        calls = control(url, "GET", CALLS_PATH)
        assert {"group.create", "member.add", "member.list", "group.find", "token"} <= set(calls)


@pytest.mark.slow
def test_what_was_answered_outlives_a_kill_with_its_lag(tmp_path: Path) -> None:
    given = options(tmp_path / "okta.sqlite")
    [url], process = start_stand_ins(okta=given)
    with okta_client(url) as http:
        kept = create(http, "moor-a")
        alice = http.get("/api/v1/users/alice").json()["id"]
        http.put(f"/api/v1/groups/{kept['id']}/users/{alice}").raise_for_status()
        gone = create(http, "moor-b")
        http.delete(f"/api/v1/groups/{gone['id']}").raise_for_status()
    process.kill()
    stop_process(process)
    with running_stand_ins(okta=given) as [url], okta_client(url) as http:
        assert sorted(names(http.get("/api/v1/groups"))) == ["Everyone", "moor-a"]
        assert logins(http.get(f"/api/v1/groups/{kept['id']}/users")) == ["alice@example.com"]
        assert logins(http.get("/api/v1/users")) == sorted(PEOPLE), "people were lost, or added twice"
        search = {"search": 'profile.name sw "moor"'}
        assert names(http.get("/api/v1/groups", params=search)) == []
        control(url, "POST", SETTLE_PATH)
        assert names(http.get("/api/v1/groups", params=search)) == ["moor-a"]


@pytest.mark.slow
def test_ten_creates_of_one_name_at_once_make_one_group(url: str) -> None:
    import asyncio

    async def statuses() -> list[int]:
        headers = {"Authorization": f"SSWS {OKTA_TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, verify=TLS) as http:
            body = {"profile": {"name": "moor-race"}}
            answers = await asyncio.gather(*(http.post("/api/v1/groups", json=body) for _ in range(10)))
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(statuses()) == [200] + [400] * 9
