"""Credentials by the API: whose they are, what they open, and what ends them."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from clients.host.kubeconfig import Kubeconfig
from clients.virtual_cluster import VirtualClusterApi
from clients.virtual_cluster.people import binding_name
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.api.routes.credentials import CREDENTIALS_BURST
from tests.api.caller import Caller, fields_of, problem
from tests.support.credentials import administrator_kubeconfig, request_of, usable_kubeconfig
from tests.support.stack import BOB, CAROL, DAVE, TIMEOUT, unique
from tests.support.stand_ins import set_faults
from tests.support.virtual_access import CSR, RBAC, WHOAMI

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def name(stack: Stack) -> Any:
    """An environment of Bob's that Dave may use."""
    from tests.api.caller import calling

    name = unique("credential")
    async with calling(stack, BOB.email) as bob:
        await bob.ready(name, collaborators=[DAVE.email])
        yield name
        await bob.gone(name)


async def administrator(stack: Stack, name: str) -> Kubeconfig:
    found = await administrator_kubeconfig(stack, name)
    assert found is not None
    return found


async def whoami(kubeconfig: str) -> httpx.Response:
    """Ask the virtual API server who calls it with the kubeconfig."""
    read = Kubeconfig(kubeconfig, secret_name="k")
    async with VirtualClusterApi(read, timeout=TIMEOUT) as virtual:
        http = virtual._http._http
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return await http.post(WHOAMI, json=body)


async def is_let_in(kubeconfig: str) -> bool:
    """Whether the person has rights inside."""
    read = Kubeconfig(kubeconfig, secret_name="k")
    async with VirtualClusterApi(read, timeout=TIMEOUT) as virtual:
        answer = await virtual._http._http.get("/api/v1/namespaces")
    assert answer.status_code in (200, 403), answer.text
    return answer.status_code == 200


async def test_is_the_caller_s_own(stack: Stack, name: str, bob: Caller, dave: Caller) -> None:
    """Ensures that owner and collaborator each get a certificate of their own name, for an hour at most."""
    for caller, person in ((bob, BOB), (dave, DAVE)):
        kubeconfig = await usable_kubeconfig(caller.http.request, name)
        user = (await whoami(kubeconfig)).json()["status"]["userInfo"]
        assert user["username"] == person.email
        assert user["groups"] == ["system:authenticated"]
        assert await is_let_in(kubeconfig)
        pem = base64.b64decode(yaml.safe_load(kubeconfig)["users"][0]["user"]["client-certificate-data"])
        certificate = x509.load_pem_x509_certificate(pem)
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        assert timedelta(minutes=50) < left <= timedelta(hours=1, minutes=1)
        assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == person.email


async def test_answer_is_kept_nowhere(stack: Stack, name: str, bob: Caller) -> None:
    """Ensures that no cache keeps the answer, and that the request in the vCluster is deleted."""
    shown = await bob.show(name)
    body = {"request": request_of(BOB.email), "life": shown.life}
    answer = await bob.http.post(f"/environments/{name}/credential", json=body)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    content = answer.json()
    assert (content["person"], content["life"]) == (BOB.email, shown.life)
    assert 3000 < content["valid_seconds"] <= 3660
    async with VirtualClusterApi(await administrator(stack, name), timeout=TIMEOUT) as virtual:
        requests = (await virtual._http.call_json("GET", CSR, "list"))["items"]
        assert requests == [], "the request was not deleted"
        binding = await virtual._http.call_json(
            "GET", f"{RBAC}/clusterrolebindings/{binding_name(BOB.email)}", "read"
        )
    labels = binding["metadata"]["labels"]
    assert labels["moorage.dev/name"] == name
    assert labels["moorage.dev/life"] == shown.life


