"""Access inside a simulated vCluster: client certificates from signing requests, and rights by bindings.

The expectations come from the reference of Kubernetes: certificates.k8s.io/v1, rbac.authorization.k8s.io/v1,
and authentication with X.509 client certificates.
"""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clients.host.kubeconfig import Kubeconfig
from contracts.templates.supported_charts import NEWEST_TESTED
from embedded.faults import CALLS_PATH, Fault, FaultKind
from tests.support.simulated_host import RunningHost, running_host
from tests.support.stand_ins import TLS, control, set_faults
from tests.support.virtual_access import (
    CSR,
    RBAC,
    WHOAMI,
    VirtualCaller,
    approved,
    binding,
    new_key,
    pem_of,
    signing_request,
)

BINDINGS = f"{RBAC}/clusterrolebindings"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    with running_host(tmp_path_factory.mktemp("host")) as running:
        yield running


@pytest.fixture
def admin(running: RunningHost, tmp_path: Path) -> Iterator[VirtualCaller]:
    with VirtualCaller(new_vcluster(running), running.folder / "ca.pem", tmp_path) as admin:
        yield admin


def new_vcluster(running: RunningHost, namespace: str = "") -> Kubeconfig:
    """The kubeconfig of a new vCluster."""
    namespace = namespace or f"moor-{uuid4().hex[:10]}"
    headers = {"Authorization": "Bearer a-token-of-the-host"}
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False, verify=TLS) as http:
        http.post("/namespaces", json={"name": namespace})
        release = f"/namespaces/{namespace}/releases/demo"
        chart = {"name": "vcluster", "version": NEWEST_TESTED}
        http.post(release, json={"chart": chart}).raise_for_status()
        config = http.get(f"{release}/kubeconfig").raise_for_status().json()["config"]
    return Kubeconfig(config, secret_name="vc-demo")


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}


def status_of(answer: httpx.Response) -> tuple[int, str]:
    """The code and the reason of an error, which is a Status."""
    body = answer.json()
    assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", answer.status_code)
    return answer.status_code, body["reason"]


