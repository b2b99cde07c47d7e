"""Asking for environments: what is answered, what is repeated, and what is refused, each with its field."""

import asyncio
from typing import Any

import httpx
import pytest

from contracts.types.naming import life_id, request_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.api.caller import Caller, fields_of, problem
from tests.support.deadline import HANG
from tests.support.stack import BOB, unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.slow


async def test_a_new_one(bob: Caller) -> None:
    """Ensures that a new environment is answered at once, whole, with its life and where to follow it."""
    name = unique()
    answer = await bob.ask(name, key="a-key", ttl="2h", collaborators=["Carol@example.com", BOB.email])
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"environments/{name}"
    done = answer.json()
    assert done["kind"] == "created"
    assert done["life"] == life_id(request_id(BOB.email, name, "a-key"))
    assert done["environment"]["owner"] == BOB.email
    assert done["environment"]["team"] == "blue"
    # In lower case, and without the owner, who needs not be named.
    assert done["environment"]["collaborators"] == ["carol@example.com"]
    assert done["environment"]["ttl"] == "PT2H"
    assert {step["state"] for step in done["environment"]["steps"]} == {"waiting"}
    view = await bob.until(name, lambda view: view.phase == "ready")
    assert view.life == done["life"]
    assert view.remark == ""
    gone = await bob.gone(name)
    assert gone.certificate is not None
    assert gone.certificate.nothing_left
    assert {system.system for system in gone.certificate.systems} == {
        "control plane",
        "identity provider",
        "host cluster",
    }


async def test_a_repeat_with_the_same_key(bob: Caller) -> None:
    """Ensures that one key makes one life: repeated at once, later, and after that life has ended."""
    name = unique()
    answers = await asyncio.gather(*(bob.ask(name, key="k") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["life"] for answer in answers}) == 1
    await bob.until(name, lambda view: view.phase == "ready")
    assert (await bob.ask(name, key="k")).json()["kind"] == "created"
    gone = await bob.gone(name)
    late = await bob.ask(name, key="k")
    assert late.status_code == 200
    assert late.json()["kind"] == "finished"
    assert late.json()["environment"]["outcome"] == "deleted"
    assert (await bob.show(name)).life == gone.life
    # Another key is another request.
    again = await bob.ask(name, key="k2")
    assert (again.status_code, again.json()["kind"]) == (202, "created")
    assert again.json()["life"] != gone.life
    await bob.gone(name)


async def test_a_repeat_tells_how_it_stands(bob: Caller) -> None:
    """Ensures that a repeat shows the present state, and that a key is good for one request only."""
    name = unique()
    first = (await bob.ask(name, key="k")).json()["environment"]
    await bob.until(name, lambda view: view.phase == "ready")
    repeat = (await bob.ask(name, key="k")).json()["environment"]
    assert (repeat["phase"], repeat["expires_at"]) == (
        "ready",
        (await bob.show(name)).model_dump(mode="json")["expires_at"],
    )
    assert repeat["template"] == first["template"]
    assert "Idempotency-Key" in fields_of(problem(await bob.ask(name, key="k", template="medium"), 422))
    await bob.gone(name)
    assert "Idempotency-Key" in fields_of(problem(await bob.ask(name, key="k", ttl="3h"), 422))


async def test_the_same_without_a_key(bob: Caller) -> None:
    """Ensures that asking for the same again joins what is there, collaborators in whatever order."""
    name = unique()
    people = ["carol@example.com", "dave@example.com"]
    first = await bob.ask(name, collaborators=people)
    second = await bob.ask(name, collaborators=people[::-1])
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json()["kind"] == "joined"
    assert second.json()["life"] == first.json()["life"]
    assert second.json()["environment"]["phase"] in ("provisioning", "usable", "ready")
    await bob.gone(name)


