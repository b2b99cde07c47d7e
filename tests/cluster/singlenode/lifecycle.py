"""The host's side: brings the node up, takes it down, tells how it is. All of it can be repeated."""

import contextlib
import fcntl
import ipaddress
import json
import os
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from . import build, components, machine, pki
from .layout import CGROUP, COREDNS, INTERFACE, NODE_NAME, SOURCE, ClusterError, Layout, Network, key

READY_WITHIN = 180.0
"""Seconds from start to a Ready node with DNS. Seen: 15; the rest is for a busy machine."""
GONE_WITHIN = 20.0
"""Seconds the kernel gets to end the node's processes and free its cgroups."""
POLL = 0.2
SHARE = 16
"""Share of the processors that all pods get together, in processes. The kernel gives a group as much as one
process, and a vCluster has four: beside other work, five of them would not start within minutes."""
SHARE_FILES = ("cpu.shares", "cpu.weight")
"""Of the first version of cgroups and of the second."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Say = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """A running node. The start time tells it from a later process that got the same id."""

    pid: int
    started: int
    network: str
    key: str = ""
    """Which build it runs from."""


def up(layout: Layout, network: Network, say: Say) -> bool:
    """A Ready cluster. Returns False when it was up already. What a killed run left is removed first."""
    need_root("up")
    with locked(layout):
        state = read_state(layout)
        if state and alive(state):
            running(layout)
            wait_ready(layout, say)
            return False
        build.install_debian_packages(say)
        # Before the build: it takes long, and would be for nothing.
        machine.require_capable(layout.cache, cgroup_parents(), SYSTEM_PATH)
        build.ensure(layout, say)
        plugins = build.cni_plugins()
        if plugins is None:
            raise ClusterError(
                "The CNI plugins ptp and host-local are missing; install containernetworking-plugins."
            )
        clear(layout, say)
        refuse_overlap(network)
        started = time.monotonic()
        prepare(layout, network, plugins)
        start(layout, network)
        try:
            wait_ready(layout, say)
        except ClusterError:
            for line in not_ready_reasons(layout):
                say(line)
            raise
        say(f"ready after {time.monotonic() - started:.1f} s")
        return True


def down(layout: Layout, say: Say) -> bool:
    """Nothing is left of a run but the cache of what was built. Returns False when there was nothing."""
    need_root("down")
    with locked(layout):
        return clear(layout, say)


def prune(layout: Layout, say: Say) -> None:
    """Earlier versions go; this one's build and the compiler's cache stay."""
    with locked(layout):
        state = read_state(layout)
        in_use = layout.cache / (state.key if state and alive(state) else key())
        for folder in layout.cache.iterdir():
            if folder.is_dir() and folder not in (in_use, layout.built, layout.go, layout.run):
                say(f"removing {folder}")
                shutil.rmtree(folder)


def prepare(layout: Layout, network: Network, plugins: Path) -> None:
    layout.run.mkdir(mode=0o700)
    for folder in (layout.logs, layout.paused, layout.run / "volumes"):
        folder.mkdir()
    pki.write(layout, network)
    components.write_configuration(layout, network, plugins)
    for parent in cgroup_parents():
        group = parent / CGROUP
        group.mkdir(exist_ok=True)
        for file in (group / name for name in SHARE_FILES):
            if file.exists():
                file.write_text(str(int(file.read_text()) * SHARE))


def start(layout: Layout, network: Network) -> None:
    """Starts process 1 of the node in new namespaces, records it, and lays its cable."""
    environment = {"PATH": SYSTEM_PATH, "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"}
    namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    command = [sys.executable, str(SOURCE), "node", str(layout.cache), str(network.block)]
    with (layout.logs / "node.log").open("ab") as log:
        outer = subprocess.Popen(
            [*namespaces, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            cwd="/",
        )
    pid = first_child(outer.pid)
    if pid is None:
        raise ClusterError(f"The node did not start: {tail(layout.logs / 'node.log')}")
    state = State(pid, start_time(pid) or 0, str(network.block), key())
    layout.state.write_text(json.dumps(asdict(state)))
    ip("link", "add", INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    ip("address", "add", f"{network.host}/30", "dev", INTERFACE)
    ip("link", "set", INTERFACE, "up")
    for block in (network.pods, network.services):
        ip("route", "add", block, "via", network.node)


def wait_ready(layout: Layout, say: Say) -> None:
    """The API answers, the node is Ready, images are in, volumes and DNS work."""
    deadline = time.monotonic() + READY_WITHIN
    stages: list[tuple[str, Callable[[], bool]]] = [
        ("API server", lambda: api_ready(layout)),
        ("system objects", lambda: apply_system(layout)),
        ("node", lambda: node_ready(layout)),
        ("DNS", lambda: dns_ready(layout)),
        ("default service account", lambda: has_default_account(layout)),
        ("images", lambda: layout.imported.exists()),
    ]
    for name, reached in stages:
        while not reached():
            state = read_state(layout)
            if state is None or not alive(state):
                raise ClusterError(
                    f"The node ended while waiting for {name}: {tail(layout.logs / 'node.log')}"
                )
            if time.monotonic() > deadline:
                raise ClusterError(f"No {name} within {READY_WITHIN:.0f} s; see {layout.logs}.")
            time.sleep(POLL)


def api_ready(layout: Layout) -> bool:
    return kubectl(layout, "get", "--raw", "/readyz").returncode == 0


def apply_system(layout: Layout) -> bool:
    state = read_state(layout)
    if state is None:
        return False
    template = string.Template((SOURCE / "manifests" / "system.yaml").read_text())
    text = template.substitute(dns=Network.parse(state.network).dns, coredns=COREDNS)
    return kubectl(layout, "apply", "-f", "-", text=text).returncode == 0


def node_ready(layout: Layout) -> bool:
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return kubectl(layout, "get", "node", NODE_NAME, "-o", path).stdout == "True"


def dns_ready(layout: Layout) -> bool:
    path = "jsonpath={.status.availableReplicas}"
    return kubectl(layout, "get", "deployment", "coredns", "-n", "kube-system", "-o", path).stdout == "1"


def has_default_account(layout: Layout) -> bool:
    return kubectl(layout, "get", "serviceaccount", "default").returncode == 0


def not_ready_reasons(layout: Layout) -> Iterator[str]:
    yield kubectl(layout, "get", "pods", "-A", "-o", "wide").stdout
    yield kubectl(layout, "get", "events", "-A").stdout
    for log in sorted(layout.logs.glob("*.log")):
        yield f"{log.name}: {tail(log)}"


def clear(layout: Layout, say: Say) -> bool:
    """Ends the node if it runs, and removes what the kernel does not: cgroups and the run folder."""
    state = read_state(layout)
    found = layout.run.exists() or link_exists()
    if state and alive(state):
        say("ending the node")
        os.kill(state.pid, 9)
        until(lambda: not alive(state), "The node's process does not end.")
    # The kernel removes the cable with the node's network; a node killed half-way may have left it.
    with contextlib.suppress(ClusterError):
        until(lambda: not link_exists(), "")
    if link_exists():
        ip("link", "delete", INTERFACE)
    until(remove_cgroups, f"The cgroup {CGROUP} still holds processes.")
    if layout.run.exists():
        shutil.rmtree(layout.run)
    return found


def remove_cgroups() -> bool:
    """Children first; true when none is left. A cgroup with a dying process in it refuses for a moment."""
    gone = True
    for parent in cgroup_parents():
        top = parent / CGROUP
        if not top.exists():
            continue
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                gone = False
    return gone


def cgroup_parents() -> list[Path]:
    """The root of each hierarchy: one in cgroups' second version, one for each controller in the first."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(
        p for p in root.iterdir() if p.is_dir() and not p.is_symlink() and (p / "cgroup.procs").exists()
    )