class TestSigningRequest:
    def test_is_created_with_who_asked_and_is_not_signed_before_an_approval(
        self, admin: VirtualCaller
    ) -> None:
        created = admin.post(CSR, signing_request(new_key(), "alice@example.com"))
        assert created.status_code == 201
        spec = created.json()["spec"]
        assert spec["username"] == "kubernetes-super-admin"
        assert spec["groups"] == ["system:masters", "system:authenticated"]
        assert created.json()["status"] == {}
        assert admin.get(f"{CSR}/request").json()["status"] == {}

    def test_is_signed_with_its_subject_after_an_approval(self, admin: VirtualCaller) -> None:
        key = new_key()
        created = admin.post(CSR, signing_request(key, "alice@example.com", ["team-a", "team-b"])).json()
        answer = admin.put(f"{CSR}/request/approval", approved(created))
        assert answer.status_code == 200
        [condition] = answer.json()["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("Approved", "True")
        assert condition["lastUpdateTime"]
        assert condition["lastTransitionTime"]
        assert "certificate" not in answer.json()["status"], "the API server does not sign, a controller does"
        before = datetime.now(UTC)
        certificate = x509.load_pem_x509_certificate(admin.signed(f"{CSR}/request"))
        subject = certificate.subject
        assert [each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [
            "alice@example.com"
        ]
        groups = [each.value for each in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        assert groups == ["team-a", "team-b"]
        assert certificate.public_key() == key.public_key()
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        left = certificate.not_valid_after_utc - before
        assert timedelta(seconds=595) < left <= timedelta(seconds=605), "expirationSeconds was 600"
        assert certificate.not_valid_before_utc < before, "clocks of clients differ"

    @pytest.mark.parametrize(
        ("spec", "code", "words"),
        [
            ({"expirationSeconds": 599}, 422, "may not specify a duration less than 600 seconds"),
            ({"expirationSeconds": 0}, 422, "may not specify a duration less than 600 seconds"),
            ({"usages": None}, 422, "spec.usages: Required value"),
            ({"usages": ["client auth", "client auth"]}, 422, "Duplicate value"),
            ({"usages": ["flying"]}, 422, 'Unsupported value: "flying"'),
            ({"signerName": None}, 422, "spec.signerName: Required value"),
            ({"signerName": "kubernetes.io/legacy-unknown"}, 422, "legacy signerName"),
            ({"request": None}, 422, "spec.request: Required value"),
            ({"request": "!"}, 400, "illegal base64"),
            ({"request": base64.b64encode(b"no PEM").decode()}, 422, "PEM block type"),
        ],
    )
    def test_that_breaks_a_rule_is_refused(
        self, admin: VirtualCaller, spec: dict[str, Any], code: int, words: str
    ) -> None:
        answer = admin.post(CSR, signing_request(new_key(), "alice@example.com", **spec))
        assert status_of(answer) == (code, "Invalid" if code == 422 else "BadRequest")
        assert words in answer.json()["message"]

    def test_of_an_administrator_is_refused(self, admin: VirtualCaller) -> None:
        answer = admin.post(CSR, signing_request(new_key(), "alice@example.com", ["system:masters"]))
        assert status_of(answer) == (403, "Forbidden")
        assert "system:masters group is not allowed" in answer.json()["message"]

    def test_without_expiration_is_valid_for_a_year(self, admin: VirtualCaller) -> None:
        signed = admin.certificate_for(new_key(), "alice@example.com", expirationSeconds=None)
        certificate = x509.load_pem_x509_certificate(signed)
        assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=365)

    def test_keeps_its_decision(self, admin: VirtualCaller) -> None:
        created = admin.post(CSR, signing_request(new_key(), "alice@example.com")).json()
        path = f"{CSR}/request/approval"
        denied = admin.put(path, approved(created, "Denied")).json()
        both = {"conditions": denied["status"]["conditions"] + approved(created)["status"]["conditions"]}
        assert status_of(admin.put(path, {**denied, "status": both})) == (422, "Invalid")
        assert status_of(admin.put(path, {**denied, "status": {}})) == (422, "Invalid")
        assert status_of(admin.put(path, approved(denied))) == (422, "Invalid")
        assert "certificate" not in admin.get(f"{CSR}/request").json()["status"]

    def test_decision_needs_the_status_true_and_the_latest_version(self, admin: VirtualCaller) -> None:
        created = admin.post(CSR, signing_request(new_key(), "alice@example.com")).json()
        path = f"{CSR}/request/approval"
        unsure = {"conditions": [{"type": "Approved", "status": "Unknown"}]}
        assert status_of(admin.put(path, {**created, "status": unsure})) == (422, "Invalid")
        metadata = {**created["metadata"], "labels": {"a": "b"}}
        admin.put(f"{CSR}/request", {**created, "metadata": metadata}).raise_for_status()
        assert status_of(admin.put(path, approved(created))) == (409, "Conflict")

    def test_with_other_usages_is_approved_and_fails(self, admin: VirtualCaller) -> None:
        request = signing_request(new_key(), "alice@example.com", usages=["server auth"])
        created = admin.post(CSR, request).json()
        admin.put(f"{CSR}/request/approval", approved(created)).raise_for_status()
        types: set[str] = set()
        while "Failed" not in types:
            status = admin.get(f"{CSR}/request").json()["status"]
            types = {each["type"] for each in status["conditions"]}
        assert "certificate" not in status

    def test_is_not_signed_for_other_signers(self, admin: VirtualCaller) -> None:
        request = signing_request(new_key(), "alice@example.com", signerName="example.com/mine")
        created = admin.post(CSR, request).json()
        admin.put(f"{CSR}/request/approval", approved(created)).raise_for_status()
        # A request that is approved later is signed, so the signer has come past this one.
        admin.certificate_for(new_key(), "bob@example.com")
        assert "certificate" not in admin.get(f"{CSR}/request").json()["status"]

    def test_of_a_name_is_made_once_found_by_label_and_deleted(self, admin: VirtualCaller) -> None:
        request = signing_request(new_key(), "alice@example.com")
        labelled = {**request, "metadata": {"name": "labelled", "labels": {"moorage.dev/name": "demo"}}}
        for each in (request, labelled):
            assert admin.post(CSR, each).status_code == 201
            assert status_of(admin.post(CSR, each)) == (409, "AlreadyExists")
        found = admin.get(f"{CSR}?labelSelector=moorage.dev/name%3Ddemo").json()["items"]
        assert [each["metadata"]["name"] for each in found] == ["labelled"]
        by_signer = admin.get(f"{CSR}?fieldSelector=spec.signerName%3Dexample.com/other").json()["items"]
        assert by_signer == []
        assert admin.delete(f"{CSR}/labelled").json()["status"] == "Success"
        assert status_of(admin.get(f"{CSR}/labelled")) == (404, "NotFound")
        assert status_of(admin.delete(f"{CSR}/labelled")) == (404, "NotFound")

    def test_spec_does_not_change(self, admin: VirtualCaller) -> None:
        created = admin.post(CSR, signing_request(new_key(), "alice@example.com")).json()
        changed = {**created, "spec": {**created["spec"], "expirationSeconds": 6000, "username": "bob"}}
        assert admin.put(f"{CSR}/request", changed).json()["spec"] == created["spec"]

    def test_is_approved_only_with_the_right_on_its_signer(self, admin: VirtualCaller) -> None:
        rule = {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"],
            "verbs": ["create", "get", "update"],
        }
        role: dict[str, Any] = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "approver"},
            "rules": [rule],
        }
        admin.post(f"{RBAC}/clusterroles", role).raise_for_status()
        admin.post(BINDINGS, binding("approver", "robot", role="approver")).raise_for_status()
        created = admin.post(CSR, signing_request(new_key(), "alice@example.com")).json()
        with admin.user("robot") as robot:
            answer = robot.put(f"{CSR}/request/approval", approved(created))
            assert status_of(answer) == (403, "Forbidden")
            assert 'signerName "kubernetes.io/kube-apiserver-client"' in answer.json()["message"]
            signer = {
                "apiGroups": ["certificates.k8s.io"],
                "resources": ["signers"],
                "resourceNames": ["kubernetes.io/kube-apiserver-client"],
                "verbs": ["approve"],
            }
            wider = {**role, "rules": [rule, signer]}
            admin.put(f"{RBAC}/clusterroles/approver", wider).raise_for_status()
            assert robot.put(f"{CSR}/request/approval", approved(created)).status_code == 200


