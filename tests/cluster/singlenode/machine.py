"""Whether this machine can hold a node at all: checked before any build, and reported in one sentence."""

import subprocess
import tempfile
from pathlib import Path

from .layout import ClusterError

ELSEWHERE = "name a cluster of your own in TEST_E2E_KUBECONFIG, or use a machine that allows it"

WITHIN = 30.0
"""Seconds for the whole trial. It takes a fraction of one; some sandboxes let such calls hang."""

TRIAL = """
echo 'give a process separate namespaces'; true
echo 'share mounts'; mount --no-mtab --make-rshared /
echo "mount an overlay in $1"
mkdir "$1/lower" "$1/upper" "$1/work" "$1/merged"
mount --no-mtab -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/merged"
echo 'make network interfaces'; ip link add trial0 type veth peer name trial1
echo 'set firewall rules'; nft add table inet trial
echo 'allow forwarding'; echo 1 > /proc/sys/net/ipv4/ip_forward
echo all
"""
"""What a node does first, each said before it is tried. Whatever it makes goes with its namespaces."""


def require_capable(cache: Path, cgroups: list[Path], path: str) -> None:
    """Return if a node can be held here; else a ClusterError says what this machine does not allow."""
    for parent in cgroups:
        trial = parent / "moorage-trial"
        try:
            trial.mkdir(exist_ok=True)
            trial.rmdir()
        except OSError as error:
            raise refused(f"make a cgroup in {parent}", error.strerror or str(error)) from None
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL"]
        command = [*namespaces, "--mount-proc", "sh", "-ec", TRIAL, "sh", folder]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=WITHIN, check=False, env={"PATH": path}
            )
        except subprocess.TimeoutExpired:
            raise refused("give a process separate namespaces", f"no end within {WITHIN:.0f} s") from None
    said = done.stdout.split("\n")[-2] if done.stdout else "give a process separate namespaces"
    if done.returncode or said != "all":
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise refused(said, why)


def refused(what: str, why: str) -> ClusterError:
    return ClusterError(f"This machine does not let a cluster {what} ({why}): {ELSEWHERE}.")