def pause(layout: Layout, component: str, *, paused: bool) -> None:
    """Kills a component and keeps it down, or lets it start again. Returns when that has happened."""
    need_root("pause and resume")
    state = running(layout)
    known = {c.name for c in components.components(layout, Network.parse(state.network))}
    if component not in known:
        raise ClusterError(f"There is no component {component!r}; there are {', '.join(sorted(known))}.")
    mark = layout.paused / component
    if paused:
        mark.touch()
        until(lambda: component not in process_names(state), f"{component} does not end.")
    else:
        mark.unlink(missing_ok=True)
        until(lambda: component in process_names(state), f"{component} does not start.")
        if component == "kube-apiserver":
            until(lambda: api_ready(layout), "The API server is not ready.", READY_WITHIN)


def process_names(state: State) -> set[str]:
    """Names of the components that run: the programs of process 1's children."""
    children = Path(f"/proc/{state.pid}/task/{state.pid}/children").read_text().split()
    names = set()
    for child in children:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            names.add(os.path.basename(words[0].decode()))
    return names


def running(layout: Layout) -> State:
    state = read_state(layout)
    if state is None or not alive(state):
        raise ClusterError("The cluster is not up; `python3 tests/cluster up` starts it.")
    if state.key != key():
        raise ClusterError("The cluster that runs was built from another version; take it down and up again.")
    return state


def read_state(layout: Layout) -> State | None:
    try:
        return State(**json.loads(layout.state.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def alive(state: State) -> bool:
    return start_time(state.pid) == state.started


def start_time(pid: int) -> int | None:
    """Clock ticks between boot and the process's start; None for no process, or one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def first_child(pid: int) -> int | None:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(100):
        try:
            children = path.read_text().split()
        except OSError:
            return None
        if children:
            return int(children[0])
        time.sleep(0.02)
    return None


def refuse_overlap(network: Network) -> None:
    """The network is free on this machine."""
    if link_exists():
        raise ClusterError(
            f"The interface {INTERFACE} exists: another cluster is up, with another cache folder."
        )
    listed = subprocess.run(
        ["ip", "-json", "-4", "route"], capture_output=True, text=True, check=True, env={"PATH": SYSTEM_PATH}
    )
    for route in json.loads(listed.stdout):
        if route["dst"] != "default" and ipaddress.IPv4Network(route["dst"], strict=False).overlaps(
            network.block
        ):
            raise ClusterError(
                f"{network.block} overlaps the route to {route['dst']}; choose another with --network."
            )


def link_exists() -> bool:
    return Path(f"/sys/class/net/{INTERFACE}").exists()


def ip(*arguments: str) -> None:
    done = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, check=False, env={"PATH": SYSTEM_PATH}
    )
    if done.returncode:
        raise ClusterError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


def kubectl(layout: Layout, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [
        str(layout.bin / "kubectl"),
        f"--kubeconfig={layout.kubeconfig}",
        "--request-timeout=20s",
        *arguments,
    ]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def until(reached: Callable[[], bool], otherwise: str, within: float = GONE_WITHIN) -> None:
    deadline = time.monotonic() + within
    while not reached():
        if time.monotonic() > deadline:
            raise ClusterError(otherwise)
        time.sleep(POLL)


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[IO[str]]:
    """One of us at a time: a second `up` waits for the first and then finds it running."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    with (layout.cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise ClusterError(
            f"`{what}` needs root, a node is made of namespaces, mounts and cgroups: {machine.ELSEWHERE}."
        )


def tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        return " | ".join(log.read_text(errors="replace").splitlines()[-3:])
    return "no log"