class TestCertificate:
    def test_names_the_user_and_the_groups(self, admin: VirtualCaller) -> None:
        with admin.user("alice@example.com", ["team-a"]) as alice:
            answer = alice.post(WHOAMI, {})
            assert answer.status_code == 201
            info = answer.json()["status"]["userInfo"]
        assert (info["username"], info["groups"]) == ("alice@example.com", ["team-a", "system:authenticated"])
        [credential] = info["extra"]["authentication.kubernetes.io/credential-id"]
        assert credential.startswith("X509SHA256=")

    def test_of_another_vcluster_is_refused(
        self, running: RunningHost, admin: VirtualCaller, tmp_path: Path
    ) -> None:
        key = new_key()
        certificate = admin.certificate_for(key, "alice@example.com")
        pair = (certificate, pem_of(key))
        with VirtualCaller(new_vcluster(running), running.folder / "ca.pem", tmp_path, pair) as stranger:
            assert status_of(stranger.get("/version")) == (401, "Unauthorized")

    def test_of_another_authority_does_not_get_in(self, admin: VirtualCaller) -> None:
        key = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice@example.com")])
        now = datetime.now(UTC)
        forged = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(x509.load_pem_x509_certificate(admin.certificate_for(new_key(), "bob")).issuer)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )
        pem = forged.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        # Refused in the handshake; a real API server answers 401.
        with admin.as_user(key, pem) as forger, pytest.raises(httpx.TransportError):
            forger.get("/version")

    def test_is_refused_when_it_has_expired_also_on_an_open_connection(
        self, running: RunningHost, admin: VirtualCaller
    ) -> None:
        control(running.url, "PUT", "/-/signing", {"seconds": 2})
        try:
            with admin.user("alice@example.com") as alice:
                answer = alice.get("/version")
                while answer.status_code == 200:
                    time.sleep(0.1)
                    answer = alice.get("/version")
                assert status_of(answer) == (401, "Unauthorized")
                with VirtualCaller(admin.kubeconfig, admin.authority, admin.folder, alice.pair) as again:
                    assert status_of(again.get("/version")) == (401, "Unauthorized")
        finally:
            control(running.url, "DELETE", "/-/signing")

    def test_ends_with_the_volume_of_its_vcluster(self, running: RunningHost, tmp_path: Path) -> None:
        namespace = "moor-reborn"
        authority = running.folder / "ca.pem"
        with VirtualCaller(new_vcluster(running, namespace), authority, tmp_path) as first:
            key = new_key()
            pair = (first.certificate_for(key, "alice@example.com"), pem_of(key))
        headers = {"Authorization": "Bearer a-token-of-the-host"}
        with httpx.Client(base_url=running.url, headers=headers, trust_env=False, verify=TLS) as http:
            http.delete(f"/namespaces/{namespace}/releases/demo").raise_for_status()
            with VirtualCaller(first.kubeconfig, authority, tmp_path, pair) as alice:
                assert status_of(alice.get("/version")) == (401, "Unauthorized")
            http.delete(f"/namespaces/{namespace}/volumes/data-demo-0").raise_for_status()
        with VirtualCaller(new_vcluster(running, namespace), authority, tmp_path, pair) as alice:
            assert status_of(alice.get("/version")) == (401, "Unauthorized")

    @pytest.mark.slow
    def test_works_after_a_restart(self, tmp_path: Path) -> None:
        key = new_key()
        with running_host(tmp_path) as first:
            kubeconfig = new_vcluster(first)
            with VirtualCaller(kubeconfig, first.folder / "ca.pem", tmp_path) as admin:
                pair = (admin.certificate_for(key, "alice@example.com"), pem_of(key))
        with (
            running_host(tmp_path) as second,
            VirtualCaller(kubeconfig, second.folder / "ca.pem", tmp_path, pair) as alice,
        ):
            assert alice.get("/version").status_code == 200


