"""The components of the node: how each is started, and the configuration files they read.

All paths are as the node sees them: the cache folder at /mnt, its own /run, /var/lib and /var/log.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .layout import API_PORT, CGROUP, NODE_NAME, PAUSE, Layout, Network

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
MAX_PODS = 200


@dataclass(frozen=True)
class Component:
    name: str
    command: list[str]


def components(layout: Layout, network: Network) -> list[Component]:
    """In the order of starting. None waits for another: each tries again until what it needs is there."""
    programs, pki, run = (
        layout.inside(layout.bin),
        layout.inside(layout.run / "pki"),
        layout.inside(layout.run),
    )

    def user(name: str) -> str:
        return f"--kubeconfig={pki / name}.kubeconfig"

    def authenticated(name: str) -> list[str]:
        path = pki / f"{name}.kubeconfig"
        return [user(name), f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}"]

    commands: dict[str, list[str]] = {
        "containerd": ["containerd", f"--config={run}/containerd.toml"],
        "etcd": [
            *(f"{programs}/etcd", "--data-dir=/var/lib/etcd", "--log-level=warn"),
            # The data is thrown away with the run: no need to wait for the disk.
            "--unsafe-no-fsync",
            *("--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"),
            "--listen-peer-urls=http://127.0.0.1:2380",
        ],
        "kube-apiserver": [
            *(f"{programs}/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--allow-privileged"),
            *(
                f"--bind-address={network.node}",
                f"--advertise-address={network.node}",
                f"--secure-port={API_PORT}",
            ),
            f"--service-cluster-ip-range={network.services}",
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            *(f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt"),
            *(f"--tls-private-key-file={pki}/apiserver.key", "--anonymous-auth=false"),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/service-account.pub",
            f"--service-account-signing-key-file={pki}/service-account.key",
            # exec, logs and port-forward go from the API server to the kubelet
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            "--kubelet-preferred-address-types=InternalIP",
            # aggregated APIs
            *(
                f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
                "--requestheader-allowed-names=front-proxy-client",
            ),
            *(
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
            ),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            *(
                f"--proxy-client-cert-file={pki}/front-proxy.crt",
                f"--proxy-client-key-file={pki}/front-proxy.key",
            ),
        ],
        "kube-controller-manager": [
            *(f"{programs}/kube-controller-manager", *authenticated("kube-controller-manager")),
            *("--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials"),
            *(
                f"--root-ca-file={pki}/ca.crt",
                f"--service-account-private-key-file={pki}/service-account.key",
            ),
            *(f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key"),
            f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
            # a few vClusters at once mean a few hundred objects at once
            *("--kube-api-qps=100", "--kube-api-burst=200"),
        ],
        "kube-scheduler": [
            *(f"{programs}/kube-scheduler", *authenticated("kube-scheduler")),
            *("--bind-address=127.0.0.1", "--leader-elect=false"),
        ],
        "kubelet": [
            f"{programs}/kubelet",
            user("kubelet"),
            f"--config={run}/kubelet.json",
            *_kubelet_flags(network),
        ],
        "kube-proxy": [f"{programs}/kube-proxy", f"--config={run}/kube-proxy.json"],
        "addons": [f"{programs}/addons", user("addons"), f"--volumes={run}/volumes"],
    }
    return [Component(name, command) for name, command in commands.items()]


def _kubelet_flags(network: Network) -> list[str]:
    return [f"--hostname-override={NODE_NAME}", f"--node-ip={network.node}"]


def write_configuration(layout: Layout, network: Network, plugins: Path) -> None:
    """kube-proxy ends when its file changes, so all files are written once, before anything starts."""
    run, pki = layout.run, layout.inside(layout.run / "pki")
    (run / "kubelet.json").write_text(json.dumps(_kubelet(network, pki, layout), indent=1))
    (run / "kube-proxy.json").write_text(json.dumps(_proxy(network, pki), indent=1))
    (run / "containerd.toml").write_text(_containerd(plugins, layout))
    (run / "resolv.conf").write_text(f"nameserver {network.dns}\n")
    (run / "net.d").mkdir()
    (run / "net.d" / "pods.conflist").write_text(json.dumps(_pod_network(network), indent=1))


def _kubelet(network: Network, pki: Path, layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.node,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet-serving.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-serving.key",
        "clusterDNS": [network.dns],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.inside(layout.run / "resolv.conf")),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "enforceNodeAllocatable": [],
        # A machine that still has the first version of cgroups, or swap, will do for a test.
        "failCgroupV1": False,
        "failSwapOn": False,
        # Images cannot be pulled again: never collect one, and see no disk pressure before it is full.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "makeIPTablesUtilChains": False,
        "maxPods": MAX_PODS,
        "oomScoreAdj": 0,
        "serializeImagePulls": False,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def _proxy(network: Network, pki: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{pki}/kube-proxy.kubeconfig"},
        "mode": "nftables",
        "clusterCIDR": network.pods,
        "detectLocalMode": "ClusterCIDR",
        "hostnameOverride": NODE_NAME,
        "nodePortAddresses": ["primary"],
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        # The size of the kernel's connection table belongs to the whole machine: leave it.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms"},
    }


def _pod_network(network: Network) -> dict[str, Any]:
    """Give each pod its own cable to the node, so every packet between pods passes the node's rules."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}],
    }


def _containerd(plugins: Path, layout: Layout) -> str:
    """Without CAP_SYS_RESOURCE no sandbox starts, unless scores of the OOM killer are left as they are."""
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{layout.inside(layout.run / "net.d")}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
