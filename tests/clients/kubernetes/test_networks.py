"""Where a host has its DNS, API server, nodes and pods, as its API server says it."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from aiohttp import web

from clients.errors import Denied, Rejected
from clients.host.models import HostNetworks, Peer, PeerPods
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.cluster.dry_run import FORBIDDEN
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Answer, Server
from tests.clients.kubernetes.test_api import status
from tests.support.stand_ins import CHECKOUT

NODES = [
    {
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd10::/64"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "10.1.0.4"},
                {"type": "InternalIP", "address": "fd01::4"},
                {"type": "ExternalIP", "address": "198.51.100.4"},
                {"type": "Hostname", "address": "one"},
            ]
        },
    },
    {
        "spec": {"podCIDR": "10.244.1.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.1.0.5"}]},
    },
]
API_SERVER = {"spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 443}]}}
API_SLICES = [
    {
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 6443}],
        "endpoints": [{"addresses": ["10.1.0.2"]}, {"addresses": ["10.1.0.3"]}],
    }
]
DNS = {
    "spec": {
        "clusterIPs": ["10.96.0.10"],
        "selector": {"k8s-app": "kube-dns"},
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "metrics", "port": 9153},
        ],
    }
}
DNS_SLICES = [
    {
        "addressType": "IPv4",
        "ports": [
            {"name": "dns", "port": 5353},
            {"name": "dns-tcp", "port": 5353},
            {"name": "metrics", "port": 9153},
        ],
        "endpoints": [{"addresses": ["10.244.0.7"]}],
    }
]


def cluster(
    *, dns: Mapping[str, Any] | None = DNS, dns_slices: Any = DNS_SLICES, api_slices: Any = API_SLICES
) -> Answer:
    answers = {
        "/api/v1/nodes": {"items": NODES},
        "/api/v1/namespaces/default/services/kubernetes": API_SERVER,
        "/api/v1/namespaces/kube-system/services/kube-dns": dns,
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": {"items": api_slices},
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices": {"items": dns_slices},
    }

    def answer(request: web.Request) -> web.StreamResponse:
        found = answers[request.path]
        return web.json_response(found) if found else status(404, "none", "NotFound")(request)

    return answer


async def asked(tmp_path: Path, server: tuple[Server, int], options: HostOptions) -> HostNetworks:
    host = a_host(tmp_path, server, options)
    try:
        return await host.networks()
    finally:
        await host.close()


def a_host(
    tmp_path: Path, server: tuple[Server, int], options: HostOptions, helm: Helm | None = None
) -> KubernetesHost:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server[1]}"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return KubernetesHost(
        "h", CredentialSource(path), cast(Helm, helm), options, timeout=timedelta(seconds=5)
    )


async def test_all_is_read_from_the_cluster(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that Services and what is behind them are named, each with its own ports."""
    server[0].answer = cluster()
    assert await asked(tmp_path, server, HostOptions()) == HostNetworks(
        dns=(Peer("10.96.0.10/32", (53,)),),
        dns_pods=(PeerPods("kube-system", {"k8s-app": "kube-dns"}, (5353,)),),
        api_server=(
            Peer("10.96.0.1/32", (443,)),
            Peer("10.1.0.2/32", (6443,)),
            Peer("10.1.0.3/32", (6443,)),
        ),
        nodes=("10.1.0.2/31", "10.1.0.4/31", "10.96.0.1/32", "198.51.100.4/32", "fd01::4/128"),
        pods=("10.244.0.0/23", "fd10::/64"),
    )


