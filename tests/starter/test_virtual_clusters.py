"""Connections to virtual clusters, and credentials through them, with a host and a vCluster in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import Mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from clients.errors import ClientError, Denied, MalformedAnswer, NotFound, ServerFailed, Unreachable
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Namespace
from clients.host.protocol import Host
from contracts.environment.models import Environment
from contracts.templates.template import Credentials
from contracts.types.naming import OwnerMark
from starter.auth.policy import NotAllowed, Principal
from starter.environments.access import EnvironmentAccess
from starter.environments.credentials import issuer, kubeconfig, virtual_clusters
from starter.environments.credentials.issuer import CredentialIssuer
from starter.environments.credentials.kubeconfig import KubeconfigReader
from starter.environments.credentials.uses import UseRecorder
from starter.environments.credentials.virtual_clusters import NotUsable, VirtualClusters
from tests.api.test_environment_health import snapshot
from tests.starter.test_chart_check import environment
from tests.support.credentials import request_of
from tests.support.deadline import soon
from tests.support.virtual_access import new_key

ADA = Principal(person="Ada", email="ada@example.com", teams=("blue",))
KUBECONFIG = """
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://v.example"}}]
users: [{name: u, user: {token: admin}}]
"""


class FakeVirtualCluster:
    """Signs whatever is asked for, and records what was done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.has_rights = True
        self.failures: list[ClientError] = []
        self.removal_failures: list[ClientError] = []
        self.extra = timedelta(0)
        self.validity: timedelta | None = None

    async def ensure_person(self, person: str, _labels: Any) -> bool:
        if self.failures:
            raise self.failures.pop()
        self.done.append(f"ensure {person}")
        missing, self.has_rights = not self.has_rights, True
        return missing

    async def remove_person(self, person: str) -> list[str]:
        self.done.append(f"remove {person}")
        if self.removal_failures:
            raise self.removal_failures.pop()
        return []

    async def issue_certificate(self, request: bytes, _person: str, validity: timedelta, _labels: Any) -> str:
        self.done.append("issue")
        self.validity = validity
        asked, now = x509.load_pem_x509_csr(request), datetime.now(UTC)
        builder = x509.CertificateBuilder(
            asked.subject, asked.subject, asked.public_key(), 1, now, now + validity + self.extra
        )
        return builder.sign(new_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class FakeHost:
    """A host with one vCluster of each namespace; opening a connection takes a moment."""

    def __init__(self) -> None:
        self.virtual = FakeVirtualCluster()
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.labels: dict[str, str] | None = None
        self.has_secret = True
        self.reads = 0

    async def get_namespace(self, name: str) -> Namespace | None:
        await asyncio.sleep(0)
        return Namespace(name, "u", labels=self.labels if self.labels is not None else labels_of(name))

    async def kubeconfig(self, namespace: str, _release: str) -> Kubeconfig | None:
        self.reads += 1
        await asyncio.sleep(0)
        return Kubeconfig(KUBECONFIG, secret_name=namespace) if self.has_secret else None

    @asynccontextmanager
    async def virtual_cluster(self, kubeconfig: Kubeconfig) -> AsyncIterator[FakeVirtualCluster]:
        self.opened.append(kubeconfig.secret_name)
        yield self.virtual
        self.closed.append(kubeconfig.secret_name)


def one(name: str = "demo") -> Environment:
    base = environment()
    return base.model_copy(update={"mark": OwnerMark.for_request("k3x9q0vb", name, name), "host": "main"})


def labels_of(derived_name: str) -> dict[str, str]:
    return one(derived_name.partition("-")[2]).mark.labels


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def clusters(host: FakeHost) -> VirtualClusters:
    return VirtualClusters({"main": cast(Host, host)})


class TestConnections:
    async def test_are_opened_once_and_closed_at_the_end(
        self, host: FakeHost, clusters: VirtualClusters
    ) -> None:
        async def use() -> None:
            async with clusters.connect(one()) as virtual:
                assert cast(object, virtual) is host.virtual
                await asyncio.sleep(0)

        await asyncio.gather(*(use() for _ in range(10)))
        await use()
        assert len(host.opened) == 1
        assert clusters.has_connection(one())
        await clusters.close()
        assert host.closed == host.opened

    async def test_that_fail_are_not_used_again(self, host: FakeHost, clusters: VirtualClusters) -> None:
        for failure, is_kept in (
            (NotFound("v", "o", "d"), True),
            (Denied("v", "o", "d"), False),
            (Unreachable("v", "o", "d"), False),
        ):
            with pytest.raises(type(failure)):
                async with clusters.connect(one()):
                    raise failure
            assert clusters.has_connection(one()) is is_kept
        assert host.opened == host.closed

    async def test_stay_open_while_they_are_used(
        self, host: FakeHost, clusters: VirtualClusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(virtual_clusters, "MAX_CONNECTIONS", 1)
        async with clusters.connect(one("a")):
            async with clusters.connect(one("b")):
                assert host.closed == []
            assert not clusters.has_connection(one("a"))
        assert len(host.closed) == 1
        assert clusters.has_connection(one("b"))

    async def test_are_of_one_life(self, host: FakeHost, clusters: VirtualClusters) -> None:
        other = one().model_copy(update={"mark": OwnerMark.for_request("k3x9q0vb", "demo", "another")})
        async with clusters.connect(one()):
            pass
        with pytest.raises(NotUsable, match="is not on the host"):
            async with clusters.connect(other):
                pass

    async def test_need_our_namespace_and_the_secret(self, host: FakeHost, clusters: VirtualClusters) -> None:
        host.labels = {}
        with pytest.raises(NotUsable):
            await clusters.kubeconfig(one())
        host.labels, host.has_secret = None, False
        with pytest.raises(NotUsable):
            await clusters.kubeconfig(one())
        with pytest.raises(NotUsable, match="which this API does not have"):
            await clusters.kubeconfig(one().model_copy(update={"host": "other"}))


class FakeAccess:
    """Finds the environment as it was a moment ago; as it is now, with the failure."""

    def __init__(self, found: Environment, failure: BaseException | None = None) -> None:
        self._found, self._failure = found, failure
        self.calls = 0

    def allow(self) -> None:
        self._failure = None

    async def find(self, *_: Any, may_be_recent: bool = False) -> Any:
        self.calls += 1
        # A view of a moment ago does not know of a removal yet.
        if self._failure and not may_be_recent:
            raise self._failure
        base = snapshot()
        assert base.status
        status = base.status.model_copy(update={"environment": self._found})
        return type(base)(**{**vars(base), "status": status})


def issuer_of(access: FakeAccess, clusters: VirtualClusters) -> CredentialIssuer:
    return CredentialIssuer(cast(EnvironmentAccess, access), clusters, cast(UseRecorder, Mock()))


async def refuse(
    host: FakeHost, clusters: VirtualClusters, patch: pytest.MonkeyPatch, *pauses: float
) -> tuple[FakeAccess, CredentialIssuer]:
    """Remove a person while they get rights, and refuse them; the rights are taken back after the pauses."""
    patch.setattr(issuer, "REFUSAL_WAIT_SECONDS", 0.0)
    patch.setattr(issuer, "_PAUSES_SECONDS", pauses)
    host.virtual.has_rights = False
    access = FakeAccess(one(), NotAllowed("no longer"))
    one_issuer = issuer_of(access, clusters)
    with pytest.raises(NotAllowed):
        await one_issuer.issue("demo", ADA, REQUEST, None)
    return access, one_issuer


class TestKubeconfigs:
    def reader_of(self, found: Environment, clusters: VirtualClusters) -> KubeconfigReader:
        access = FakeAccess(found)
        return KubeconfigReader(cast(EnvironmentAccess, access), clusters, issuer_of(access, clusters))

    async def test_of_a_moment_take_one_read_of_the_host(
        self, host: FakeHost, clusters: VirtualClusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader = self.reader_of(one(), clusters)
        bob = ADA.model_copy(update={"email": "bob@example.com"})
        first, second = await reader.read("demo", ADA), await reader.read("demo", bob)
        assert host.reads == 1
        assert "https://v.example" in second
        assert first.replace(ADA.email, bob.email) == second
        monkeypatch.setattr(kubeconfig, "KEPT_SECONDS", 0.0)
        reader = self.reader_of(one(), clusters)
        for _ in range(2):
            await reader.read("demo", ADA)
        assert host.reads == 3

    async def test_are_of_one_life_and_not_kept_when_there_is_none(
        self, host: FakeHost, clusters: VirtualClusters
    ) -> None:
        reader = self.reader_of(one(), clusters)
        host.has_secret = False
        with pytest.raises(NotUsable):
            await reader.read("demo", ADA)
        host.has_secret = True
        await reader.read("demo", ADA)
        other = one().model_copy(update={"mark": OwnerMark.for_request("k3x9q0vb", "demo", "another")})
        reader._access = cast(EnvironmentAccess, FakeAccess(other))
        with pytest.raises(NotUsable, match="is not on the host"):
            await reader.read("demo", ADA)


REQUEST = request_of(ADA.email)


class TestIssuer:
    async def test_asks_for_access_once_when_the_rights_are_there(
        self, host: FakeHost, clusters: VirtualClusters
    ) -> None:
        access = FakeAccess(one())
        issued = await issuer_of(access, clusters).issue("demo", ADA, REQUEST, None)
        assert (issued.person, issued.life) == (ADA.email, one().mark.life)
        assert host.virtual.done == [f"ensure {ADA.email}", "issue"]
        assert access.calls == 1

    @pytest.mark.parametrize("failure", [NotAllowed("no longer"), asyncio.CancelledError()])
    async def test_gives_no_rights_to_a_person_who_is_removed_meanwhile(
        self, host: FakeHost, clusters: VirtualClusters, failure: BaseException
    ) -> None:
        """Ensures that a removal between the check and the new rights, or a caller who leaves, ends them."""
        host.virtual.has_rights = False
        access = FakeAccess(one(), failure)
        with pytest.raises(type(failure)):
            await issuer_of(access, clusters).issue("demo", ADA, REQUEST, None)
        assert host.virtual.done == [f"ensure {ADA.email}", f"remove {ADA.email}"]

    @pytest.mark.parametrize("failure", [Unreachable("v", "o", "d"), NotFound("v", "o", "d")])
    async def test_takes_rights_back_again_when_it_fails(
        self, host: FakeHost, clusters: VirtualClusters, failure: ClientError
    ) -> None:
        """Ensures that the person gets the reason for the refusal, and keeps no rights."""
        async with clusters.connect(one()):
            host.virtual.has_rights = False
        host.virtual.removal_failures = [failure]
        access = FakeAccess(one(), NotAllowed("no longer"))
        with pytest.raises(NotAllowed):
            await issuer_of(access, clusters).issue("demo", ADA, REQUEST, None)
        assert host.virtual.done == [f"ensure {ADA.email}", f"remove {ADA.email}", f"remove {ADA.email}"]

    async def test_goes_on_taking_rights_back_without_the_caller(
        self, host: FakeHost, clusters: VirtualClusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.virtual.removal_failures = [Unreachable("v", "o", "d")] * 5
        _, one_issuer = await refuse(host, clusters, monkeypatch, 0.0, 0.001)
        async with soon("the rights are not taken back"):
            await asyncio.gather(*one_issuer._taking_back.values())
        assert host.virtual.done == [f"ensure {ADA.email}", *[f"remove {ADA.email}"] * 6]

    async def test_stops_taking_rights_back_from_a_person_who_is_allowed_in_again(
        self, host: FakeHost, clusters: VirtualClusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        access, one_issuer = await refuse(host, clusters, monkeypatch, 3600.0)
        access.allow()
        await one_issuer.issue("demo", ADA, REQUEST, None)
        assert not one_issuer._taking_back
        assert host.virtual.done == [f"ensure {ADA.email}", f"ensure {ADA.email}", "issue"]

    async def test_goes_on_taking_rights_back_while_a_view_of_a_moment_ago_has_the_person(
        self, host: FakeHost, clusters: VirtualClusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, one_issuer = await refuse(host, clusters, monkeypatch, 3600.0)
        with pytest.raises(NotAllowed):
            await one_issuer.issue("demo", ADA, REQUEST, None)
        assert len(one_issuer._taking_back) == 1
        assert host.virtual.done == [f"ensure {ADA.email}"]
        await one_issuer.close()

    async def test_takes_no_rights_back_from_a_person_who_is_allowed_in_by_another_process(
        self, host: FakeHost, clusters: VirtualClusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        access, one_issuer = await refuse(host, clusters, monkeypatch, 0.001)
        access.allow()
        await asyncio.gather(*one_issuer._taking_back.values())
        assert host.virtual.done == [f"ensure {ADA.email}"]

    async def test_gives_up_what_goes_on_when_it_closes(
        self, host: FakeHost, clusters: VirtualClusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.virtual.removal_failures = [Unreachable("v", "o", "d")] * 100
        _, one_issuer = await refuse(host, clusters, monkeypatch, *issuer._PAUSES_SECONDS)
        async with soon("it waits for the vCluster"):
            await one_issuer.close()
        assert not one_issuer._taking_back

    @pytest.mark.parametrize(
        "failure",
        [Unreachable("v", "o", "d", ambiguous=True), ServerFailed("v", "o", "d", status=504, ambiguous=True)],
    )
    async def test_leaves_no_rights_when_the_answer_to_new_rights_is_lost(
        self, host: FakeHost, clusters: VirtualClusters, failure: ClientError
    ) -> None:
        host.virtual.failures = [failure]
        access = FakeAccess(one(), NotAllowed("no longer"))
        with pytest.raises(NotAllowed):
            await issuer_of(access, clusters).issue("demo", ADA, REQUEST, None)
        assert host.virtual.done == ["remove ada@example.com"]

    async def test_uses_the_maximum_of_the_template(self, host: FakeHost, clusters: VirtualClusters) -> None:
        short = Credentials(maximum=timedelta(minutes=15))
        template = one().template.model_copy(update={"credentials": short})
        access = FakeAccess(one().model_copy(update={"template": template}))
        issued = await issuer_of(access, clusters).issue("demo", ADA, REQUEST, None)
        assert host.virtual.validity == timedelta(minutes=15)
        assert 880 < issued.valid_seconds <= 900

    async def test_hands_on_no_certificate_that_is_valid_for_longer(
        self, host: FakeHost, clusters: VirtualClusters
    ) -> None:
        host.virtual.extra = timedelta(days=365)
        with pytest.raises(MalformedAnswer):
            await issuer_of(FakeAccess(one()), clusters).issue("demo", ADA, REQUEST, None)

    @pytest.mark.parametrize("failure", [Denied("v", "o", "d"), Unreachable("v", "o", "d")])
    async def test_tries_again_if_an_old_connection_fails(
        self, host: FakeHost, clusters: VirtualClusters, failure: ClientError
    ) -> None:
        issuing = issuer_of(FakeAccess(one()), clusters)
        host.virtual.failures = [failure]
        with pytest.raises(type(failure)):
            await issuing.issue("demo", ADA, REQUEST, None)
        assert len(host.opened) == 1, "a new connection that fails is not worth another"
        await issuing.issue("demo", ADA, REQUEST, None)
        host.virtual.failures = [failure]
        await issuing.issue("demo", ADA, REQUEST, None)
        assert len(host.opened) == 3
        host.virtual.failures = [failure, failure]
        with pytest.raises(type(failure)):
            await issuing.issue("demo", ADA, REQUEST, None)