class TestRights:
    def test_are_none_without_a_binding_but_discovery(self, admin: VirtualCaller) -> None:
        with admin.user("alice@example.com") as alice:
            for path in ("/version", "/readyz", "/api", "/apis", "/api/v1", RBAC):
                assert alice.get(path).status_code == 200
            for method, path, body in [
                ("GET", "/api/v1/namespaces", None),
                ("GET", f"{CONFIG_MAPS}/any", None),
                ("POST", CONFIG_MAPS, config_map("mine")),
                ("DELETE", f"{CONFIG_MAPS}/any", None),
                ("POST", CSR, signing_request(new_key(), "bob@example.com")),
                ("GET", BINDINGS, None),
                ("POST", BINDINGS, binding("mine", "alice@example.com")),
            ]:
                assert status_of(alice.call(method, path, body)) == (403, "Forbidden"), f"{method} {path}"
            message = alice.get(BINDINGS).json()["message"]
        assert message == (
            'clusterrolebindings.rbac.authorization.k8s.io is forbidden: User "alice@example.com" cannot list'
            ' resource "clusterrolebindings" in API group "rbac.authorization.k8s.io" at the cluster scope'
        )

    def test_come_and_go_at_once_with_a_binding(self, admin: VirtualCaller) -> None:
        with admin.user("alice@example.com") as alice:
            assert alice.post(CONFIG_MAPS, config_map("mine")).status_code == 403
            admin.post(BINDINGS, binding("alice", "alice@example.com")).raise_for_status()
            assert alice.post(CONFIG_MAPS, config_map("mine")).status_code == 201
            admin.delete(f"{BINDINGS}/alice").raise_for_status()
            assert alice.get(f"{CONFIG_MAPS}/mine").status_code == 403
            # The credential still says who it is.
            assert alice.post(WHOAMI, {}).status_code == 201

    def test_of_a_group_hold_for_its_members(self, admin: VirtualCaller) -> None:
        group = binding("team")
        group["subjects"] = [{"kind": "Group", "name": "team-a"}]
        admin.post(BINDINGS, group).raise_for_status()
        with admin.user("alice", ["team-a"]) as alice, admin.user("bob", ["team-b"]) as bob:
            assert alice.get("/api/v1/nodes").status_code == 200
            assert bob.get("/api/v1/nodes").status_code == 403

    @pytest.mark.parametrize(
        ("role", "reads", "writes", "reads_secrets", "binds"),
        [
            ("view", True, False, False, False),
            ("edit", True, True, True, False),
            ("admin", True, True, True, True),
            ("cluster-admin", True, True, True, True),
        ],
    )
    def test_of_the_default_roles_hold_in_the_namespace_of_a_role_binding(
        self, admin: VirtualCaller, role: str, reads: bool, writes: bool, reads_secrets: bool, binds: bool
    ) -> None:
        inside = f"{RBAC}/namespaces/default/rolebindings"
        bound = {**binding("alice", "alice", role=role), "kind": "RoleBinding"}
        admin.post(inside, bound).raise_for_status()
        with admin.user("alice") as alice:
            assert (alice.get(CONFIG_MAPS).status_code == 200) == reads
            assert (alice.post(CONFIG_MAPS, config_map("a")).status_code == 201) == writes
            assert (alice.get("/api/v1/namespaces/default/secrets").status_code == 200) == reads_secrets
            other = {**binding("bob", "bob", role="view"), "kind": "RoleBinding"}
            assert (alice.post(inside, other).status_code == 201) == binds
            assert alice.get("/api/v1/namespaces/default").status_code == 200
            assert alice.get("/api/v1/namespaces/kube-system/configmaps").status_code == 403
            assert alice.get("/api/v1/configmaps").status_code == 403

    def test_cannot_be_given_by_who_does_not_have_them(self, admin: VirtualCaller) -> None:
        inside = f"{RBAC}/namespaces/default/rolebindings"
        admin.post(inside, {**binding("alice", "alice", role="admin"), "kind": "RoleBinding"})
        with admin.user("alice") as alice:
            answer = alice.post(inside, {**binding("more", "alice"), "kind": "RoleBinding"})
            assert status_of(answer) == (403, "Forbidden")
            assert "RBAC permissions not currently held" in answer.json()["message"]
            missing = {**binding("more", "alice", role="no-such-role"), "kind": "RoleBinding"}
            assert status_of(alice.post(inside, missing)) == (404, "NotFound")

    def test_are_shown_to_the_asking_user(self, admin: VirtualCaller) -> None:
        admin.post(BINDINGS, binding("alice", "alice", role="view")).raise_for_status()
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

        def may(caller: VirtualCaller, verb: str) -> bool:
            asked = {"verb": verb, "resource": "configmaps", "namespace": "default"}
            answer = caller.post(path, {"spec": {"resourceAttributes": asked}})
            allowed: bool = answer.raise_for_status().json()["status"]["allowed"]
            return allowed

        with admin.user("alice") as alice:
            assert [may(alice, verb) for verb in ("get", "create")] == [True, False]
        assert may(admin, "create")


