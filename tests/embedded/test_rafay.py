"""The stand-in for a Rafay controller as such: what its client never does, its restarts, and its end."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from embedded.faults import Fault, FaultKind
from embedded.rafay.database import SEED_USERS
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS, RafayStandIn, control

BOTH = {"X-RAFAY-API-KEYID": RafayStandIn.KEY, "X-API-KEY": RafayStandIn.KEY}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RafayStandIn]:
    with RafayStandIn(tmp_path_factory.mktemp("rafay"), users=("zoe@example.com",)) as running:
        yield running


@pytest.fixture
def http(stand_in: RafayStandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stand_in.base_url, trust_env=False, verify=TLS, timeout=HANG) as client:
        yield client
    stand_in.reset()


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/auth/v1/projects/", "X-RAFAY-API-KEYID"),
        ("/auth/v2/users?options.name=alice@example.com", "X-RAFAY-API-KEYID"),
        ("/apis/system.k8smgmt.io/v3/projects", "X-API-KEY"),
    ],
)
def test_each_generation_of_the_api_reads_its_own_header(http: httpx.Client, path: str, header: str) -> None:
    for name in BOTH:
        expected = 200 if name == header else 401
        assert http.get(path, headers={name: RafayStandIn.KEY}).status_code == expected, name


def test_call_without_a_key_is_refused_in_the_shape_of_its_generation(http: httpx.Client) -> None:
    v1 = http.get("/auth/v1/projects/")
    assert v1.status_code == 401
    assert v1.json()["details"][0]["detail"] == "no or invalid credentials"
    v3 = http.get("/apis/system.k8smgmt.io/v3/projects")
    assert v3.status_code == 401
    assert v3.json() == {
        "code": 401,
        "external": "no or invalid credentials",
        "internal": "no or invalid credentials",
    }


def test_key_that_may_only_read_is_refused_to_write(http: httpx.Client) -> None:
    reader = {"X-RAFAY-API-KEYID": RafayStandIn.READ_ONLY_KEY}
    assert http.get("/auth/v1/projects/", headers=reader).status_code == 200
    refused = http.post("/auth/v1/projects/", headers=reader, json={"name": "x"})
    assert refused.status_code == 403
    assert refused.json()["details"][0]["detail"] == "method or route not allowed"


@pytest.mark.parametrize("path", ["/auth/v1/projects", "/auth/v1/groups", "/nothing/here/"])
def test_path_without_its_last_slash_is_not_served(http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers=BOTH)
    assert answer.status_code == 404
    assert answer.text == "404 page not found"


def test_duplicate_cluster_is_a_bare_string(http: httpx.Client) -> None:
    project = http.post("/auth/v1/projects/", headers=BOTH, json={"name": "bare-string"}).json()
    body = {"name": "bare-string", "cluster_type": "imported"}
    edges = f"/edge/v1/projects/{project['id']}/edges/"
    assert http.post(edges, headers=BOTH, json=body).status_code == 201
    duplicate = http.post(edges, headers=BOTH, json=body)
    assert duplicate.status_code == 400
    assert duplicate.json().startswith("Cluster name is already taken")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"description": "no name"}', b'{"name": 7}'])
def test_body_that_is_none_is_refused(http: httpx.Client, body: bytes) -> None:
    assert http.post("/auth/v1/projects/", headers=BOTH, content=body).status_code == 400


def test_v3_lists_and_reads_projects_without_their_ids(http: httpx.Client) -> None:
    listed = http.get("/apis/system.k8smgmt.io/v3/projects", headers=BOTH).json()
    assert listed["kind"] == "ProjectList"
    assert "defaultproject" in [item["metadata"]["name"] for item in listed["items"]]
    one = http.get("/apis/system.k8smgmt.io/v3/projects/defaultproject", headers=BOTH).json()
    assert "id" not in one["metadata"]
    missing = http.get("/apis/system.k8smgmt.io/v3/projects/nosuch", headers=BOTH)
    assert missing.status_code == 404
    assert missing.json()["code"] == 404


def test_pages_follow_each_other_and_count_the_whole(http: httpx.Client) -> None:
    for number in range(5):
        http.post("/auth/v1/groups/", headers=BOTH, json={"name": f"page-{number}"})
    pages = [
        http.get("/auth/v1/groups/", headers=BOTH, params={"q": "page-", "limit": 2, "offset": offset}).json()
        for offset in (0, 2, 4, 6)
    ]
    assert [[group["name"] for group in page["results"]] for page in pages] == [
        ["page-0", "page-1"],
        ["page-2", "page-3"],
        ["page-4"],
        [],
    ]
    assert {page["count"] for page in pages} == {5}


def test_built_in_project_stays(http: httpx.Client) -> None:
    [default] = http.get("/auth/v1/projects/", headers=BOTH, params={"q": "defaultproject"}).json()["results"]
    assert http.delete(f"/auth/v1/projects/{default['id']}/", headers=BOTH).status_code == 400


def test_binding_is_replaced_by_put(http: httpx.Client) -> None:
    project = http.post("/auth/v1/projects/", headers=BOTH, json={"name": "replaced"}).json()
    group = http.post("/auth/v1/groups/", headers=BOTH, json={"name": "replaced"}).json()
    roles = http.get("/auth/v1/roles/", headers=BOTH).json()["results"]
    path = f"/auth/v1/groups/{group['id']}/projects/"
    for call, role in ((http.post, roles[3]), (http.put, roles[4])):
        body = {"project_id": project["id"], "roles": [{"role_id": role["id"], "namespace_ids": []}]}
        assert call(path, headers=BOTH, json=body).is_success
    [association] = http.get(path, headers=BOTH).json()
    assert [held["role"]["name"] for held in association["roles"]] == [roles[4]["name"]]


def test_users_are_there_from_the_start_and_more_can_be_added(stand_in: RafayStandIn) -> None:
    stand_in.add_user("yves@example.com")
    users = control(stand_in.base_url, "GET", "/-/users")
    assert {*SEED_USERS, "zoe@example.com", "yves@example.com"} <= set(users)


@pytest.mark.parametrize("body", [{"missing_status": 418}, {"no_such_switch": 1}, []])
def test_switch_that_is_none_is_refused_and_changes_nothing(http: httpx.Client, body: object) -> None:
    before = http.get("/-/behaviour").json()
    assert http.put("/-/behaviour", json=body).status_code == 422
    assert http.get("/-/behaviour").json() == before


def test_latency_makes_each_call_take_that_long(http: httpx.Client, stand_in: RafayStandIn) -> None:
    stand_in.switch(latency=0.3)
    began = time.monotonic()
    http.get("/auth/v1/projects/", headers=BOTH)
    assert time.monotonic() - began >= 0.3


def test_agent_with_another_token_is_refused(http: httpx.Client) -> None:
    project = http.post("/auth/v1/projects/", headers=BOTH, json={"name": "agents"}).json()
    body = {"name": "agents", "cluster_type": "imported"}
    cluster = http.post(f"/edge/v1/projects/{project['id']}/edges/", headers=BOTH, json=body).json()
    for token in ("", "Bearer", "Bearer another-users", f"Bearer {RafayStandIn.KEY}"):
        answer = http.post(
            f"/agent/v1/clusters/{cluster['id']}/checkin",
            headers={"Authorization": token},
            json={"kubernetes_version": "v1.36.0", "wait": 0},
        )
        assert answer.status_code == 401, token


def test_agent_says_gone_only_after_its_deregistration(http: httpx.Client, stand_in: RafayStandIn) -> None:
    project = http.post("/auth/v1/projects/", headers=BOTH, json={"name": "not-gone"}).json()
    body = {"name": "not-gone", "cluster_type": "imported"}
    cluster = http.post(f"/edge/v1/projects/{project['id']}/edges/", headers=BOTH, json=body).json()
    [(token,)] = stand_in.rows("SELECT token FROM clusters WHERE id = ?", cluster["id"])
    gone = http.post(
        f"/agent/v1/clusters/{cluster['id']}/gone", headers={"Authorization": f"Bearer {token}"}, json={}
    )
    assert gone.status_code == 409
    assert stand_in.rows("SELECT id FROM clusters WHERE id = ?", cluster["id"])


def make_cluster(stand_in: RafayStandIn, name: str) -> tuple[str, str, str]:
    """Make a cluster in a new project; return the edges' path, its id and its agent's token."""
    with httpx.Client(base_url=stand_in.base_url, trust_env=False, verify=TLS, headers=BOTH) as http:
        project = http.post("/auth/v1/projects/", json={"name": name}).json()
        edges = f"/edge/v1/projects/{project['id']}/edges/"
        cluster = http.post(edges, json={"name": name, "cluster_type": "imported"}).json()
    [(token,)] = stand_in.rows("SELECT token FROM clusters WHERE id = ?", cluster["id"])
    return edges, cluster["id"], token


@pytest.mark.slow
def test_state_survives_even_a_kill(tmp_path: Path) -> None:
    stand_in = RafayStandIn(tmp_path)
    with stand_in:
        _, id, token = make_cluster(stand_in, "survivor")
        stand_in.process.kill()
        stand_in.process.wait()
        stand_in.stop()
        stand_in.start()
        assert stand_in.rows("SELECT name, token FROM clusters WHERE id = ?", id) == [("survivor", token)]


@pytest.mark.slow
def test_forced_deletion_interrupted_by_a_restart_is_finished_after_it(tmp_path: Path) -> None:
    with RafayStandIn(tmp_path) as stand_in:
        edges, id, _ = make_cluster(stand_in, "interrupted")
        stand_in.switch(forced_delete=3600)
        with httpx.Client(base_url=stand_in.base_url, trust_env=False, verify=TLS, headers=BOTH) as http:
            assert http.delete(f"{edges}{id}/", params={"force": "true"}).is_success
        stand_in.stop()
        stand_in.start()
        deadline = time.monotonic() + HANG
        while stand_in.rows("SELECT id FROM clusters WHERE id = ?", id):
            assert time.monotonic() < deadline, "the record is still there after the restart"
            time.sleep(0.02)


@pytest.mark.slow
def test_end_lets_go_of_agents_on_the_line_first(tmp_path: Path) -> None:
    stand_in = RafayStandIn(tmp_path)
    with stand_in:
        _, id, token = make_cluster(stand_in, "on-the-line")
        # A caller in its own process: its call must be open while this process waits for the end.
        call = (
            "import sys, httpx\n"
            "answer = httpx.post(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]},"
            " json={'kubernetes_version': 'v1', 'wait': 50}, timeout=60, trust_env=False)\n"
            "print(answer.status_code)"
        )
        url = f"{stand_in.base_url}/agent/v1/clusters/{id}/checkin"
        with subprocess.Popen([sys.executable, "-c", call, url, token], stdout=subprocess.PIPE) as agent:
            deadline = time.monotonic() + HANG
            while not stand_in.calls().get("agent.checkin"):
                assert time.monotonic() < deadline, "the agent did not check in"
                time.sleep(0.02)
            stand_in.stop()
            answer, _ = agent.communicate(timeout=HANG)
        assert answer.strip() == b"200", "the check-in was held until it was cut off"


@pytest.mark.slow
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    stand_in = RafayStandIn(tmp_path)
    with stand_in:
        assert stand_in.process.stdin
        stand_in.process.stdin.close()
        assert stand_in.process.wait(HANG) == 0


def test_keys_are_not_kept(stand_in: RafayStandIn) -> None:
    stand_in.rows("SELECT 1")
    kept = b"".join(path.read_bytes() for path in stand_in.database.parent.iterdir())
    assert b"alice@example.com" in kept
    assert RafayStandIn.KEY.encode() not in kept


def test_database_can_only_be_read_by_tests(stand_in: RafayStandIn) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        stand_in.rows("DELETE FROM projects")


def test_faults_are_found_by_the_names_of_operations(http: httpx.Client, stand_in: RafayStandIn) -> None:
    stand_in.faults(Fault(operation="group.*", kind=FaultKind.STATUS, status=503))
    assert http.get("/auth/v1/groups/", headers=BOTH).status_code == 503
    assert http.get("/auth/v1/groups/abc/", headers=BOTH).status_code == 503
    assert http.get("/auth/v1/projects/", headers=BOTH).status_code == 200
    stand_in.faults()
    assert http.get("/auth/v1/groups/", headers=BOTH).status_code == 200
