"""Shows on a running cluster what the end-to-end suite relies on: one line a fact, with its time."""

import json
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import lifecycle
from .layout import KUBERNETES_VERSION, NODE_NAME, REGISTRY, TOOLBOX, ClusterError, Layout, Network

NAMESPACE = "cluster-check"
VCLUSTER = "check"
VCLUSTER_NAMESPACE = "cluster-check-vcluster"
NODE_PORT = 32443
WITHIN = 120.0
"""Seconds for each thing waited for. Seen: at most 20; a machine busy with compiles may need more."""
BLOCKED_AFTER = "1s"
"""No answer for so long counts as blocked; an answer takes milliseconds."""
SERVER = "http://server:8080/"

Say = Callable[[str], None]
Manifest = dict[str, Any]


def image_values() -> Manifest:
    """The chart's values that make it use the images built here; all else may stay as it is."""
    return {
        "controlPlane": {
            "advanced": {"defaultImageRegistry": REGISTRY},
            "statefulSet": {"image": {"repository": "loft-sh/vcluster-oss"}},
        },
        "telemetry": {"enabled": False},
    }


def reachable_values(node: str) -> Manifest:
    """A vCluster whose exported kubeconfig works from the host exactly as written."""
    values = image_values()
    values["controlPlane"]["service"] = {"spec": {"type": "NodePort"}, "httpsNodePort": NODE_PORT}
    values["controlPlane"]["proxy"] = {"extraSANs": [node]}
    values["exportKubeConfig"] = {"server": f"https://{node}:{NODE_PORT}"}
    return values


def main(layout: Layout, say: Say) -> None:
    state = lifecycle.running(layout)
    check = Check(layout, Network.parse(state.network), say)
    # Before, not only after: what a failed check leaves is there to be looked at.
    check.clean()
    check.node()
    check.pods()
    check.policies()
    check.admission()
    check.vcluster()
    check.api_server_outage()
    check.clean()
    check.nothing_left()
    say("all of it works")


