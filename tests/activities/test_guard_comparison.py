"""Ensures that altered guards are found by their meaning, and that no other difference is one."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from activities.parts.namespace_quotas import namespace_policies, pod_security
from activities.reconcile.guard_comparison import guard_differences, label_differences
from clients.host.models import HostNetworks, Peer, PeerPods
from contracts.environment.chart_values import compose_values
from tests.activities.conftest import OTHER_INSTALLATION, an_environment

ENVIRONMENT = an_environment("demo")
NETWORKS = HostNetworks(
    dns=(Peer("10.96.0.10/32", (53,)),),
    dns_pods=(PeerPods("kube-system", {"k8s-app": "kube-dns"}, (5353,)),),
    api_server=(Peer("10.96.0.1/32", (443,)), Peer("198.18.7.7/32", (6443,))),
    nodes=("8.8.4.0/24",),
)
Guards = list[dict[str, Any]]
Change = Callable[[Guards], object]


def guards(networks: HostNetworks = NETWORKS) -> Guards:
    return copy.deepcopy(namespace_policies(ENVIRONMENT, compose_values(ENVIRONMENT), networks))


def spec(found: Guards, kind: str, name: str = "moorage") -> dict[str, Any]:
    [one] = [each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    part: dict[str, Any] = one["spec"]
    return part


def policy(found: Guards, name: str) -> dict[str, Any]:
    return spec(found, "NetworkPolicy", f"moorage-{name}")


def differences(change: Change) -> list[str]:
    found = guards()
    change(found)
    return guard_differences(guards(), found, ENVIRONMENT.mark)


def stored(found: Guards) -> None:
    """As an API server stores and returns them: with its own fields, in its own forms."""
    for each in found:
        each["metadata"] |= {"uid": "u", "resourceVersion": "7", "managedFields": [{"manager": "moorage"}]}
    quota = spec(found, "ResourceQuota")
    for field, value in {"requests.cpu": "5", "limits.cpu": "5", "limits.memory": "6620708864"}.items():
        quota["hard"][field] = value
    next(each for each in found if each["kind"] == "ResourceQuota")["status"] = {"used": {"pods": "3"}}
    container = spec(found, "LimitRange")["limits"][0]
    container["default"]["cpu"] = "0.5"
    container["defaultRequest"]["memory"] = "67108864"
    deny = policy(found, "deny")
    del deny["ingress"], deny["egress"]
    for rule in policy(found, "dns")["egress"]:
        for port in rule["ports"]:
            if port["protocol"] == "TCP":
                del port["protocol"]
    policy(found, "within")["ingress"][0]["from"][0]["podSelector"] = {"matchLabels": {}}
    pods = policy(found, "host-api")["podSelector"]
    labels = pods.pop("matchLabels")
    pods["matchExpressions"] = [
        {"key": key, "operator": "In", "values": [each]} for key, each in labels.items()
    ]
    found.reverse()


def split_rules(found: Guards) -> None:
    """The same is allowed by more rules."""
    egress = policy(found, "host-api")["egress"]
    egress[:] = [{**rule, "ports": [port]} for rule in reversed(egress) for port in rule["ports"]]


def exclude_more(found: Guards) -> None:
    """Nodes that are gone are still excluded, and two halves of a network are as good as the whole."""
    block = policy(found, "internet")["egress"][0]["to"][0]["ipBlock"]
    block["except"].remove("8.8.4.0/24")
    block["except"] += ["8.8.4.128/25", "8.8.4.0/25", "9.9.9.9/32"]


def add_strangers(found: Guards) -> None:
    """Others have their own objects, and a further limit in ours."""
    other = an_environment("demo", installation=OTHER_INSTALLATION).mark
    for name, labels in (("team", {}), ("moorage-theirs", other.labels)):
        everything = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
        metadata = {"name": name, "labels": dict(labels)}
        found.append({"kind": "NetworkPolicy", "metadata": metadata, "spec": everything})
    found.append({"kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": {"pods": "1"}}})
    spec(found, "ResourceQuota")["hard"]["requests.nvidia.com/gpu"] = "1"


def keep_an_api_server(found: Guards) -> None:
    """An API server that is restarting is not among the host's own addresses."""
    policy(found, "host-api")["egress"][1]["to"].append({"ipBlock": {"cidr": "198.18.7.9/32"}})


@pytest.mark.parametrize(
    "change", [lambda _: None, stored, split_rules, exclude_more, add_strangers, keep_an_api_server]
)
def test_what_means_the_same_is_no_difference(change: Change) -> None:
    assert differences(change) == []


