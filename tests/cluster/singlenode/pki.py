"""The certificates and kubeconfigs of one run, made with openssl. Keys never leave the run folder."""

import json
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from .layout import API_PORT, NODE_NAME, Layout, Network

DAYS = "30"
"""A cluster lives for hours; a forgotten one stops letting anyone in after a month."""

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
AUTHORITY = [
    *("-addext", "basicConstraints=critical,CA:TRUE"),
    *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
    *("-addext", "subjectKeyIdentifier=hash"),
]


@dataclass(frozen=True)
class Identity:
    """A certificate: its file, the user and group Kubernetes takes from its subject, the names it serves."""

    file: str
    user: str
    group: str = ""
    names: str = ""
    authority: str = "ca"


def identities(network: Network) -> list[Identity]:
    node, service = f"IP:{network.node}", f"IP:{network.api_service}"
    kubernetes = ",".join(
        f"DNS:kubernetes{tail}" for tail in ("", ".default", ".default.svc", ".default.svc.cluster.local")
    )
    return [
        Identity(
            "apiserver", "kube-apiserver", names=f"{node},{service},IP:127.0.0.1,DNS:localhost,{kubernetes}"
        ),
        Identity("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
        Identity("front-proxy", "front-proxy-client", authority="front-proxy-ca"),
        Identity("kubelet-serving", f"system:node:{NODE_NAME}", "system:nodes", f"{node},DNS:{NODE_NAME}"),
        *USERS.values(),
    ]


USERS = {
    "admin": Identity("admin", "moorage-cluster-admin", "system:masters"),
    "addons": Identity("addons", "moorage-cluster-addons", "system:masters"),
    "kube-controller-manager": Identity("kube-controller-manager", "system:kube-controller-manager"),
    "kube-scheduler": Identity("kube-scheduler", "system:kube-scheduler"),
    "kube-proxy": Identity("kube-proxy", "system:kube-proxy"),
    "kubelet": Identity("kubelet", f"system:node:{NODE_NAME}", "system:nodes"),
}
"""Who speaks to the API server, each with a kubeconfig of the same name."""


def write(layout: Layout, network: Network) -> None:
    folder = layout.run / "pki"
    folder.mkdir(mode=0o700)
    # Ours alone decides what goes in: the system's file would mark every certificate as an authority.
    (folder / "openssl.cnf").write_text("[req]\ndistinguished_name = subject\n[subject]\n")
    for authority in ("ca", "front-proxy-ca"):
        _openssl(folder, authority, authority, AUTHORITY)
    for identity in identities(network):
        subject = f"/O={identity.group}/CN={identity.user}" if identity.group else f"/CN={identity.user}"
        signer = ["-CA", f"{identity.authority}.crt", "-CAkey", f"{identity.authority}.key"]
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if identity.names:
            extensions.append(f"subjectAltName={identity.names}")
        _openssl(folder, identity.file, subject, [*signer, *(a for e in extensions for a in ("-addext", e))])
    _run(
        folder,
        ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "service-account.key"],
    )
    _run(folder, ["pkey", "-in", "service-account.key", "-pubout", "-out", "service-account.pub"])

    for name, identity in USERS.items():
        target = layout.kubeconfig if name == "admin" else folder / f"{name}.kubeconfig"
        target.write_text(_kubeconfig(folder, identity, network))
        target.chmod(0o600)


def _openssl(folder: Path, file: str, subject: str, options: list[str]) -> None:
    subject = subject if subject.startswith("/") else f"/CN=moorage-cluster-{subject}"
    files = ["-keyout", f"{file}.key", "-out", f"{file}.crt"]
    _run(
        folder,
        ["req", "-x509", "-config", "openssl.cnf", *KEY, "-days", DAYS, "-subj", subject, *files, *options],
    )


def _run(folder: Path, arguments: list[str]) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _kubeconfig(folder: Path, identity: Identity, network: Network) -> str:
    """JSON is YAML. Everything is inside, so that the file can be copied anywhere on this machine."""

    def data(name: str) -> str:
        return b64encode((folder / name).read_bytes()).decode()

    server = f"https://{network.node}:{API_PORT}"
    user = {
        "client-certificate-data": data(f"{identity.file}.crt"),
        "client-key-data": data(f"{identity.file}.key"),
    }
    name = "moorage-cluster"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": name, "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}
            ],
            "users": [{"name": identity.user, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": identity.user}}],
            "current-context": name,
        },
        indent=1,
    )
