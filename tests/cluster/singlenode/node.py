"""The node: process 1 of separate process, mount and network namespaces. Started by lifecycle.py, as root.

Everything the cluster makes (processes, mounts, interfaces, firewall rules) lives in these namespaces, so the
kernel removes all of it when this process ends, however it ends. Cgroups and the run folder
are left to lifecycle.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .components import CONTAINERD_SOCKET, Component, components
from .layout import INSIDE, Layout, Network

POLL = 0.1
"""Seconds between looks at children and at the folder of paused components."""
RESTART_DELAY = 1.0
"""A component that ended is started again after this, so that one that cannot start does not burn a core."""
LINK_WAIT = 10.0
"""The host lays the cable within a second of our start; without it there is nothing to live for."""

OWN_FOLDERS = {"/run": "run", "/var/lib": "lib", "/var/log": "log"}
"""Folders of the machine that the node sees as its own, below the run folder."""

KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet wants of the whole machine. It is shown these and so changes nothing."""


def main(cache: str, network: str) -> int:
    node = Node(Layout(Path(cache)), Network.parse(network))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    node.mount()
    node.connect()
    node.supervise()
    return 0


class Node:
    def __init__(self, layout: Layout, network: Network) -> None:
        self.layout = layout
        self.network = network
        self.running: dict[str, int] = {}
        self.ended_at: dict[str, float] = {}
        self.importing: int | None = None

    def mount(self) -> None:
        """Gives the node its own view of the machine's folders.

        unshare made all mounts private to us; among ourselves they are shared, for pods to see the kubelet's.
        """
        run("mount", "--no-mtab", "--make-rshared", "/")
        run("mount", "--no-mtab", "--bind", str(self.layout.cache), str(INSIDE))
        inside = self.layout.inside(self.layout.run)
        for target, name in OWN_FOLDERS.items():
            (inside / name).mkdir()
            run("mount", "--no-mtab", "--bind", str(inside / name), target)
        resolver = Path("/etc/resolv.conf")
        if resolver.exists():
            # Without one (a link into the machine's /run, say) a look-up fails at once, which does as well.
            run("mount", "--no-mtab", "--bind", str(inside / "resolv.conf"), str(resolver.resolve()))
        shown = inside / "kernel"
        for setting, value in KERNEL_SETTINGS.items():
            file = shown / setting
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
            run("mount", "--no-mtab", "--bind", str(file), f"/proc/sys/{setting}")

    def connect(self) -> None:
        """Brings up the cable from the host, which lays it once it knows our process id."""
        deadline = time.monotonic() + LINK_WAIT
        while not _has_link("eth0"):
            if time.monotonic() > deadline:
                raise SystemExit("the host laid no cable")
            time.sleep(0.02)
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", f"{self.network.node}/30", "dev", "eth0")
        run("ip", "link", "set", "eth0", "up")
        # Programs on the node that call a service need a route there before its address is translated.
        run("ip", "route", "add", self.network.services, "via", self.network.host)
        # Beyond the host there is no route: connections fail at once.
        run("ip", "route", "add", "unreachable", "default")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def supervise(self) -> None:
        """Keep every component running that is not paused, until a signal ends the process."""
        parts = components(self.layout, self.network)
        paused = self.layout.inside(self.layout.paused)
        while True:
            for part in parts:
                self._tend(part, wanted=not (paused / part.name).exists())
            if self.importing is None and Path(CONTAINERD_SOCKET).exists():
                self.importing = self._import_images()
            self._reap()
            time.sleep(POLL)

    def _tend(self, part: Component, *, wanted: bool) -> None:
        pid = self.running.get(part.name)
        if pid is None:
            rested = time.monotonic() - self.ended_at.get(part.name, -RESTART_DELAY) >= RESTART_DELAY
            if wanted and rested:
                self.running[part.name] = self._start(part.name, part.command)
        elif not wanted:
            # At once, as in a crash: connected clients see it.
            os.kill(pid, signal.SIGKILL)

    def _start(self, name: str, command: list[str]) -> int:
        """Not by way of subprocess: it collects children on its own account, and would hide ends from us."""
        log = str(self.layout.inside(self.layout.logs) / f"{name}.log")
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        return os.posix_spawnp(command[0], command, os.environ, file_actions=actions)

    def _import_images(self) -> int:
        folder = self.layout.inside(self.layout.images)
        done = self.layout.inside(self.layout.imported)
        # Small ones first: with them DNS comes up while the large ones are read.
        script = f"for f in $(ls -Sr {folder}/*.tar); do ctr -n k8s.io images import $f; done; touch {done}"
        return self._start("images", ["sh", "-ec", script])

    def _reap(self) -> None:
        """As process 1 we inherit every orphan (containerd's shims among them) and must collect it."""
        by_id = {pid: name for name, pid in self.running.items()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = by_id.get(pid)
            if name:
                del self.running[name]
                self.ended_at[name] = time.monotonic()
                ended = {"component": name, "status": os.waitstatus_to_exitcode(status)}
                print(json.dumps(ended), file=sys.stderr, flush=True)
            elif pid == self.importing and status:
                # containerd may not have been ready; try again
                self.importing = None


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def _has_link(name: str) -> bool:
    """By way of /proc: /sys still shows the interfaces of the host."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return any(line.strip().startswith(f"{name}:") for line in lines)