class TestBinding:
    def test_is_made_once_changed_listed_by_label_and_deleted(self, admin: VirtualCaller) -> None:
        given = binding("alice", "alice", **{"moorage.dev/name": "demo"})
        created = admin.post(BINDINGS, given)
        assert created.status_code == 201
        for again in (given, binding("alice", "alice", role="view")):
            assert status_of(admin.post(BINDINGS, again)) == (409, "AlreadyExists")
        admin.post(BINDINGS, binding("other", "bob")).raise_for_status()
        for selector in ("moorage.dev/name=demo", "moorage.dev/name in (demo, x)", "moorage.dev/name"):
            found = admin.call("GET", f"{BINDINGS}?{httpx.QueryParams(labelSelector=selector)}").json()
            assert [each["metadata"]["name"] for each in found["items"]] == ["alice"], selector
        changed = {**created.json(), "subjects": binding("alice", "alice", "bob")["subjects"]}
        replaced = admin.put(f"{BINDINGS}/alice", changed)
        assert replaced.status_code == 200
        assert replaced.json()["metadata"]["uid"] == created.json()["metadata"]["uid"]
        assert status_of(admin.put(f"{BINDINGS}/alice", changed)) == (409, "Conflict"), "its version is old"
        assert admin.delete(f"{BINDINGS}/alice").status_code == 200
        assert status_of(admin.get(f"{BINDINGS}/alice")) == (404, "NotFound")
        assert status_of(admin.delete(f"{BINDINGS}/alice")) == (404, "NotFound")
        assert status_of(admin.put(f"{BINDINGS}/alice", given)) == (404, "NotFound")

    def test_keeps_its_role(self, admin: VirtualCaller) -> None:
        admin.post(BINDINGS, binding("alice", "alice")).raise_for_status()
        other = binding("alice", "alice", role="view")
        for answer in (
            admin.put(f"{BINDINGS}/alice", other),
            admin.call(
                "PATCH",
                f"{BINDINGS}/alice?fieldManager=test",
                other,
                **{"Content-Type": "application/apply-patch+yaml"},
            ),
            admin.call(
                "PATCH",
                f"{BINDINGS}/alice",
                {"roleRef": {"name": "view"}},
                **{"Content-Type": "application/merge-patch+json"},
            ),
        ):
            assert status_of(answer) == (422, "Invalid")
            assert "cannot change roleRef" in answer.json()["message"]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("roleRef", {"kind": "Role", "name": "a"}),
            ("roleRef", {"kind": "ClusterRole"}),
            ("roleRef", {"apiGroup": "example.com", "kind": "ClusterRole", "name": "view"}),
            ("roleRef", {}),
            ("subjects", [{"kind": "Person", "name": "alice"}]),
            ("subjects", [{"kind": "User"}]),
            ("subjects", [{"kind": "ServiceAccount", "name": "robot"}]),
            ("subjects", [{"kind": "User", "name": "alice", "apiGroup": "example.com"}]),
        ],
    )
    def test_that_breaks_a_rule_is_refused(self, admin: VirtualCaller, field: str, value: Any) -> None:
        assert status_of(admin.post(BINDINGS, {**binding("alice"), field: value})) == (422, "Invalid")

    def test_may_name_a_role_that_is_not_there_yet(self, admin: VirtualCaller) -> None:
        admin.post(BINDINGS, binding("alice", "alice", role="later")).raise_for_status()
        with admin.user("alice") as alice:
            assert alice.get("/api/v1/nodes").status_code == 403

    def test_is_changed_by_a_merge_patch(self, admin: VirtualCaller) -> None:
        admin.post(BINDINGS, binding("alice", "alice")).raise_for_status()
        patch = {"metadata": {"labels": {"a": "b"}}, "subjects": None}
        headers = {"Content-Type": "application/merge-patch+json"}
        patched = admin.call("PATCH", f"{BINDINGS}/alice", patch, **headers).json()
        assert (patched["metadata"]["labels"], patched["subjects"]) == ({"a": "b"}, [])

    @pytest.mark.parametrize(
        ("patch", "status"),
        [
            ({"metadata": {"name": "bob"}}, (400, "BadRequest")),
            ({"kind": "ClusterRole"}, (400, "BadRequest")),
            ({"metadata": None}, (422, "Invalid")),
        ],
    )
    def test_cannot_become_another_object_by_a_merge_patch(
        self, admin: VirtualCaller, patch: dict[str, Any], status: tuple[int, str]
    ) -> None:
        """Ensures that the right to patch one object changes no other."""
        for name in ("alice", "bob"):
            admin.post(BINDINGS, binding(name, name)).raise_for_status()
        headers = {"Content-Type": "application/merge-patch+json"}
        assert status_of(admin.call("PATCH", f"{BINDINGS}/alice", patch, **headers)) == status
        assert [each["name"] for each in admin.get(f"{BINDINGS}/bob").json()["subjects"]] == ["bob"]

    def test_collection_is_deleted_by_label(self, admin: VirtualCaller) -> None:
        for name in ("alice", "bob"):
            admin.post(BINDINGS, binding(name, name, of="demo")).raise_for_status()
        admin.post(BINDINGS, binding("carol", "carol")).raise_for_status()
        admin.delete(f"{BINDINGS}?labelSelector=of%3Ddemo").raise_for_status()
        left = [each["metadata"]["name"] for each in admin.get(BINDINGS).json()["items"]]
        assert "carol" in left
        assert not {"alice", "bob"} & set(left)

    def test_of_another_uid_is_not_deleted(self, admin: VirtualCaller) -> None:
        admin.post(BINDINGS, binding("alice", "alice")).raise_for_status()
        precondition = {"preconditions": {"uid": "another"}}
        assert status_of(admin.call("DELETE", f"{BINDINGS}/alice", precondition)) == (409, "Conflict")
        assert admin.get(f"{BINDINGS}/alice").status_code == 200


