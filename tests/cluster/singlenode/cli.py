"""The commands. What programs read goes to stdout, what people read to stderr."""

import argparse
import json
import sys

from . import build, check, lifecycle, node
from .layout import (
    AGENT,
    COREDNS,
    DEFAULT_NETWORK,
    ETCD,
    KUBERNETES,
    REGISTRY,
    TOOLBOX,
    VCLUSTER,
    ClusterError,
    Layout,
    Network,
)


def main() -> int:
    arguments = parser().parse_args()
    layout = Layout.default()
    try:
        return run(arguments, layout)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python3 tests/cluster",
        description="A single-node Kubernetes from nothing, for the end-to-end suite (Linux, root).",
        epilog="Cache: ${XDG_CACHE_HOME:-~/.cache}/moorage/cluster.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser(
        "up", help="build what is missing, start the cluster, print where things are as JSON"
    )
    up.add_argument(
        "--network", default=DEFAULT_NETWORK, help="a /16 that is free on this machine (default: %(default)s)"
    )
    commands.add_parser("build", help="only build, start nothing")
    commands.add_parser("down", help="remove everything that `up` made but the cache of what was built")
    commands.add_parser("status", help="print the same as `up`; fails when the cluster is not up")
    commands.add_parser("check", help="show on a running cluster that all of it works")
    for name, text in (
        ("pause", "kill a component and keep it down"),
        ("resume", "let a paused component run again"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("component", nargs="?", default="kube-apiserver", help="default: %(default)s")
    commands.add_parser("prune", help="remove what earlier versions built, and keep what this one did")
    inner = commands.add_parser("node")  # what `up` starts; no help, so not listed
    inner.add_argument("cache")
    inner.add_argument("network")
    return top


def run(arguments: argparse.Namespace, layout: Layout) -> int:
    match arguments.command:
        case "node":
            return node.main(arguments.cache, arguments.network)
        case "build":
            build.ensure(layout, say)
        case "up":
            if not lifecycle.up(layout, Network.parse(arguments.network), say):
                say("it was up already")
            show(layout)
        case "down":
            say("down" if lifecycle.down(layout, say) else "there was nothing to take down")
        case "status":
            show(layout)
        case "check":
            check.main(layout, say)
        case "pause" | "resume":
            lifecycle.pause(layout, arguments.component, paused=arguments.command == "pause")
        case "prune":
            lifecycle.prune(layout, say)
    return 0


def show(layout: Layout) -> None:
    """Everything a user of the cluster has to know, as JSON on stdout."""
    state = lifecycle.running(layout)
    network = Network.parse(state.network)
    print(
        json.dumps(
            {
                "kubeconfig": str(layout.kubeconfig),
                "kubectl": str(layout.bin / "kubectl"),
                "helm": str(layout.bin / "helm"),
                "vcluster": str(layout.bin / "vclusterctl"),
                "chart": str(layout.chart),
                "values": check.image_values(),
                "node_address": network.node,
                "host_address": network.host,
                "registry": REGISTRY,
                "images": {
                    "toolbox": TOOLBOX,
                    "agent": AGENT,
                    "coredns": COREDNS,
                    "kubernetes": KUBERNETES,
                    "vcluster": VCLUSTER,
                    "etcd": ETCD,
                },
                "logs": str(layout.logs),
                "pid": state.pid,
            },
            indent=2,
        )
    )


def say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)
