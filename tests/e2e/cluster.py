"""The real cluster of the suite: where it is, what its administrator sees, the accounts that Moorage gets.

A cluster of one's own is named by `TEST_E2E_KUBECONFIG`. It needs images that it can pull, and a way from
its pods to this machine for the agents; `TEST_E2E_<NAME>` sets what is not right by itself:

    NODE_ADDRESS     where ports of its nodes are reached (default: the first node's internal address)
    HOST_ADDRESS     where its pods reach this machine (default: the address that it has towards the node)
    AGENT_IMAGE      the stand-in's agent, of tests/cluster/go/agent
    IMAGE_REGISTRY, IMAGE_REPOSITORY, CHART_REPOSITORY
                     where vCluster's images and chart come from (default: their own places)
    TOOLBOX_IMAGE    anything with a shell and sleep (default: busybox)
    ETCD_IMAGE       an etcd, of the registry above (default: the one that the chart names)
    CHART_VERSION    of the vCluster chart (default: that of the templates that Moorage ships)
"""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clients.host.models import LABEL_POD_SECURITY
from contracts.templates.template import PodSecurity
from contracts.types.naming import LABEL_INSTALLATION
from starter.catalogue.loader import STARTER_TEMPLATES, load_catalogue
from tests.lifecycle.databases import PREFIX

ROOT = Path(__file__).resolve().parents[2]
RBAC = ROOT / "deploy" / "rbac.yaml"
#: The right in it that warm pools need, which is optional and so a comment.
RIGHT_OF_POOLS = """
  # - apiGroups: [""]
  #   resources: [namespaces]
  #   verbs: [patch]
"""
WORKER = "system:serviceaccount:moorage:moorage-worker"
#: Longer than the suite takes.
TOKEN_LIFE = "6h"
#: Seconds within which an API server acts by a policy that was changed: it takes them up once a second.
POLICY_DELAY = 20