class TestFaults:
    @pytest.fixture(autouse=True)
    def _no_faults_left(self, running: RunningHost) -> Iterator[None]:
        yield
        set_faults(running.url)

    @pytest.mark.slow
    def test_lose_the_answer_to_a_create_or_an_approval(
        self, running: RunningHost, admin: VirtualCaller
    ) -> None:
        set_faults(
            running.url,
            Fault(operation="virtual.csr.create", kind=FaultKind.CUT_AFTER, times=1),
            Fault(operation="virtual.csr.approve", kind=FaultKind.STATUS_AFTER, status=504, times=1),
            Fault(operation="virtual.csr.delete", kind=FaultKind.STATUS, status=503, times=1),
            Fault(operation="virtual.create", kind=FaultKind.CUT_AFTER, times=1),
        )
        request = signing_request(new_key(), "alice@example.com")
        with pytest.raises(httpx.TransportError):
            admin.post(CSR, request)
        created = admin.get(f"{CSR}/request").json()
        assert admin.put(f"{CSR}/request/approval", approved(created)).status_code == 504
        assert admin.signed(f"{CSR}/request")
        assert admin.delete(f"{CSR}/request").status_code == 503
        assert admin.get(f"{CSR}/request").status_code == 200
        with pytest.raises(httpx.TransportError):
            admin.post(BINDINGS, binding("alice", "alice"))
        assert admin.get(f"{BINDINGS}/alice").status_code == 200
        calls = control(running.url, "GET", CALLS_PATH)
        assert calls["virtual.csr.approve"] >= 1