class Check:
    def __init__(self, layout: Layout, network: Network, say: Say) -> None:
        self.layout = layout
        self.network = network
        self.say = say

    # facts

    def node(self) -> None:
        with self.fact("the node is Ready"):
            self.require(lifecycle.node_ready(self.layout), f"{NODE_NAME} is not Ready")
            found = json.loads(self.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
            self.require(found == KUBERNETES_VERSION, f"the API server says {found}")

    def pods(self) -> None:
        with self.fact("pods run; a volume is made for a claim"):
            self.apply(
                namespace(NAMESPACE),
                claim("data"),
                server_pod("server", claim_name="data"),
                pod("client"),
                service("server"),
            )
            for name in ("server", "client"):
                self.kubectl(
                    "wait", "pod", name, "-n", NAMESPACE, "--for=condition=Ready", f"--timeout={WITHIN:.0f}s"
                )
        with self.fact("exec, logs and port-forward work"):
            said = self.kubectl("exec", "-n", NAMESPACE, "client", "--", "echo", "hello")
            self.require(said.strip() == "hello", f"exec answered {said!r}")
            self.until(
                lambda: "serving" in self.kubectl("logs", "-n", NAMESPACE, "server"), "no log of the server"
            )
            self.port_forward()
        with self.fact("DNS and services work from a pod"):
            self.until(
                lambda: self.reaches(f"http://server.{NAMESPACE}.svc.cluster.local:8080/"),
                "the service is not reached",
            )

    def port_forward(self) -> None:
        command = [str(self.layout.bin / "kubectl"), f"--kubeconfig={self.layout.kubeconfig}", "port-forward"]
        with subprocess.Popen(
            [*command, "-n", NAMESPACE, "pod/server", ":8080"], stdout=subprocess.PIPE, text=True
        ) as forward:
            assert forward.stdout
            line = forward.stdout.readline()
            forward.terminate()
        self.require("127.0.0.1:" in line, f"port-forward said {line!r}")

    def policies(self) -> None:
        with self.fact("a NetworkPolicy that denies is enforced, one that allows opens it again"):
            self.require(self.reaches(SERVER), "without a policy the server is not reached")
            self.apply(
                policy(
                    "deny", {"podSelector": {"matchLabels": {"name": "server"}}, "policyTypes": ["Ingress"]}
                )
            )
            self.until(lambda: not self.reaches(SERVER), "a denying policy is not enforced")
            allowed = {
                "from": [{"podSelector": {"matchLabels": {"name": "client"}}}],
                "ports": [{"port": "http"}],
            }
            self.apply(
                policy("allow", {"podSelector": {"matchLabels": {"name": "server"}}, "ingress": [allowed]})
            )
            self.until(lambda: self.reaches(SERVER), "an allowing policy does not open")
            self.kubectl("delete", "networkpolicy", "allow", "-n", NAMESPACE)
            self.until(lambda: not self.reaches(SERVER), "a policy taken away stays")
            self.kubectl("delete", "networkpolicy", "deny", "-n", NAMESPACE)
            self.until(lambda: self.reaches(SERVER), "the last policy taken away stays")
        with self.fact("a policy for what goes out covers the host's API server too"):
            api = f"tcp://{self.network.api_service}:443"
            self.require(self.reaches(api), "without a policy the API server is not reached")
            self.apply(
                policy(
                    "no-egress",
                    {"podSelector": {"matchLabels": {"name": "client"}}, "policyTypes": ["Egress"]},
                )
            )
            self.until(lambda: not self.reaches(api), "the API server is reached all the same")
            self.kubectl("delete", "networkpolicy", "no-egress", "-n", NAMESPACE)

    def admission(self) -> None:
        with self.fact("a ValidatingAdmissionPolicy refuses"):
            self.apply(*refuse_config_maps())
            forbidden = config_map("forbidden")

            def refused() -> bool:
                done = lifecycle.kubectl(
                    self.layout, "apply", "--dry-run=server", "-f", "-", text=json.dumps(forbidden)
                )
                return "no config maps here" in done.stderr

            self.until(refused, "it does not")

    def vcluster(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            values, kubeconfig = Path(folder) / "values.json", Path(folder) / "kubeconfig"
            values.write_text(json.dumps(reachable_values(self.network.node)))
            with self.fact(
                "the official CLI makes a vCluster from the packaged chart; its kubeconfig works as written"
            ):
                chart = [
                    "--local-chart-dir",
                    str(self.layout.chart),
                    "--connect=false",
                    "--add=false",
                    "-f",
                    str(values),
                ]
                self.vcluster_cli("create", VCLUSTER, "-n", VCLUSTER_NAMESPACE, *chart)
                self.until(lambda: self.export_kubeconfig(kubeconfig), f"no Secret vc-{VCLUSTER}")
                self.until(
                    lambda: self.inner(kubeconfig, "get", "--raw", "/readyz") == "ok",
                    "/readyz does not answer",
                )
            with self.fact("a pod inside it runs; exec and logs work"):
                self.until(
                    lambda: "default" in self.inner(kubeconfig, "get", "sa", "-o", "name"),
                    "no default account",
                )
                self.inner(
                    kubeconfig, "apply", "-f", "-", text=json.dumps(server_pod("inner", namespace="default"))
                )
                self.inner(
                    kubeconfig, "wait", "pod/inner", "--for=condition=Ready", f"--timeout={WITHIN:.0f}s"
                )
                said = self.inner(kubeconfig, "exec", "inner", "--", "echo", "hello")
                self.require(said.strip() == "hello", f"exec answered {said!r}")
                self.until(
                    lambda: "serving" in self.inner(kubeconfig, "logs", "inner"), "no log of the pod inside"
                )
            with self.fact("the official CLI deletes it"):
                self.vcluster_cli(
                    "delete", VCLUSTER, "-n", VCLUSTER_NAMESPACE, "--delete-namespace", "--wait"
                )
                self.until(lambda: not self.exists("namespace", VCLUSTER_NAMESPACE), "its namespace stays")

    def api_server_outage(self) -> None:
        with self.fact("the API server can be stopped and comes back"):
            lifecycle.pause(self.layout, "kube-apiserver", paused=True)
            self.require(not lifecycle.api_ready(self.layout), "it still answers")
            lifecycle.pause(self.layout, "kube-apiserver", paused=False)
            self.until(lambda: lifecycle.node_ready(self.layout), "the node is not Ready afterwards")

    def nothing_left(self) -> None:
        with self.fact("nothing is left"):
            self.until(lambda: not self.kubectl("get", "pv", "-o", "name"), "a volume stays")
            folders = self.layout.run / "volumes"
            self.until(lambda: not list(folders.iterdir()), "a volume's folder stays")

    # means

    def clean(self) -> None:
        for kind, name in (
            ("validatingadmissionpolicybinding", NAMESPACE),
            ("validatingadmissionpolicy", NAMESPACE),
            ("namespace", NAMESPACE),
            ("namespace", VCLUSTER_NAMESPACE),
        ):
            self.kubectl("delete", kind, name, "--ignore-not-found", "--wait=true", "--request-timeout=0")

    @contextmanager
    def fact(self, text: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.say(f"{text} ({time.monotonic() - started:.1f} s)")

    def reaches(self, address: str) -> bool:
        """Whether the pod `client` gets an answer from there."""
        command = ["fetch", "-timeout", BLOCKED_AFTER, address]
        done = lifecycle.kubectl(self.layout, "exec", "-n", NAMESPACE, "client", "--", *command)
        return done.returncode == 0

    def exists(self, kind: str, name: str) -> bool:
        return bool(self.kubectl("get", kind, name, "--ignore-not-found", "-o", "name"))

    def apply(self, *manifests: Manifest) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "-f", "-", text=json.dumps(items))

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        done = lifecycle.kubectl(self.layout, *arguments, text=text)
        self.require(done.returncode == 0, f"kubectl {' '.join(arguments[:3])}: {done.stderr.strip()}")
        return done.stdout

    def inner(self, kubeconfig: Path, *arguments: str, text: str | None = None) -> str:
        """kubectl inside the vCluster; empty when it fails, for callers to wait on."""
        command = [str(self.layout.bin / "kubectl"), f"--kubeconfig={kubeconfig}", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout

    def export_kubeconfig(self, target: Path) -> bool:
        path = "jsonpath={.data.config}"
        command = [
            "get",
            "secret",
            f"vc-{VCLUSTER}",
            "-n",
            VCLUSTER_NAMESPACE,
            "--ignore-not-found",
            "-o",
            path,
        ]
        encoded = self.kubectl(*command)
        if encoded:
            target.write_bytes(b64decode(encoded))
        return bool(encoded)

    def vcluster_cli(self, *arguments: str) -> None:
        """The CLI finds kubectl and helm on its PATH and keeps notes in HOME: both are ours here."""
        with tempfile.TemporaryDirectory() as home:
            environment = {
                "HOME": home,
                "KUBECONFIG": str(self.layout.kubeconfig),
                "PATH": f"{self.layout.bin}:{lifecycle.SYSTEM_PATH}",
            }
            command = [str(self.layout.bin / "vclusterctl"), *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.require(done.returncode == 0, f"vcluster {arguments[0]}: {done.stdout}{done.stderr}")

    def until(self, reached: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + WITHIN
        while not reached():
            self.require(time.monotonic() < deadline, otherwise)
            time.sleep(lifecycle.POLL)

    def require(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            raise ClusterError(f"{otherwise}.")


def metadata(name: str, namespace: str | None = NAMESPACE) -> Manifest:
    return {"name": name, "labels": {"name": name}} | ({"namespace": namespace} if namespace else {})


def namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name, None)}


def pod(name: str, script: str = "sleep 1000000", namespace: str = NAMESPACE) -> Manifest:
    container = {
        "name": "main",
        "image": TOOLBOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(name, namespace), "spec": spec}


def server_pod(name: str, namespace: str = NAMESPACE, claim_name: str = "") -> Manifest:
    manifest = pod(
        name,
        "mkdir -p /data; echo it works > /data/index.html; echo serving; httpd -f -p 8080 -h /data",
        namespace,
    )
    container = manifest["spec"]["containers"][0]
    container["ports"] = [{"name": "http", "containerPort": 8080}]
    container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    if claim_name:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        manifest["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]
    return manifest


def claim(name: str) -> Manifest:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(name), "spec": spec}


def service(name: str) -> Manifest:
    spec = {"selector": {"name": name}, "ports": [{"port": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name), "spec": spec}


def config_map(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name)}


def policy(name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": spec,
    }


def refuse_config_maps() -> Iterator[Manifest]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    selector = {"matchLabels": {"name": NAMESPACE}}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": metadata(NAMESPACE, None)}
    yield kind | {
        "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "no config maps here"}],
        },
    }
    yield kind | {
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {
            "policyName": NAMESPACE,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