async def test_what_is_refused(bob: Caller, carol: Caller) -> None:
    """Ensures that a taken name, another spec, and a verb out of season are refused with their reasons."""
    name = unique()
    await bob.ready(name)
    content = problem(await carol.ask(name), 409)
    assert content["reason"] == "other_owner"
    assert BOB.email not in str(content)
    content = problem(await bob.ask(name, template="medium", ttl="2h"), 409)
    assert content["reason"] == "other_spec"
    assert set(fields_of(content)) == {"template", "ttl"}
    content = problem(await bob.http.post(f"/environments/{name}/cancel"), 409)
    assert content["reason"] == "not_now"
    assert "use delete" in content["detail"]
    first = await bob.http.delete(f"/environments/{name}")
    second = await bob.http.delete(f"/environments/{name}")
    assert (first.status_code, first.json()["kind"]) == (202, "accepted")
    # Of the same life: the repeat has the answer of the first.
    assert (second.status_code, second.json()["kind"]) in ((202, "accepted"), (202, "nothing_to_do"))
    await bob.until(name, lambda view: view.ended)
    for method, path in (("DELETE", ""), ("POST", "/cancel")):
        answer = await bob.http.request(method, f"/environments/{name}{path}")
        assert (answer.status_code, answer.json()["kind"]) == (202, "nothing_to_do")


async def test_asked_for_while_it_is_torn_down(stack: Stack, bob: Caller) -> None:
    """Ensures that a name that is being torn down is refused until it is gone."""
    name = unique()
    await bob.ready(name)
    slow = Fault(operation="project.delete", kind=FaultKind.DELAY_BEFORE, seconds=2.0, times=1)
    set_faults(stack.url(Part.CONTROL_PLANE), slow)
    try:
        await bob.http.delete(f"/environments/{name}")
        content = problem(await bob.ask(name), 409)
        assert content["reason"] == "being_torn_down"
        await bob.until(name, lambda view: view.ended)
        assert (await bob.ask(name)).status_code == 202
    finally:
        set_faults(stack.url(Part.CONTROL_PLANE))
    await bob.gone(name)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"name": "My_Env"}, "name", '"My_Env" cannot be a name: at most 30 lower-case letters'),
        ({"name": "x" * 31}, "name", "cannot be a name"),
        ({"name": "demo\n"}, "name", "holds a line break"),
        ({"name": ""}, "name", "cannot be a name"),
        ({"name": None}, "name", "is not text"),
        ({"template": "smal"}, "template", 'there is no template "smal": did you mean "small"?'),
        ({"team": "green"}, "team", 'you are not in a team "green": there is blue'),
        ({"ttl": "soon"}, "ttl", '"soon" is not a length of time: write a number and a unit'),
        ({"ttl": "99d"}, "ttl", '"99d" is longer than "small" allows: at most 3d'),
        ({"ttl": "1s"}, "ttl", '"1s" is too short: at least 5m'),
        ({"ttl": "999999w 999999w"}, "ttl", "at most 3d"),
        ({"collaborators": ["carol"]}, "collaborators.0", '"carol" is not an e-mail address'),
        ({"collaborators": "carol"}, "collaborators", "is not a list"),
        ({"collaborators": [f"p{n}@example.com" for n in range(21)]}, "collaborators", "at most 20"),
        (
            {"collaborators": ["carol@example.com", "x@example.com"]},
            "collaborators.1",
            "the directory does not know x@example.com",
        ),
        ({"host": "mars"}, "host", 'there is no host "mars": there is local'),
        ({"tll": "8h"}, "tll", 'there is no such field: did you mean "ttl"?'),
    ],
)
async def test_what_is_not_valid(bob: Caller, change: dict[str, Any], field: str, message: str) -> None:
    """Ensures that each bad field is reported with what is wrong and what is right; nothing is started."""
    name = change.get("name", unique())
    body = {"name": name, "template": "small", **change}
    content = problem(await bob.http.post("/environments", json=body), 422)
    assert message in fields_of(content)[field]
    if isinstance(name, str) and name.isalnum():
        problem(await bob.http.get(f"/environments/{name}"), 404)


async def test_all_that_is_not_valid_at_once(bob: Caller) -> None:
    """Ensures that one answer reports all bad fields."""
    content = problem(await bob.ask("A", template="x", ttl="x", team="x", host="x"), 422)
    assert set(fields_of(content)) == {"name", "template", "ttl", "team", "host"}


@pytest.mark.parametrize(
    ("content", "type_", "status"),
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b'{"name": "x"}', "text/plain", 422),
        (b"x" * 100_000, "application/json", 413),
    ],
)
async def test_what_is_no_request(bob: Caller, content: bytes, type_: str, status: int) -> None:
    """Ensures that what is no request at all is a problem, not a crash."""
    answer = await bob.http.post("/environments", content=content, headers={"Content-Type": type_})
    problem(answer, status)