async def test_the_settings_say_what_the_cluster_does_not(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that a named API server is not asked for, and that named DNS comes beside the cluster's."""
    server[0].answer = cluster(api_slices=[])
    options = HostOptions(
        dns=(Peer("169.254.20.10/32", (53,)),),
        api_server=(Peer("10.9.0.0/24", (6443,)),),
        node_networks=("198.51.100.0/24",),
    )
    found = await asked(tmp_path, server, options)
    assert found.api_server == options.api_server
    assert found.dns == (Peer("169.254.20.10/32", (53,)), Peer("10.96.0.10/32", (53,)))
    assert {"10.9.0.0/24", "198.51.100.0/24"} <= set(found.nodes)
    assert not [each for each in server[0].asked if "/default/" in each.path]


async def test_a_dns_without_pods_of_its_own(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that where nothing is selected the addresses behind the Service are named."""
    server[0].answer = cluster(dns={"spec": {**DNS["spec"], "selector": None}})
    found = await asked(tmp_path, server, HostOptions())
    assert found.dns == (Peer("10.96.0.10/32", (53,)), Peer("10.244.0.7/32", (5353,)))
    assert found.dns_pods == ()


async def test_a_dns_that_is_down(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that the usual port is taken while there is none behind the Service."""
    server[0].answer = cluster(dns_slices=[])
    found = await asked(tmp_path, server, HostOptions())
    assert found.dns_pods == (PeerPods("kube-system", {"k8s-app": "kube-dns"}, (53,)),)


async def test_a_dns_that_is_called_otherwise(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that the setting is named by which it is put right, and that it does."""
    server[0].answer = cluster(dns=None)
    with pytest.raises(Rejected, match=r"no Service kube-dns in kube-system: .* setting dns"):
        await asked(tmp_path, server, HostOptions())
    found = await asked(tmp_path, server, HostOptions(dns=(Peer("10.96.0.9/32", (53,)),)))
    assert (found.dns, found.dns_pods) == ((Peer("10.96.0.9/32", (53,)),), ())


def refusing(by: Mapping[str, str]) -> Answer:
    """An API server that refuses each object of `FORBIDDEN` in these words; what is not in it is let in."""
    words = {json.dumps(body): by[what] for what, (_, body) in FORBIDDEN.items() if what in by}

    def answer(request: web.Request) -> web.StreamResponse:
        assert request.query["dryRun"] == "All", "something is made"
        text = (request._read_bytes or b"").decode()
        refusal = words.get(json.dumps(json.loads(text)))
        return status(403, refusal, "Forbidden")(request) if refusal else web.json_response({})

    return answer


async def test_what_tenants_could_do_is_reported(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that what is let in, or is refused for another reason, is named, and only that."""
    host = a_host(tmp_path, server, HostOptions())
    kept = dict.fromkeys(FORBIDDEN, "denied request: ValidatingAdmissionPolicy 'x' denied request: no")
    server[0].answer = refusing(kept)
    assert await host.find_policy_gaps() == []
    server[0].answer = refusing({what: words for what, words in kept.items() if "externalIPs" not in what})
    assert await host.find_policy_gaps() == ["Services with externalIPs"]
    server[0].answer = refusing({**kept, "claims that name a volume": "exceeded quota"})
    assert await host.find_policy_gaps() == ["claims that name a volume (403 exceeded quota)"]
    server[0].answer = status(404, 'namespaces "moorage-dry-run" not found', "NotFound")
    with pytest.raises(Denied, match="moorage-dry-run"):
        await host.find_policy_gaps()
    await host.close()


async def test_the_quota_and_the_limit_range_are_rehearsed(
    tmp_path: Path, server: tuple[Server, int]
) -> None:
    """Ensures that each is sent dry, and that a refusal of either is reported in the host's words."""
    host = a_host(tmp_path, server, HostOptions())
    server[0].answer = lambda _: web.json_response({})
    assert await host.find_refused_policies() == []
    asked = {request.path.rpartition("/")[2]: request for request in server[0].asked}
    assert set(asked) == {"resourcequotas", "limitranges"}
    for request in asked.values():
        assert (request.method, request.query["dryRun"]) == ("POST", "All"), "something is made"
        assert "/namespaces/moorage-dry-run/" in request.path
    admitted = status(403, 'admission webhook "validate.kyverno.svc" denied the request: no', "Forbidden")
    server[0].answer = lambda request: (
        admitted(request) if request.path.endswith("limitranges") else web.json_response({})
    )
    [words] = await host.find_refused_policies()
    assert words.startswith("limit range (")
    assert "validate.kyverno.svc" in words
    server[0].answer = status(422, "hard[count/x]: Invalid value", "Invalid")
    assert [each.partition(" (")[0] for each in await host.find_refused_policies()] == [
        "quota",
        "limit range",
    ]
    await host.close()


def test_dry_run_covers_each_policy() -> None:
    """Ensures that each rule of the policies is tried in a dry run, or is known not to be."""
    documents = list(yaml.safe_load_all((CHECKOUT / "deploy" / "rbac.yaml").read_text()))
    sentences = [
        rule["message"]
        for each in documents
        if each["kind"] == "ValidatingAdmissionPolicy"
        and each["metadata"]["name"].startswith("moorage-tenant-")
        for rule in each["spec"]["validations"]
    ]
    # Not of it: what the worker's account may do, annotations, the form of slices of names, and deletions.
    assert len(sentences) == len(FORBIDDEN) + 7
