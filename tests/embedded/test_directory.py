"""The embedded directory itself: who gets in, what outlives it, what it keeps apart."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.standin_options import PEOPLE
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS, running_stand_ins, start_stand_ins, stop_process

TOKEN = "a-token-of-the-directory"
GROUP = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "moor-a"}
USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "zoe@example.com"}


def client(url: str, token: str = TOKEN) -> httpx.Client:
    return httpx.Client(
        base_url=f"{url}/v2", headers={"Authorization": f"Bearer {token}"}, trust_env=False, verify=TLS
    )


def names(url: str, kind: str) -> set[str]:
    with client(url) as http:
        resources = http.get(f"/{kind}").raise_for_status().json().get("Resources", [])
    return {each.get("userName") or each["displayName"] for each in resources}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "directory.sqlite"


def options(database: Path, **others: Any) -> dict[str, Any]:
    return {"database": database, "token": TOKEN, **others}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("directory") / "directory.sqlite"
    with running_stand_ins(directory=options(database)) as [url]:
        yield url


class TestWhoGetsIn:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "/Users", None),
            ("GET", "/Groups", None),
            ("POST", "/Groups", GROUP),
            ("PATCH", "/Groups/any", {}),
            ("DELETE", "/Groups/any", None),
            ("GET", "/Schemas", None),
            ("POST", "/Bulk", {}),
        ],
    )
    def test_a_caller_without_the_token_is_refused(self, url: str, method: str, path: str, body: Any) -> None:
        wrong = ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ü"]
        with httpx.Client(base_url=url, trust_env=False, verify=TLS) as http:
            for headers in [{}, *({b"Authorization": each.encode()} for each in wrong)]:
                for prefix in ("/v2", ""):
                    answer = http.request(method, f"{prefix}{path}", json=body, headers=headers)
                    assert answer.status_code == 401, f"{method} {prefix}{path} was let in by {headers}"

    def test_a_caller_with_the_token_is_accepted(self, url: str) -> None:
        assert names(url, "Users") == set(PEOPLE)

    def test_no_password_is_kept(self, url: str) -> None:
        with client(url) as http:
            http.post("/Users", json={**USER, "password": "secret-of-zoe"})
            assert "secret-of-zoe" not in http.get("/Users").text


@pytest.mark.slow
def test_what_was_answered_outlives_a_kill(database: Path) -> None:
    [url], process = start_stand_ins(directory=options(database))
    with client(url) as http:
        http.post("/Users", json=USER).raise_for_status()
        group = http.post("/Groups", json={**GROUP, "externalId": "mark"}).raise_for_status()
        path = f"/Groups/{group.json()['id']}"
        change = {"op": "add", "path": "members", "value": [{"value": "zoe"}]}
        schema = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
        http.patch(path, json={"schemas": [schema], "Operations": [change]}).raise_for_status()
        gone = http.post("/Groups", json={**GROUP, "displayName": "moor-b"}).raise_for_status()
        http.delete(f"/Groups/{gone.json()['id']}").raise_for_status()
        version = http.get(path).json()["meta"]["version"]
    process.kill()
    stop_process(process)

    with running_stand_ins(directory=options(database)) as [url]:
        assert names(url, "Users") == {*PEOPLE, "zoe@example.com"}, "people were lost, or seeded twice"
        assert names(url, "Groups") == {"moor-a"}
        with client(url) as http:
            kept = http.get(path).json()
            assert (kept["externalId"], [each["value"] for each in kept["members"]]) == ("mark", ["zoe"])
            assert kept["meta"]["version"] == version
            assert http.post("/Groups", json=GROUP).status_code == 409, "uniqueness was forgotten"


@pytest.mark.slow
def test_other_people_may_be_seeded(database: Path) -> None:
    people = ("mary@example.org", "peter@example.org")
    with running_stand_ins(directory=options(database, people=people)) as [url]:
        assert names(url, "Users") == set(people)


@pytest.mark.slow
@pytest.mark.parametrize(("allow", "made"), [(False, 1), (True, 10)])
async def test_ten_creates_of_one_name_at_once_make_one_group_or_ten(
    database: Path, allow: bool, made: int
) -> None:
    with running_stand_ins(directory=options(database, allow_duplicate_groups=allow)) as [url]:
        async with httpx.AsyncClient(
            base_url=f"{url}/v2", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, verify=TLS
        ) as http:
            answers = await asyncio.gather(*(http.post("/Groups", json=GROUP) for _ in range(10)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * made + [409] * (10 - made)
    with sqlite3.connect(database) as rows:
        [(count,)] = rows.execute("SELECT count(*) FROM resources WHERE type = 'Group' AND name = 'moor-a'")
    rows.close()
    assert count == made


@pytest.mark.slow
def test_its_storage_does_what_the_library_asks_of_one() -> None:
    """Run separately: otherwise each process of a run would import the library, which takes seconds."""
    command = [sys.executable, "-m", "pytest", "-q", str(Path(__file__).with_name("storage_contract.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
