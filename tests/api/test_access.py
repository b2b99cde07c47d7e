"""The table of who may do what, walked through the real API: each verb, by each kind of person."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import product

import httpx
import pytest

from embedded.stack.stack import Part, Person, Stack
from starter.auth.policy import GLOBAL_TABLE, TABLE, GlobalVerb, Relation, Role, Verb
from starter.environments.schemas import EnvironmentView
from tests.api.caller import Caller, calling, problem
from tests.support.leavers import report_left
from tests.support.sign_in import embedded_provider
from tests.support.stack import ALICE, BOB, CAROL, DAVE, unique

pytestmark = pytest.mark.slow

#: What is called for each verb, and the statuses with which it is answered to those who may.
CALLS: dict[Verb, tuple[str, str, set[int]]] = {
    Verb.HISTORY: ("GET", "/history", {200}),
    # Both with an end that is too early, which is refused to those who may.
    Verb.EXTEND: ("POST", "/extend", {409}),
    Verb.EXTEND_BEYOND: ("POST", "/extend", {409}),
    Verb.SHOW: ("GET", "", {200}),
    Verb.WATCH: ("GET", "/events", {200}),
    Verb.KUBECONFIG: ("GET", "/kubeconfig", {200}),
    # With a request that is none, which is refused to those who may.
    Verb.CREDENTIAL: ("POST", "/credential", {422}),
    # Of a person who is no collaborator, which is needless.
    Verb.COLLABORATORS: ("DELETE", "/collaborators/no-one@example.com", {202}),
    # To an address that is none, which is refused to those who may.
    Verb.TRANSFER: ("POST", "/transfer", {422}),
    # To the caller: needless for its owner, and refused to one of another team.
    Verb.TAKE: ("POST", "/transfer", {202, 422}),
    # With a template that is none, and with none that is newer.
    Verb.RESIZE: ("POST", "/resize", {422}),
    Verb.UPGRADE: ("POST", "/upgrade", {200}),
    # One at a time: those who may and come later are refused.
    Verb.SNAPSHOT: ("POST", "/snapshots", {202, 409}),
    # Of a snapshot that does not exist.
    Verb.RESTORE: ("POST", "/restore", {409}),
    Verb.SLEEP: ("POST", "/sleep", {202}),
    Verb.WAKE: ("POST", "/wake", {202}),
    # In `ready` these two are refused to those who may, which leaves the environment for the next one.
    Verb.CANCEL: ("POST", "/cancel", {409}),
    Verb.RESUME_TEARDOWN: ("POST", "/resume-teardown", {409}),
    Verb.FORCE_TEARDOWN: ("POST", "/force-teardown", {409}),
    # Last, because it ends the environment. A repeat is answered.
    Verb.DELETE: ("DELETE", "", {202}),
}

PAST = "2020-01-01T00:00:00Z"
BODIES: dict[Verb, dict[str, object]] = {
    Verb.RESIZE: {"template": "none"},
    Verb.RESTORE: {"snapshot": 99},
    Verb.TRANSFER: {"to": "none"},
    Verb.CREDENTIAL: {"request": "none"},
    Verb.EXTEND: {"until": PAST},
    Verb.EXTEND_BEYOND: {"until": PAST, "override": True, "reason": "a test"},
}

#: A booking that is refused, because it has no seat.
NOT_A_BOOKING = {
    "event": "kurs",
    "template": "small",
    "seats": 0,
    "from": "2030-01-31T09:00:00Z",
    "until": "2030-01-31T17:00:00Z",
}
#: What is called for each verb of the installation, and the statuses for those who may. In this order: what
#: is frozen is thawed before the sweep.
GLOBAL_CALLS: dict[GlobalVerb, tuple[str, str, dict[str, object] | None, set[int]]] = {
    # Results that do not exist: no sweep and no upgrade of the shared stack is needed here.
    GlobalVerb.LEAVERS: ("GET", "/leavers/x", None, {404}),
    GlobalVerb.RECONCILE: ("GET", "/reconcile/x", None, {404}),
    GlobalVerb.ROLLOUT: ("GET", "/rollouts/no-such-template", None, {200}),
    GlobalVerb.FREEZE: ("PUT", "/freeze", {"reason": "a test"}, {200}),
    GlobalVerb.THAW: ("DELETE", "/freeze", None, {200}),
    GlobalVerb.SWEEP: ("POST", "/sweeps?dry_run=true", None, {200, 202}),
    GlobalVerb.CAPACITY: ("GET", "/capacity", None, {200}),
    GlobalVerb.HOLDINGS: ("GET", "/capacity?holdings=true", None, {200}),
    GlobalVerb.RESUME_POOL: ("POST", "/pools/no-such-template/resume", None, {404}),
    GlobalVerb.BOOK: ("POST", "/bookings", NOT_A_BOOKING, {422}),
    GlobalVerb.BOOKINGS: ("GET", "/bookings", None, {200}),
    GlobalVerb.END_BOOKING: ("DELETE", "/bookings/no-such-event", None, {404}),
    GlobalVerb.NEW_CODES: ("POST", "/bookings/no-such-event/codes", None, {404}),
    GlobalVerb.SEAT: ("POST", "/seats", {"code": "not a code"}, {422}),
}
#: Only on the page, where no token of the file is accepted: tests/page/test_platform.py walks them.
OF_THE_PAGE = {GlobalVerb.AUDIT, GlobalVerb.FIGURES}


@pytest.fixture
async def signed_in(stack: Stack) -> AsyncIterator[dict[str, Caller]]:
    """All four, signed in at the OpenID provider; `alice` and the others show a token of the file."""
    provider = embedded_provider(stack.url(Part.OPENID_PROVIDER), stack.password_of)
    async with AsyncExitStack() as opened:

        async def caller_of(person: Person) -> Caller:
            token = (await provider.sign_in(person.email))["access_token"]
            return await opened.enter_async_context(calling(stack, person.email, token))

        yield {person.email: await caller_of(person) for person in (ALICE, BOB, CAROL, DAVE)}


async def call(caller: Caller, verb: Verb, name: str) -> httpx.Response:
    """Make the verb's call; of a stream, only its beginning."""
    method, path, _ = CALLS[verb]
    if verb is not Verb.WATCH:
        body = {"to": caller.email} if verb is Verb.TAKE else BODIES.get(verb)
        return await caller.http.request(method, f"/environments/{name}{path}", json=body)
    async with caller.http.stream(method, f"/environments/{name}{path}") as answer:
        if answer.status_code != 200:
            await answer.aread()
        return answer