@dataclass(frozen=True)
class Cluster:
    """What the suite has to know of it. `is_ours`: its components may be stopped."""

    kubeconfig: Path
    kubectl: str
    node_address: str
    host_address: str
    agent_image: str
    toolbox_image: str
    chart_version: str
    is_ours: bool
    registry: str = ""
    image_repository: str = ""
    etcd_image: str = ""
    chart_repository: str = ""
    programs: Path | None = None
    node_pid: int = 0

    def run(self, *arguments: str, kubeconfig: Path | None = None, text: str = "") -> str:
        """What kubectl says, as an administrator unless another kubeconfig is given. Fails if it does."""
        done = self.attempt(*arguments, kubeconfig=kubeconfig, text=text)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def attempt(
        self, *arguments: str, kubeconfig: Path | None = None, text: str = "", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The same, and it may fail."""
        command = [self.kubectl, "--kubeconfig", str(kubeconfig or self.kubeconfig), *arguments]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=seconds, check=False
        )

    def get(self, *arguments: str) -> Any:
        """An object or a list of them."""
        return json.loads(self.run("get", *arguments, "-o", "json"))

    def node(self, *arguments: str) -> None:
        """A command of tests/cluster, as `pause` and `resume`."""
        subprocess.run([sys.executable, str(ROOT / "tests" / "cluster"), *arguments], check=True)

    def holds(self, name: str) -> list[str]:
        """What there is of an environment: its namespace, volumes bound from it, releases in it."""
        found = [
            f"namespace {each['metadata']['name']}"
            for each in self.get("namespaces")["items"]
            if each["metadata"]["name"] == name
        ]
        found += [
            f"persistent volume {each['metadata']['name']}"
            for each in self.get("persistentvolumes")["items"]
            if (each["spec"].get("claimRef") or {}).get("namespace") == name
        ]
        records = self.get("secrets", "-A", "-l", f"owner=helm,name={name}")["items"]
        return [*found, *(f"release record {each['metadata']['name']}" for each in records)]

    def grant(self, installation: str, *, pools: bool = False) -> None:
        """Apply the rights that Moorage ships, for one installation, and wait until they hold.

        `pools`: with the optional one that warm pools need.
        """
        text = RBAC.read_text().replace("INSTALLATION", installation).replace("PREFIX", PREFIX)
        assert RIGHT_OF_POOLS in text
        if pools:
            text = text.replace(RIGHT_OF_POOLS, RIGHT_OF_POOLS.replace("  # ", "  "))
        self.run("apply", "-f", "-", text=text)
        labels = {LABEL_INSTALLATION: installation, LABEL_POD_SECURITY: PodSecurity.BASELINE.value}
        metadata = {"name": f"{PREFIX}-dry-run", "labels": labels}
        body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        dry_run = ("create", "--dry-run=server", f"--as={WORKER}", "-f", "-")
        ends = time.monotonic() + POLICY_DELAY
        while (tried := self.attempt(*dry_run, text=body)).returncode != 0:
            assert time.monotonic() < ends, f"the worker cannot make a namespace: {tried.stderr}"
            time.sleep(0.2)

    def revoke(self) -> None:
        """Take the rights away again."""
        # Waited for: the next one to grant them must not meet a namespace that ends.
        self.run("delete", "--ignore-not-found", "--timeout=50s", "-f", str(RBAC))

    def kubeconfig_of(self, account: str, folder: Path, *, plugin: bool = False) -> Path:
        """A kubeconfig of one of Moorage's accounts, with a token, or with a plugin that gives one."""
        token = self.run("create", "token", account, "-n", "moorage", f"--duration={TOKEN_LIFE}").strip()
        raw = self.run("config", "view", "--raw", "--minify", "-o", "json")
        document = json.loads(raw)
        how: dict[str, Any] = {"token": token}
        if plugin:
            version = "client.authentication.k8s.io/v1"
            answer = {"apiVersion": version, "kind": "ExecCredential", "status": how}
            file = _private(folder / f"{account}.credential", json.dumps(answer))
            how = {
                "exec": {
                    "apiVersion": version,
                    "command": "cat",
                    "args": [str(file)],
                    "interactiveMode": "Never",
                }
            }
        for user in document["users"]:
            user["user"] = how
        name = f"{account}{'-plugin' if plugin else ''}.kubeconfig"
        return _private(folder / name, yaml.safe_dump(document))


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def find_cluster() -> Cluster:
    """The cluster of the settings, or the one of tests/cluster, which is started if it is not up."""
    if given := os.environ.get("TEST_E2E_KUBECONFIG"):
        return _given(Path(given))
    command = [sys.executable, str(ROOT / "tests" / "cluster"), "up"]
    facts = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    chart = Path(facts["chart"])
    return Cluster(
        kubeconfig=Path(facts["kubeconfig"]),
        kubectl=facts["kubectl"],
        node_address=facts["node_address"],
        host_address=facts["host_address"],
        agent_image=facts["images"]["agent"],
        toolbox_image=facts["images"]["toolbox"],
        chart_version=chart.name.removeprefix("vcluster-").removesuffix(".tgz"),
        is_ours=True,
        registry=facts["registry"],
        image_repository=facts["values"]["controlPlane"]["statefulSet"]["image"]["repository"],
        etcd_image=facts["images"]["etcd"],
        chart_repository=str(chart.parent),
        programs=Path(facts["kubectl"]).parent,
        node_pid=facts["pid"],
    )


def _given(kubeconfig: Path) -> Cluster:
    def setting(name: str, default: str = "") -> str:
        return os.environ.get(f"TEST_E2E_{name}") or default

    command = ["kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", "json"]
    nodes = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    addresses = nodes["items"][0]["status"]["addresses"]
    internal = next(each["address"] for each in addresses if each["type"] == "InternalIP")
    node = setting("NODE_ADDRESS", internal)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((node, 1))
        own = str(probe.getsockname()[0])
    return Cluster(
        kubeconfig=kubeconfig,
        kubectl="kubectl",
        node_address=node,
        host_address=setting("HOST_ADDRESS", own),
        agent_image=setting("AGENT_IMAGE"),
        toolbox_image=setting("TOOLBOX_IMAGE", "busybox"),
        chart_version=setting("CHART_VERSION", shipped_chart_version()),
        is_ours=False,
        registry=setting("IMAGE_REGISTRY"),
        image_repository=setting("IMAGE_REPOSITORY"),
        etcd_image=setting("ETCD_IMAGE"),
        chart_repository=setting("CHART_REPOSITORY"),
    )


def shipped_chart_version() -> str:
    """The chart's version that the templates name which Moorage ships."""
    [version] = {each.chart.version for each in load_catalogue(STARTER_TEMPLATES).offered_to([])}
    return version