class TestPythonClient:
    """The official client for Python, which knows nothing of a simulation."""

    @pytest.mark.slow
    def test_gets_a_certificate_and_its_rights(self, admin: VirtualCaller, tmp_path: Path) -> None:
        client, config = kubernetes_library()
        key = new_key()
        with config.new_client_from_config_dict(yaml.safe_load(admin.kubeconfig.text())) as api:
            requests, bindings = client.CertificatesV1Api(api), client.RbacAuthorizationV1Api(api)
            requests.create_certificate_signing_request(signing_request(key, "alice@example.com", ["team-a"]))
            request = requests.read_certificate_signing_request("request")
            condition = client.V1CertificateSigningRequestCondition(
                type="Approved", status="True", reason="Test", message="as a test wants it"
            )
            request.status.conditions = [condition]
            requests.replace_certificate_signing_request_approval("request", request)
            certificate = admin.signed(f"{CSR}/request")
            bindings.create_cluster_role_binding(binding("alice", "alice@example.com", role="view"))
            with pytest.raises(client.ApiException) as taken:
                bindings.create_cluster_role_binding(binding("alice", "alice@example.com"))
            assert taken.value.status == 409

            document = yaml.safe_load(admin.kubeconfig.text())
            document["users"][0]["user"] = {
                "client-certificate-data": base64.b64encode(certificate).decode(),
                "client-key-data": base64.b64encode(pem_of(key)).decode(),
            }
            with config.new_client_from_config_dict(document) as as_alice:
                review = client.AuthenticationV1Api(as_alice).create_self_subject_review({})
                assert review.status.user_info.username == "alice@example.com"
                assert review.status.user_info.groups == ["team-a", "system:authenticated"]
                core = client.CoreV1Api(as_alice)
                assert [each.metadata.name for each in core.list_config_map_for_all_namespaces().items] == []
                bindings.delete_cluster_role_binding("alice")
                with pytest.raises(client.ApiException) as refused:
                    core.list_config_map_for_all_namespaces()
            assert (refused.value.status, refused.value.reason) == (403, "Forbidden")
            requests.delete_certificate_signing_request("request")
            assert requests.list_certificate_signing_request().items == []


