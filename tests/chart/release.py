"""The chart of `deploy/chart`, installed on the cluster with the image of `make image`."""

import copy
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contracts.types.naming import LABEL_INSTALLATION
from embedded.stack.stack import Stack
from tests.chart.outside import HOST, Outside
from tests.e2e.cluster import ROOT, Cluster
from tests.e2e.harbour import TIMEOUTS, write_templates

CHART = ROOT / "deploy" / "chart"
#: What `make image` has built.
ARCHIVE = ROOT / "build" / "image" / "moorage.tar"
NAME, NAMESPACE = "moorage", "moorage"
#: Host clusters of the settings, both of which are this cluster: vClusters in it and at ports of its nodes.
WITHIN, BY_PORT = "here", "ports"
COMPONENTS = ("worker", "api", "codec-server")
SETUP = "app.kubernetes.io/component=setup"
ALL = f"app.kubernetes.io/instance={NAME}"
PART_OF = "app.kubernetes.io/part-of=moorage"
TENANT_POLICIES = "validatingadmissionpolicies,validatingadmissionpolicybindings"
#: Seconds within which anything of the release happens. A busy machine takes minutes to start a pod.
LONGEST = 900
#: Longer than the timeouts of the settings, which are as they are by default.
LATE_RESPONSES = "40s"
#: A template whose vCluster finds no node, and waits for one.
WAITING = "waiting"
_SECRET = "moorage"


@dataclass(frozen=True)
class Release:
    """The release of the chart on the cluster."""

    cluster: Cluster
    values: Path

    def helm(self, *arguments: str) -> str:
        """Return the output of a command in the namespace of the release; fail if it does."""
        programs = self.cluster.programs
        program = str(programs / "helm") if programs else "helm"
        there = ["--kubeconfig", str(self.cluster.kubeconfig), "--namespace", NAMESPACE]
        command = [program, *arguments, *there]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.state()}"
        return done.stdout

    def install(self) -> None:
        """Install the chart, as the documentation says, and wait until all of it works."""
        self.helm("install", NAME, str(CHART), "--values", str(self.values))
        self.settle()

    def remove(self) -> None:
        """Remove the release if it is there, with what `helm uninstall` leaves."""
        self.helm("uninstall", NAME, "--wait", "--ignore-not-found")
        self.cluster.run("delete", TENANT_POLICIES, "--selector", PART_OF)
        self.cluster.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=50s")
        # Environments of a test that has failed.
        self.cluster.run("delete", "namespaces", "--selector", LABEL_INSTALLATION, "--wait=false")

    def settle(self) -> None:
        """Wait until the Job is done and each Deployment has rolled out."""
        self._wait("wait", "--for=condition=complete", "job", "--selector", SETUP)
        for component in COMPONENTS:
            self._wait("rollout", "status", f"deployment/{NAME}-{component}")

    def kubectl(self, *arguments: str) -> str:
        """Return what kubectl prints, in the namespace of the release."""
        return self.cluster.run("--namespace", NAMESPACE, *arguments)

    def pods(self, component: str) -> list[Any]:
        """Return the running pods of a component that are not about to end."""
        chosen = ("--namespace", NAMESPACE, "--selector", f"app.kubernetes.io/component={component}")
        found = self.cluster.get("pods", *chosen)["items"]
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def url(self, service: str) -> str:
        """Return the address of a Service's port on the node."""
        found = self.cluster.get("service", service, "--namespace", NAMESPACE)
        return f"http://{self.cluster.node_address}:{found['spec']['ports'][0]['nodePort']}"

    def state(self) -> str:
        """Return what one looks at when something has failed."""
        here = ("--namespace", NAMESPACE)
        logs = ("logs", *here, "--all-containers", "--prefix", "--tail=30", "--selector")
        looks = [
            ("get", "pods", *here),
            ("get", "events", *here, "--field-selector", "type=Warning"),
            *((*logs, each) for each in (SETUP, ALL)),
        ]
        return "\n".join(self.cluster.attempt(*look).stdout for look in looks)

    def _wait(self, *arguments: str) -> None:
        command = (*arguments, "--namespace", NAMESPACE, f"--timeout={LONGEST}s")
        done = self.cluster.attempt(*command, seconds=LONGEST + 10)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}\n{self.state()}"