async def test_a_body_that_is_longer_than_it_says(stack: Stack) -> None:
    """Ensures that a request with two lengths is refused at its head, before a token is asked for."""
    port = httpx.URL(stack.api_url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /api/v1/environments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with asyncio.timeout(HANG):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 "), answer


async def test_keys_and_paths_that_cannot_be(bob: Caller) -> None:
    """Ensures that a key with odd characters, and paths that lead nowhere, are problems as well."""
    answer = await bob.http.post(
        "/environments", json={"name": "x", "template": "small"}, headers={"Idempotency-Key": "a b"}
    )
    assert "idempotency-key" in fields_of(problem(answer, 422))
    for path in ("/environments/%00", "/environments/..%2f..", "/environments/A", "/nothing"):
        problem(await bob.http.get(path), 404)
    problem(await bob.http.put("/environments"), 405)


async def test_a_dry_run(bob: Caller) -> None:
    """Ensures that a dry run shows what would be made, says what is wrong, and starts nothing."""
    name = unique()
    answer = await bob.http.post(
        "/environments", json={"name": name, "template": "small"}, params={"dry_run": True}
    )
    assert answer.status_code == 200
    assert answer.json()["kind"] == "dry_run"
    assert answer.json()["environment"]["template"] == "small"
    problem(await bob.http.get(f"/environments/{name}"), 404)
    await bob.ready(name)
    answer = await bob.http.post(
        "/environments", json={"name": name, "template": "small"}, params={"dry_run": True}
    )
    assert "the request would join it" in answer.json()["message"]
    await bob.gone(name)


async def test_people_when_the_directory_is_unreachable(stack: Stack, bob: Caller) -> None:
    """Ensures that the API leaves the check to the workflow, which names the person."""
    name = unique()
    cut = Fault(operation="*", kind=FaultKind.STATUS, status=503, times=2)
    set_faults(stack.url(Part.DIRECTORY), cut)
    try:
        answer = await bob.ask(name, collaborators=["stranger@example.com"])
        assert answer.status_code == 202, answer.text
    finally:
        set_faults(stack.url(Part.DIRECTORY))
    view = await bob.until(name, lambda view: view.ended)
    assert view.outcome == "failed"
    assert view.problem is not None
    assert view.problem.type == "UnknownPerson"
    assert "stranger@example.com" in view.problem.cause.lower()


async def test_a_directory_that_refuses_us(stack: Stack, bob: Caller) -> None:
    """Ensures that credentials that the directory refuses are reported with its name; nothing is started."""
    name = unique()
    set_faults(stack.url(Part.DIRECTORY), Fault(kind=FaultKind.STATUS, status=401))
    try:
        # The person must be new to the API: it does not ask again about one whom it has just found.
        answer = await bob.ask(name, collaborators=[f"{name}@example.com"])
    finally:
        set_faults(stack.url(Part.DIRECTORY))
    content = problem(answer, 503)
    assert "SCIM" in content["system"]
    assert answer.headers["Retry-After"]
    problem(await bob.http.get(f"/environments/{name}"), 404)


async def test_a_failed_one(stack: Stack, bob: Caller) -> None:
    """Ensures that what could not be made says why, what is left, and is answered to its late retry."""
    name = unique()
    set_faults(stack.url(Part.HOST), Fault(operation="namespace.create", kind=FaultKind.STATUS, status=403))
    try:
        await bob.ask(name, key="k")
        view = await bob.until(name, lambda view: view.ended)
    finally:
        set_faults(stack.url(Part.HOST))
    assert (view.phase, view.outcome) == ("gone", "failed")
    assert view.problem is not None
    assert view.problem.step == "namespace"
    assert view.certificate is not None
    assert view.certificate.nothing_left
    late = await bob.ask(name, key="k")
    assert (late.status_code, late.json()["environment"]["outcome"]) == (200, "failed")
    listed = await bob.http.get("/environments", params={"ended": True, "limit": 200})
    [row] = [row for row in listed.json()["environments"] if row["name"] == name]
    assert (row["outcome"], row["phase"]) == ("failed", "gone")
