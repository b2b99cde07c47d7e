"""Where everything lies: the cache, what is built and what runs there, names and addresses."""

import functools
import hashlib
import ipaddress
import os
import platform
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
"""The folder `tests/cluster`."""

KUBERNETES_VERSION = "v1.36.0"
VCLUSTER_VERSION = "0.36.1"
COREDNS_VERSION = "1.14.2"
ETCD_VERSION = "3.6.13"
"""These four follow go/go.mod; `check_pins` in build.py compares them before anything is built."""

REGISTRY = "moorage.test"
"""Stands for a registry in image names. `.test` never resolves, so nothing can be pulled by mistake."""

NODE_NAME = "moorage-node"
INTERFACE = "moorage0"
"""The host's end of the cable to the node; its name is also what keeps two clusters from running at once."""
CGROUP = "moorage-cluster"
DEFAULT_NETWORK = "10.213.0.0/16"
API_PORT = 6443

INSIDE = Path("/mnt")
"""The cache folder as the node sees it, wherever it lies on the host."""


class ClusterError(Exception):
    """Something a person has to know, in one sentence."""


@dataclass(frozen=True)
class Network:
    """One /16 split in four: the cable to the host, pods, services, and a quarter left free."""

    block: ipaddress.IPv4Network

    @classmethod
    def parse(cls, text: str) -> "Network":
        try:
            block = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise ClusterError(f"--network: {error}.") from None
        if block.prefixlen != 16:
            raise ClusterError(f"--network must be a /16 such as {DEFAULT_NETWORK}, not {text}.")
        return cls(block)

    @property
    def host(self) -> str:
        return str(self.block[1])

    @property
    def node(self) -> str:
        return str(self.block[2])

    @property
    def pods(self) -> str:
        return str(list(self.block.subnets(2))[1])

    @property
    def services(self) -> str:
        return str(self._services)

    @property
    def api_service(self) -> str:
        return str(self._services[1])

    @property
    def dns(self) -> str:
        return str(self._services[10])

    @property
    def _services(self) -> ipaddress.IPv4Network:
        return list(self.block.subnets(2))[2]


@dataclass(frozen=True)
class Layout:
    """Paths below one cache folder. `built` outlives runs, keyed by what is pinned; `run` is one run's."""

    cache: Path

    @classmethod
    def default(cls) -> "Layout":
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(base).absolute() / "moorage" / "cluster")

    @property
    def go(self) -> Path:
        """Toolchain, modules and compiler's cache, shared by all keys."""
        return self.cache / "go"

    @property
    def built(self) -> Path:
        return self.cache / key()

    @property
    def bin(self) -> Path:
        return self.built / "bin"

    @property
    def images(self) -> Path:
        """In a folder of their own recipe, so that another image costs no compile."""
        return self.built / f"images-{_digest([SOURCE / 'singlenode' / 'images.py'])}"

    @property
    def chart(self) -> Path:
        return self.built / f"vcluster-{VCLUSTER_VERSION}.tgz"

    @property
    def run(self) -> Path:
        return self.cache / "run"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "admin.kubeconfig"

    @property
    def state(self) -> Path:
        """The record of the running node: pid, start time, network."""
        return self.run / "state.json"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def imported(self) -> Path:
        """Exists once all images are in containerd."""
        return self.run / "imported"

    @property
    def paused(self) -> Path:
        """A file here, named after a component, keeps that component stopped."""
        return self.run / "paused"

    def inside(self, path: Path) -> Path:
        """The same file as the node sees it."""
        return INSIDE / path.relative_to(self.cache)


@functools.cache
def key() -> str:
    """Names what the build compiles: pinned versions, our Go sources, and the recipe."""
    recipe = [SOURCE / "go-toolchain.txt", SOURCE / "singlenode" / "build.py"]
    return _digest([*recipe, *(p for p in (SOURCE / "go").rglob("*") if p.is_file())])


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256(platform.machine().encode())
    for path in sorted(files):
        digest.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def image(repository: str, tag: str) -> str:
    return f"{REGISTRY}/{repository}:{tag}"


PAUSE = image("pause", "1")
TOOLBOX = image("toolbox", "1")
AGENT = image("agent", "1")
COREDNS = image("coredns/coredns", COREDNS_VERSION)
KUBERNETES = image("loft-sh/kubernetes", KUBERNETES_VERSION)
VCLUSTER = image("loft-sh/vcluster-oss", VCLUSTER_VERSION)
ETCD = image("etcd", ETCD_VERSION)