async def call_patiently(caller: Caller, verb: Verb, name: str) -> httpx.Response:
    """As `call`, and again later where the caller has made too many calls that they may not make."""
    answer = await call(caller, verb, name)
    if answer.status_code == 429:
        await asyncio.sleep(int(answer.headers["Retry-After"]))
        return await call_patiently(caller, verb, name)
    return answer


async def is_listed(caller: Caller, view: EnvironmentView) -> bool:
    answer = await caller.http.get("/environments", params={"limit": 200})
    assert answer.status_code == 200
    return view.name in {row["name"] for row in answer.json()["environments"]}


def test_no_verb_is_left_out() -> None:
    """Ensures that a new line of either table is walked here; `is_listed` walks the list."""
    assert set(CALLS) | {Verb.LIST} == set(TABLE) == set(Verb)
    assert set(GLOBAL_CALLS) | OF_THE_PAGE == set(GLOBAL_TABLE) == set(GlobalVerb)


async def test_every_verb_of_the_installation_for_everybody(
    alice: Caller, bob: Caller, signed_in: dict[str, Caller]
) -> None:
    """Ensures that each is answered or refused (403) by the role, for people of both kinds."""
    people = (
        (bob, Role.DEVELOPER),
        (signed_in[BOB.email], Role.DEVELOPER),
        (alice, Role.PLATFORM),
        (signed_in[ALICE.email], Role.PLATFORM),
    )
    try:
        for verb, (method, path, body, allowed) in GLOBAL_CALLS.items():
            for caller, role in people:
                answer = await caller.http.request(method, path, json=body)
                if role in GLOBAL_TABLE[verb]:
                    assert answer.status_code in allowed, (verb, role, answer.text)
                else:
                    assert "platform team" in problem(answer, 403)["detail"], (verb, role)
    finally:
        await alice.http.delete("/freeze")


async def test_taking_once_the_owner_has_left_for_everybody(
    stack: Stack, bob: Caller, carol: Caller, dave: Caller, signed_in: dict[str, Caller]
) -> None:
    """Ensures that team mates of both kinds take it, and that a collaborator and the former owner do not."""
    view = await bob.ready(unique("left"), collaborators=[DAVE.email])
    for taker, owner, others in (
        (carol, BOB, (dave, signed_in[DAVE.email])),
        (signed_in[BOB.email], CAROL, (dave, signed_in[DAVE.email])),
    ):
        await report_left(stack, view.name, view.life, owner.email)
        for other in others:
            assert (await call(other, Verb.TAKE, view.name)).status_code == 403
        answer = await call(taker, Verb.TAKE, view.name)
        assert answer.status_code == 202, answer.text
        assert (await taker.until(view.name, lambda now: now.access is None)).owner == taker.email
    await bob.gone(view.name)