def load_image(cluster: Cluster) -> str:
    """Give the image of `make image` to the node, and return its name."""
    with tarfile.open(ARCHIVE) as archive:
        index = archive.extractfile("index.json")
        assert index, f"{ARCHIVE} is not an OCI archive"
        [manifest] = json.load(index)["manifests"]
    name = str(manifest["annotations"]["org.opencontainers.image.ref.name"])
    command = ["nsenter", "--all", "--target", str(cluster.node_pid), "ctr", "-n", "k8s.io", "images"]
    there = subprocess.run([*command, "ls", f"name=={name}"], capture_output=True, text=True, check=True)
    if manifest["digest"] in there.stdout:
        return name
    with ARCHIVE.open("rb") as content:
        subprocess.run([*command, "import", "-"], stdin=content, stdout=subprocess.DEVNULL, check=True)
    return name


def values(cluster: Cluster, outside: Outside, image: str, templates: Path) -> dict[str, Any]:
    """Return the values of the release: everything that is not as the chart has it by default."""
    repository, _, tag = image.rpartition(":")
    machine = [{"ipBlock": {"cidr": f"{cluster.host_address}/32"}}]
    node = [{"ipBlock": {"cidr": f"{cluster.node_address}/32"}}]
    timeouts = TIMEOUTS.model_dump(mode="json", exclude_none=True)
    host = {
        "image_registry": cluster.registry,
        "image_repository": cluster.image_repository,
        "chart_repository": outside.url(outside.charts),
        "reachable": [f"{cluster.host_address}/32:{outside.control_plane}"],
        "capacity": {"cpu": 1000, "memory": "4Ti"},
    }
    write_templates(templates, cluster)
    small = yaml.safe_load((templates / "small.yaml").read_text())
    waiting = copy.deepcopy(small)
    scheduling = {"nodeSelector": {"moorage.test/none": "such"}}
    waiting["values"]["controlPlane"]["statefulSet"]["scheduling"] = scheduling
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "temporal": {"address": f"{HOST}:{outside.temporal}"},
        "settings": {
            "installation": outside.stack.installation,
            "control_plane": {"url": outside.url(outside.control_plane)},
            "identity": {"url": f"{outside.url(outside.directory)}/v2"},
            "hosts": {
                WITHIN: host,
                BY_PORT: {**host, "exposure": "node-port", "address": cluster.node_address},
            },
            "default_host": BY_PORT,
            "timeouts": {**timeouts, "late_response_window": LATE_RESPONSES},
            "codec_server": {"ui": "https://temporal.example.com"},
        },
        "secrets": {
            name: {"existingSecret": _SECRET}
            for name in ("encryptionKeys", "controlPlaneApiKey", "apiTokens", "identityToken")
        },
        "templates": {"small.yaml": yaml.safe_dump(small), f"{WAITING}.yaml": yaml.safe_dump(waiting)},
        "api": {"service": {"type": "NodePort"}},
        "codecServer": {"enabled": True, "service": {"type": "NodePort"}},
        "networkPolicy": {
            "egress": {
                "temporal": machine,
                "controlPlane": machine,
                "identityProvider": machine,
                "charts": machine,
                "apiServers": node,
                "nodePorts": node,
            },
            "ingress": {"api": machine, "codecServer": machine, "metrics": machine},
        },
    }


def prepare_namespace(cluster: Cluster, stack: Stack) -> None:
    """Make the namespace, which requires restricted pods, and the Secret, as the documentation says."""
    env = stack.env
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _SECRET, "namespace": NAMESPACE},
        "stringData": {
            "encryption-keys": env["MOORAGE_ENCRYPTION__KEYS"],
            "control-plane-api-key": env["MOORAGE_CONTROL_PLANE__API_KEY"],
            "identity-token": env["MOORAGE_IDENTITY__TOKEN"],
            "api-tokens": Path(env["MOORAGE_API__TOKENS_FILE"]).read_text(),
        },
    }
    for each in (namespace, secret):
        cluster.run("apply", "-f", "-", text=json.dumps(each))