async def test_removed_rights_end_every_credential(
    stack: Stack, name: str, dave: Caller, bob: Caller
) -> None:
    """Ensures that one removal ends all certificates of that person only, and that a new call gives both."""
    first, second = [await usable_kubeconfig(dave.http.request, name) for _ in range(2)]
    other = await usable_kubeconfig(bob.http.request, name)
    async with VirtualClusterApi(await administrator(stack, name), timeout=TIMEOUT) as virtual:
        assert await virtual.remove_person(DAVE.email) == [f"ClusterRoleBinding {binding_name(DAVE.email)}"]
    assert [await is_let_in(one) for one in (first, second, other)] == [False, False, True]
    again = await usable_kubeconfig(dave.http.request, name)
    assert await is_let_in(again)


async def test_only_requests_of_the_caller_are_signed(name: str, bob: Caller) -> None:
    """Ensures that a request of another person, or another life, is refused with the reason."""
    path = f"/environments/{name}/credential"
    refused = problem(await bob.http.post(path, json={"request": request_of(CAROL.email)}), 422)
    assert f"CN={BOB.email}" in fields_of(refused)["request"]
    long = problem(await bob.http.post(path, json={"request": "x" * 5000}), 422)
    assert "request" in fields_of(long)
    other = {"request": request_of(BOB.email), "life": "0" * 20}
    assert problem(await bob.http.post(path, json=other), 409)["reason"] == "other_life"


async def test_is_for_owner_and_collaborators_only(
    name: str, alice: Caller, carol: Caller, stranger: Caller
) -> None:
    """Ensures that neither team nor platform role get in, and that their tries leave no rights."""
    path = f"/environments/{name}/credential"
    for caller, person in ((alice, "alice@example.com"), (carol, CAROL.email)):
        problem(await caller.http.post(path, json={"request": request_of(person)}), 403)
    problem(await stranger.http.post(path, json={"request": request_of("x@example.com")}), 401)


async def test_no_answer_has_the_administrator_s_credential(stack: Stack, name: str, bob: Caller) -> None:
    """Ensures that the kubeconfig has the server and its authority, and no credential."""
    kubeconfig = await administrator(stack, name)
    answer = await bob.http.get(f"/environments/{name}/kubeconfig")
    document = yaml.safe_load(answer.text)
    cluster, user = kubeconfig.current()
    assert document["clusters"][0]["cluster"] == dict(cluster)
    for value in user.values():
        assert str(value) not in answer.text
    assert set(document["users"][0]["user"]) == {"exec"}
    plugin = document["users"][0]["user"]["exec"]
    assert plugin["apiVersion"] == "client.authentication.k8s.io/v1"
    assert plugin["args"][:2] == ["credential", name]
    assert (plugin["interactiveMode"], plugin["provideClusterInfo"]) == ("Never", True)


async def test_is_in_the_security_log_without_the_certificate(stack: Stack, name: str, bob: Caller) -> None:
    """Ensures that the log says who got access to what until when."""
    path = f"/environments/{name}/credential"
    answer = await bob.http.post(path, json={"request": request_of(BOB.email)})
    until = datetime.fromisoformat(answer.json()["expires_at"])
    lines = [json.loads(line) for line in _log(stack) if '"create_credential"' in line]
    line = next(each for each in reversed(lines) if each.get("until") == until.isoformat())
    assert (line["actor"], line["object"], line["verdict"]) == (BOB.email, name, "allowed")
    body = answer.json()["certificate"].splitlines()[1]
    assert body not in "\n".join(_log(stack))


def _log(stack: Stack) -> list[str]:
    return Path(stack.log(Part.API)).read_text().splitlines()