def remove(kind: str, name: str) -> Change:
    return lambda found: found.remove(
        next(each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name))
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda found: spec(found, "ResourceQuota")["hard"].update({"requests.cpu": "32"}),
            "quota requests.cpu is 32 and should be 5",
        ),
        (
            lambda found: spec(found, "ResourceQuota")["hard"].update({"limits.memory": "6315Mi"}),
            "quota limits.memory is 6315Mi and should be 6314Mi",
        ),
        (
            lambda found: spec(found, "ResourceQuota")["hard"].pop("services.nodeports"),
            "quota services.nodeports is not set and should be 0",
        ),
        (
            lambda found: spec(found, "ResourceQuota")["hard"].update({"pods": "a lot"}),
            "quota pods is a lot and should be 24",
        ),
        (
            lambda found: spec(found, "ResourceQuota").update({"scopes": ["BestEffort"]}),
            "quota scopes are BestEffort and should not be set",
        ),
        (
            lambda found: spec(found, "ResourceQuota").update({"hard": None}),
            "quota requests.cpu is not set and should be 5",
        ),
        (
            lambda found: spec(found, "LimitRange")["limits"][0]["default"].update({"cpu": "1500m"}),
            "limit range Container default cpu is 1.5 and should be 0.5",
        ),
        (
            lambda found: spec(found, "LimitRange")["limits"][0].update({"max": {"cpu": "100m"}}),
            "limit range Container max cpu is 0.1 and should not be set",
        ),
        (
            lambda found: spec(found, "LimitRange")["limits"].pop(),
            "limit range PersistentVolumeClaim max storage is not set and should be 10Gi",
        ),
        (remove("ResourceQuota", "moorage"), "quota moorage is missing"),
        (remove("NetworkPolicy", "moorage-deny"), "network policy moorage-deny is missing"),
        (
            lambda found: found[0]["metadata"].update({"labels": {}}),
            "quota moorage does not bear the owner mark",
        ),
        (
            lambda found: policy(found, "deny").update({"egress": [{}]}),
            "network policy moorage-deny egress allows everything at every port and should not",
        ),
        (
            lambda found: policy(found, "deny").update({"policyTypes": ["Ingress"]}),
            "network policy moorage-deny policyTypes is Ingress and should be Egress, Ingress",
        ),
        (
            lambda found: policy(found, "within")["ingress"][0].update(
                {"from": [{"podSelector": {}, "namespaceSelector": {}}]}
            ),
            "network policy moorage-within ingress allows pods with any label in namespaces with any label "
            "at every port and should not",
        ),
        (
            lambda found: policy(found, "host-api").update({"podSelector": {}}),
            "network policy moorage-host-api podSelector is any label and should be "
            "app=vcluster, release=moor-demo",
        ),
        (
            lambda found: policy(found, "host-api")["egress"][1]["to"].append(
                {"ipBlock": {"cidr": "10.0.0.0/8"}}
            ),
            "network policy moorage-host-api egress allows 10.0.0.0/8 at 6443/TCP and should not",
        ),
        (
            lambda found: policy(found, "exposure")["ingress"][0]["ports"][0].update({"endPort": 9000}),
            "network policy moorage-exposure ingress allows everything at 8443-9000/TCP and should not",
        ),
        (
            lambda found: policy(found, "dns")["egress"].pop(0),
            "network policy moorage-dns egress does not allow 10.96.0.10/32 at 53/UDP and 1 more and should",
        ),
        (
            lambda found: policy(found, "internet")["egress"][0]["to"][0]["ipBlock"]["except"].remove(
                "10.0.0.0/8"
            ),
            "network policy moorage-internet egress allows 0.0.0.0/0 at 443/TCP with too few exceptions "
            "and should not",
        ),
    ],
)
def test_what_is_altered_is_named_with_object_and_field(change: Change, sentence: str) -> None:
    assert sentence in differences(change)


def test_policies_that_lack_rules_altogether_are_named() -> None:
    found = differences(lambda found: policy(found, "within").clear())
    assert "network policy moorage-within policyTypes is not set and should be Egress, Ingress" in found


def test_a_new_address_of_the_api_server_is_a_difference() -> None:
    """Ensures that the policies follow their host: the vCluster cannot work otherwise."""
    moved = replace(NETWORKS, api_server=(Peer("198.18.7.8/32", (6443,)),))
    found = guard_differences(guards(moved), guards(), ENVIRONMENT.mark)
    assert (
        "network policy moorage-host-api egress does not allow 198.18.7.8/32 at 6443/TCP and should" in found
    )


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({}, "pod security enforce is not set and should be baseline"),
        (
            {"pod-security.kubernetes.io/enforce": "privileged"},
            "pod security enforce is privileged and should be baseline",
        ),
    ],
)
def test_pod_security_is_compared(labels: dict[str, str], sentence: str) -> None:
    wanted = pod_security(ENVIRONMENT)
    assert label_differences(wanted, {**wanted, "team": "blue"}) == []
    assert sentence in label_differences(wanted, labels)