def kubernetes_library() -> tuple[Any, Any]:
    """The library and its configuration, imported where they are used: it takes long."""
    from kubernetes import client, config

    return client, config


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not on the PATH")
class TestKubectl:
    def kubectl(self, folder: Path, config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        file = folder / "kubeconfig"
        file.write_text(config)
        command = ["kubectl", "--kubeconfig", str(file), "--cache-dir", str(folder / "cache"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    @pytest.mark.slow
    def test_uses_a_certificate_within_its_rights(self, admin: VirtualCaller, tmp_path: Path) -> None:
        key = new_key()
        created = admin.post(CSR, signing_request(key, "alice@example.com", ["team-a"])).json()
        as_admin = admin.kubeconfig.text()
        admin.put(f"{CSR}/request/approval", approved(created)).raise_for_status()
        certificate = admin.signed(f"{CSR}/request")
        document = yaml.safe_load(as_admin)
        document["users"][0]["user"] = {
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": base64.b64encode(pem_of(key)).decode(),
        }
        as_alice = yaml.safe_dump(document)
        whoami = self.kubectl(tmp_path, as_alice, "auth", "whoami")
        assert "alice@example.com" in whoami.stdout, whoami.stderr
        assert "[team-a system:authenticated]" in whoami.stdout
        refused = self.kubectl(tmp_path, as_alice, "get", "configmaps")
        assert refused.returncode != 0
        assert "Forbidden" in refused.stderr
        manifest = tmp_path / "binding.json"
        manifest.write_text(json.dumps(binding("alice", "alice@example.com", role="view")))
        made = self.kubectl(tmp_path, as_admin, "create", "--validate=false", "-f", str(manifest))
        assert made.returncode == 0, made.stderr
        assert self.kubectl(tmp_path, as_alice, "get", "configmaps").returncode == 0
        edit = ("create", "configmap", "mine", "--dry-run=client", "-o", "yaml")
        manifest.write_text(self.kubectl(tmp_path, as_alice, *edit).stdout)
        edited = self.kubectl(tmp_path, as_alice, "create", "--validate=false", "-f", str(manifest))
        assert "Forbidden" in edited.stderr
        assert self.kubectl(tmp_path, as_admin, "delete", "clusterrolebinding", "alice").returncode == 0
        assert self.kubectl(tmp_path, as_alice, "get", "configmaps").returncode != 0