async def test_every_verb_for_everybody(
    alice: Caller, bob: Caller, carol: Caller, dave: Caller, signed_in: dict[str, Caller]
) -> None:
    """Ensures that each verb is answered, hidden (404) or refused (403) for each relation, as documented.

    It is the same for who shows a token and for who has signed in.
    """
    blue, green, alone = await asyncio.gather(
        bob.ready(unique("blue"), collaborators=[DAVE.email]),
        dave.ready(unique("green")),
        bob.ready(unique("alone")),
    )
    with_token = {ALICE.email: alice, BOB.email: bob, CAROL.email: carol, DAVE.email: dave}
    # (who, whose, what they are to it); Alice is in team blue, so her role alone shows with green.
    people = [
        (caller, view, relation)
        for person, view, relation in (
            (BOB, blue, Relation.OWNER),
            (DAVE, blue, Relation.COLLABORATOR),
            (CAROL, blue, Relation.TEAM_MATE),
            (ALICE, green, Relation.PLATFORM),
            (BOB, green, Relation.STRANGER),
            (DAVE, alone, Relation.STRANGER),
        )
        for caller in (with_token[person.email], signed_in[person.email])
    ]
    for caller, view, relation in people:
        assert await is_listed(caller, view) == (relation in TABLE[Verb.LIST]), relation
    for verb, (_, _, allowed) in CALLS.items():
        # Strangers first: what they ask for must not have happened when the others come.
        for caller, view, relation in reversed(people):
            answer = await call_patiently(caller, verb, view.name)
            expected = allowed
            if (verb, relation) == (Verb.TAKE, Relation.TEAM_MATE):
                expected = {403}  # it has an owner
            elif relation not in TABLE[verb]:
                expected = {403} if relation in TABLE[Verb.SHOW] else {404}
            assert answer.status_code in expected, (verb, relation, answer.text)
    assert (await bob.show(alone.name)).phase == "ready"
    await bob.gone(alone.name)


async def test_hidden_is_as_if_it_were_not(bob: Caller, dave: Caller, signed_in: dict[str, Caller]) -> None:
    """Ensures that what is hidden is answered in the very words of what is not there."""
    hidden = unique("hidden")
    await bob.ask(hidden)
    nothing = unique("hidden")
    for verb, caller in product(CALLS, (dave, signed_in[DAVE.email])):
        there = problem(await call_patiently(caller, verb, hidden), 404)
        absent = problem(await call_patiently(caller, verb, nothing), 404)
        assert there["detail"].replace(hidden, "") == absent["detail"].replace(nothing, "")
    await bob.gone(hidden)


async def test_without_a_token(stranger: Caller) -> None:
    """Ensures that a caller with no token, or an unknown one, learns no more than that."""
    for path in ("/environments", "/environments/x", "/environments/x/events", "/templates"):
        content = problem(await stranger.http.get(path), 401)
        assert content["type"].endswith(":unauthenticated")
        for header in ("Bearer nonsense", "Bearer", "Basic YTpi", "Bearer x y", "nonsense", "Bearer é"):
            answer = await stranger.http.get(path, headers=[(b"Authorization", header.encode())])
            problem(answer, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_health_needs_no_token(stranger: Caller) -> None:
    """Ensures that those who run the API can ask after it without being people."""
    base = str(stranger.http.base_url).removesuffix("/api/v1/")
    for path in ("/healthz", "/readyz"):
        answer = await stranger.http.get(f"{base}{path}")
        assert answer.status_code == 200
        assert answer.json()["status"] == ("degraded" if answer.json().get("remark") else "ok")


async def test_lists_hold_what_one_may_see(
    alice: Caller, bob: Caller, carol: Caller, dave: Caller, signed_in: dict[str, Caller]
) -> None:
    """Ensures that a filter never shows more than the whole list would."""
    mine = await bob.ready(unique("mine"))
    for query in ({"owner": BOB.email}, {"team": "blue"}, {}):
        for caller in (dave, signed_in[DAVE.email]):
            answer = await caller.http.get("/environments", params=query)
            assert mine.name not in answer.text
        for caller in (alice, bob, carol, *(signed_in[one.email] for one in (ALICE, BOB, CAROL))):
            assert mine.name in (await caller.http.get("/environments", params=query)).text
    await bob.gone(mine.name)
