"""Calls to a simulated virtual API server as its administrator, or with a client certificate."""

import base64
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clients.host.kubeconfig import Kubeconfig
from tests.support.deadline import HANG

CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(
    key: ec.EllipticCurvePrivateKey, name: str, groups: Sequence[str] = (), **spec: Any
) -> dict[str, Any]:
    """A CertificateSigningRequest `request` for this user; `spec` replaces some of its fields."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    )
    given = {
        "request": base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": CLIENT_SIGNER,
        "usages": ["client auth"],
        "expirationSeconds": 600,
        **spec,
    }
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "request"},
        "spec": {key: value for key, value in given.items() if value is not None},
    }


def approved(document: Mapping[str, Any], kind: str = "Approved") -> dict[str, Any]:
    """The request with the condition that decides it."""
    condition = {"type": kind, "status": "True", "reason": "Test", "message": "as a test wants it"}
    return {**document, "status": {"conditions": [condition]}}


def binding(name: str, *users: str, role: str = "cluster-admin", **labels: str) -> dict[str, Any]:
    """A ClusterRoleBinding of a ClusterRole to these users."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": labels},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users
        ],
    }


class VirtualCaller:
    """A caller of one virtual API server. Without a certificate it is the administrator."""

    def __init__(
        self, kubeconfig: Kubeconfig, authority: Path, folder: Path, pair: tuple[bytes, bytes] | None = None
    ) -> None:
        self.kubeconfig = kubeconfig
        self.authority = authority
        self.folder = folder
        self.pair = pair
        trust = ssl.create_default_context(cafile=authority)
        headers = {}
        if pair:
            file = folder / "pair.pem"
            file.touch(mode=0o600)
            file.write_bytes(b"".join(pair))
            trust.load_cert_chain(file)
        else:
            headers = {"Authorization": f"Bearer {kubeconfig.current()[1]['token']}"}
        self._http = httpx.Client(
            base_url=kubeconfig.server, verify=trust, headers=headers, trust_env=False, timeout=HANG
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self._http.request(method, path, json=body, headers=headers)

    def get(self, path: str) -> httpx.Response:
        return self.call("GET", path)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.call("POST", path, body)

    def put(self, path: str, body: Any) -> httpx.Response:
        return self.call("PUT", path, body)

    def delete(self, path: str) -> httpx.Response:
        return self.call("DELETE", path)

    def as_user(self, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> "VirtualCaller":
        """The same API server, called with this certificate."""
        return VirtualCaller(self.kubeconfig, self.authority, self.folder, (certificate, pem_of(key)))

    def certificate_for(
        self, key: ec.EllipticCurvePrivateKey, name: str, groups: Sequence[str] = (), **spec: Any
    ) -> bytes:
        """A client certificate for the user: requested, approved, and read when it is signed."""
        request = signing_request(key, name, groups, **spec)
        request["metadata"] = {"generateName": "person-"}
        created = self.post(CSR, request).raise_for_status().json()
        path = f"{CSR}/{created['metadata']['name']}"
        self.put(f"{path}/approval", approved(created)).raise_for_status()
        return self.signed(path)

    def signed(self, path: str) -> bytes:
        """The certificate of the request at the path, when the signer has come to it."""

        deadline = time.monotonic() + HANG
        while time.monotonic() < deadline:
            read = self.get(path).raise_for_status().json()
            if certificate := read["status"].get("certificate"):
                return base64.b64decode(certificate)
            time.sleep(0.02)
        raise AssertionError(f"{path} was not signed: {read['status']}")

    def user(self, name: str, groups: Sequence[str] = (), hours: float = 1) -> "VirtualCaller":
        """A caller with a certificate of this name and these groups."""
        key = new_key()
        seconds = int(timedelta(hours=hours).total_seconds())
        return self.as_user(key, self.certificate_for(key, name, groups, expirationSeconds=seconds))