async def test_many_in_a_row_are_limited(stack: Stack, name: str) -> None:
    """Ensures that a program without a cache is slowed down, and others are not."""
    from tests.api.caller import calling

    async with calling(stack, CAROL.email) as carol, calling(stack, DAVE.email) as dave:
        path = f"/environments/{name}/credential"
        body = {"request": "nonsense"}

        async def limited() -> httpx.Response:
            """Ask ten at a time until one is refused: a slow machine's answers alone allow more."""
            for _ in range(CREDENTIALS_BURST):
                asked = (carol.http.post(path, json=body) for _ in range(10))
                for answer in await asyncio.gather(*asked):
                    if answer.status_code == 429:
                        return answer
            pytest.fail("no request was limited")

        refused = await limited()
        assert int(refused.headers["Retry-After"]) >= 1
        assert "too many" in problem(refused, 429)["detail"]
        assert (await dave.http.post(path, json={"request": request_of(DAVE.email)})).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(operation="virtual.csr.create", kind=FaultKind.STATUS, status=500), 503),
        (Fault(operation="virtual.csr.approve", kind=FaultKind.STATUS_AFTER, status=504), 503),
        (Fault(operation="virtual.csr.approve", kind=FaultKind.STATUS, status=403), 503),
        (Fault(operation="virtual.read", kind=FaultKind.STATUS, status=500), 503),
        # On the second try, with a new connection.
        (Fault(operation="virtual.csr.create", kind=FaultKind.CUT_AFTER, times=1), 200),
        (Fault(operation="virtual.csr.create", kind=FaultKind.STATUS, status=401, times=1), 200),
        # Kubernetes deletes it after an hour.
        (Fault(operation="virtual.csr.delete", kind=FaultKind.STATUS, status=500), 200),
    ],
)
async def test_a_vcluster_that_fails(stack: Stack, name: str, bob: Caller, fault: Fault, status: int) -> None:
    """Ensures that a failure inside is reported as one, and that the next call works again."""
    path, body = f"/environments/{name}/credential", {"request": request_of(BOB.email)}
    assert (await bob.http.post(path, json=body)).status_code == 200
    set_faults(stack.url(Part.HOST), fault)
    try:
        answer = await bob.http.post(path, json=body)
    finally:
        set_faults(stack.url(Part.HOST))
    if status != 200:
        assert problem(answer, status)["system"] == "vCluster"
    assert answer.status_code == status
    assert (await bob.http.post(path, json=body)).status_code == 200


async def test_when_it_cannot_be_used(stack: Stack, bob: Caller) -> None:
    """Ensures that there is none before an environment is usable, nor after its end."""
    name = unique()
    set_faults(stack.url(Part.HOST), Fault(operation="namespace.create", kind=FaultKind.STATUS, status=503))
    body = {"request": request_of(BOB.email)}
    try:
        await bob.ask(name)
        content = problem(await bob.http.post(f"/environments/{name}/credential", json=body), 409)
    finally:
        set_faults(stack.url(Part.HOST))
    assert content["type"].endswith(":not-usable")
    await bob.gone(name)
    ended = problem(await bob.http.post(f"/environments/{name}/credential", json=body), 409)
    assert "is gone" in ended["detail"]


async def test_an_old_credential_opens_no_new_life(stack: Stack, bob: Caller) -> None:
    """Ensures that a certificate is of one life, also for an API that has a connection to the one before."""
    name = unique()
    await bob.ready(name)
    old = await usable_kubeconfig(bob.http.request, name)
    await bob.gone(name)
    await bob.ready(name)
    new = await usable_kubeconfig(bob.http.request, name)
    assert await is_let_in(new)
    mixed = yaml.safe_load(new) | {"users": yaml.safe_load(old)["users"]}
    assert (await whoami(yaml.safe_dump(mixed))).status_code == 401
    await bob.gone(name)


async def test_many_callers_at_once(name: str, bob: Caller, dave: Caller) -> None:
    """Ensures that callers of one environment at one time each get what they ask for."""
    calls = [usable_kubeconfig(caller.http.request, name) for caller in (bob, dave) for _ in range(8)]
    kubeconfigs = await asyncio.gather(*calls)
    assert len(set(kubeconfigs)) == len(calls)
    assert all(await asyncio.gather(*map(is_let_in, kubeconfigs)))
