"""The pure parts: quotas and policies, chart values, quantities, and whose a mark is."""

import ipaddress
import json
from typing import Any

import pytest

from activities.errors import Conflict, NotAccepted
from activities.ownership import describe_owner, mark_text, require_ours
from activities.parts.namespace_quotas import namespace_policies, pod_security
from activities.parts.quantities import capacity_of, smallest, sum_bytes, sum_cpus
from clients.host.models import HostNetworks, NodeCapacity, Peer, PeerPods
from clients.kubernetes.cluster.dry_run import REQUIRED
from contracts.capacity.models import Limits
from contracts.capacity.sizes import size_of
from contracts.environment.chart_values import ETCD, PROCESS_FILES, compose_values, merge_values, value_at
from contracts.environment.models import Environment
from contracts.templates.template import Network, PodSecurity, Template
from contracts.types.quantities import parse_quantity
from tests.activities.conftest import OTHER_INSTALLATION, an_environment

ENVIRONMENT = an_environment("demo")
NETWORKS = HostNetworks(
    dns=(Peer("10.96.0.10/32", (53,)),),
    dns_pods=(PeerPods("kube-system", {"k8s-app": "kube-dns"}, (5353,)),),
    api_server=(Peer("10.96.0.1/32", (443,)), Peer("198.18.7.7/32", (6443,))),
    nodes=("8.8.4.0/24", "10.1.0.0/16", "2001:db8::/64", "2600:1f00::1/128", "fd00::1/128"),
    pods=("9.9.0.0/16", "10.244.0.0/16"),
)


def guard(environment: Environment, kind: str, name: str = "moorage") -> dict[str, Any]:
    [found] = [
        each
        for each in namespace_policies(environment, compose_values(environment), NETWORKS)
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    spec = found["spec"]
    assert isinstance(spec, dict)
    return spec


@pytest.mark.parametrize(
    ("quantities", "total"),
    [
        (("100n", "1n"), "1m"),
        (("2", "500m"), "2500m"),
        (("0.5", "0.5"), "1000m"),
        (("100m",), "100m"),
        (("1k",), "1000000m"),
    ],
)
def test_cpus_add_up(quantities: tuple[str, ...], total: str) -> None:
    assert sum_cpus(*quantities) == total


@pytest.mark.parametrize(
    ("quantities", "total"),
    [
        (("4Gi", "512Mi"), "4608Mi"),
        (("1G",), "1000000000"),
        (("1.5Gi",), "1536Mi"),
        (("1048576",), "1Mi"),
    ],
)
def test_octets_add_up(quantities: tuple[str, ...], total: str) -> None:
    assert sum_bytes(*quantities) == total


@pytest.mark.parametrize("text", ["", "plenty", "4GiB", "Gi", "1 Gi", "--1", "None"])
def test_what_is_no_quantity_is_rejected(text: str) -> None:
    with pytest.raises(NotAccepted, match=f'"{text}"'):
        sum_bytes(text)


@pytest.mark.parametrize("odd", ["1Pi", "129e6", ".5", "100n", "1E", "+2", "3.", "-1"])
def test_a_node_may_say_what_it_has_in_any_legal_way(odd: str) -> None:
    room, remark = capacity_of([NodeCapacity("2", "4Gi"), NodeCapacity(odd, odd)])
    assert room.cpu is not None
    assert room.cpu >= 2000
    assert remark == ""


def test_a_node_that_says_something_odd_does_not_hide_the_others() -> None:
    """Ensures that it counts as nothing, and is reported."""
    room, remark = capacity_of([NodeCapacity("2", "4Gi"), NodeCapacity("many", "4Gi"), NodeCapacity("1", "")])
    assert room == Limits(cpu=2000, memory=4 * 2**30)
    assert remark.startswith('2 of its 3 nodes do not count: "many" is not a quantity')


def test_the_least_quantity_is_the_smallest_and_not_the_shortest() -> None:
    assert smallest("1Gi", "512Mi", "2G") == "512Mi"


def test_the_quota_is_the_size_and_what_the_vcluster_itself_needs() -> None:
    hard = guard(ENVIRONMENT, "ResourceQuota")["hard"]
    assert hard["limits.cpu"] == "5000m", "2 of the template, 2 of the control plane, 1 of its DNS"
    assert hard["limits.memory"] == "6314Mi", "4 Gi, 2 Gi and 170 Mi"
    assert hard["requests.storage"] == "15360Mi", "10 Gi, and 5 Gi of the control plane's volume"
    assert hard["pods"] == "24"


def test_the_quota_follows_what_a_template_gives_its_control_plane() -> None:
    more = {"controlPlane": {"statefulSet": {"resources": {"limits": {"cpu": "4", "memory": "4Gi"}}}}}
    hard = guard(an_environment("demo", values=more), "ResourceQuota")["hard"]
    assert (hard["limits.cpu"], hard["limits.memory"]) == ("7000m", "8362Mi")


@pytest.mark.parametrize(
    ("kind", "load_balancers", "node_ports"),
    [(None, "0", "0"), ("ClusterIP", "0", "0"), ("NodePort", "0", "2"), ("LoadBalancer", "1", "2")],
)
def test_only_the_way_in_gets_ports_of_the_nodes(
    kind: str | None, load_balancers: str, node_ports: str
) -> None:
    values = {"controlPlane": {"service": {"spec": {"type": kind}}}} if kind else {}
    hard = guard(an_environment("demo", values=values), "ResourceQuota")["hard"]
    assert (hard["services.loadbalancers"], hard["services.nodeports"]) == (load_balancers, node_ports)


@pytest.mark.parametrize(
    ("etcds", "planes", "cpu", "memory", "storage", "pods"),
    [
        (0, 1, "5", 4096 + 2048 + 170, "15Gi", 24),
        (1, 1, "5500m", 4096 + 2048 + 170 + 512, "20Gi", 26),
        (3, 2, "8500m", 4096 + 2 * 2048 + 170 + 3 * 512, "35Gi", 32),
    ],
    ids=["the usual", "an etcd", "high availability"],
)
def test_the_quota_has_room_for_every_replica_of_the_vcluster_itself(
    etcds: int, planes: int, cpu: str, memory: int, storage: str, pods: int
) -> None:
    """Ensures that no control plane, DNS or etcd is refused for what the template itself asks of them."""
    replicas = {"highAvailability": {"replicas": max(etcds, 1)}}
    values = {
        "controlPlane": {
            "backingStore": {"etcd": {"deploy": {"enabled": etcds > 0, "statefulSet": replicas}}},
            "statefulSet": {"highAvailability": {"replicas": planes}},
        }
    }
    environment = an_environment("demo", values=values)
    hard = guard(environment, "ResourceQuota")["hard"]
    assert parse_quantity(hard["limits.cpu"]) == parse_quantity(cpu)
    assert parse_quantity(hard["limits.memory"]) == memory * 2**20
    assert parse_quantity(hard["requests.storage"]) == parse_quantity(storage)
    assert hard["pods"] == str(pods)
    # What is reserved on the host is the same.
    held = size_of(environment.template.size, compose_values(environment))
    assert (held.cpu, held.memory) == (int(parse_quantity(cpu) * 1000), memory * 2**20)


def test_a_deployed_etcd_keeps_nothing_and_runs_as_non_root_where_that_is_asked() -> None:
    values = {"controlPlane": {"backingStore": {"etcd": {"deploy": {"enabled": True}}}}}
    composed = compose_values(an_environment("demo", values=values, pod_security=PodSecurity.RESTRICTED))
    etcd = value_at(composed, *ETCD, "statefulSet")
    assert etcd["persistence"]["volumeClaim"]["retentionPolicy"] == "Delete"
    assert etcd["security"]["podSecurityContext"]["runAsNonRoot"] is True
    assert value_at(compose_values(ENVIRONMENT), *ETCD) is None, "it is said although there is none"


OWN = {"name": "own", "mountPath": PROCESS_FILES}


@pytest.mark.parametrize(
    ("persistence", "mounts"),
    [
        ({}, [PROCESS_FILES]),
        ({"addVolumeMounts": [{"name": "a", "mountPath": "/etc/a"}]}, ["/etc/a", PROCESS_FILES]),
        ({"addVolumeMounts": [OWN]}, [PROCESS_FILES]),
        ({"addVolumeMounts": None}, [PROCESS_FILES]),
        ({"addVolumes": "odd"}, None),
        ("odd", None),
        (None, None),
    ],
    ids=["nothing", "another", "its own folder", "null", "odd volumes", "odd", "no persistence"],
)
def test_each_pod_of_a_vcluster_begins_without_process_files(
    persistence: Any, mounts: list[str] | None
) -> None:
    """Ensures that a vCluster which was killed over such a file starts again; odd values stay odd."""
    values = {"controlPlane": {"statefulSet": {"persistence": persistence}}}
    composed = compose_values(an_environment("demo", values=values))
    found = value_at(composed, "controlPlane", "statefulSet", "persistence", "addVolumeMounts")
    assert (found and [each["mountPath"] for each in found]) == mounts
    named = value_at(composed, "controlPlane", "statefulSet", "persistence", "addVolumes")
    if mounts and OWN not in found:
        assert {each["name"]: each["emptyDir"] for each in named} == {found[-1]["name"]: {}}


def test_a_container_that_names_no_limits_never_gets_more_than_the_environment_has() -> None:
    limits, _ = guard(ENVIRONMENT, "LimitRange")["limits"]
    assert limits["default"] == {"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "1Gi"}
    assert set(limits["defaultRequest"]) == set(limits["default"]), "a quota refuses pods without"


def test_no_claim_is_larger_than_all_of_them_may_be() -> None:
    _, claim = guard(ENVIRONMENT, "LimitRange")["limits"]
    assert claim == {"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}}


def test_what_is_written_on_nodes_is_bounded() -> None:
    hard = guard(ENVIRONMENT, "ResourceQuota")["hard"]
    assert hard["limits.ephemeral-storage"] == "32768Mi", "20 and 4 pods, and 8 Gi of the control plane"
    assert hard["requests.ephemeral-storage"] == hard["limits.ephemeral-storage"]
    more = {"controlPlane": {"statefulSet": {"resources": {"limits": {"ephemeral-storage": "20Gi"}}}}}
    hard = guard(an_environment("demo", values=more), "ResourceQuota")["hard"]
    assert hard["limits.ephemeral-storage"] == "45056Mi"


@pytest.mark.parametrize(
    "what",
    [
        "pods",
        "services",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "count/endpoints",
        "count/endpointslices.discovery.k8s.io",
        "count/serviceaccounts",
        "count/poddisruptionbudgets.policy",
        "count/ingresses.networking.k8s.io",
    ],
)
def test_objects_are_counted(what: str) -> None:
    # Kinds that the vCluster's own Role may make: thousands of one hold up a host's API server.
    assert 0 < int(guard(ENVIRONMENT, "ResourceQuota")["hard"][what]) <= 300


def test_nothing_goes_in_or_out_but_for_the_exceptions() -> None:
    deny = guard(ENVIRONMENT, "NetworkPolicy", "moorage-deny")
    assert deny == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [],
        "egress": [],
    }


def test_what_doctor_rehearses_is_what_an_environment_gets() -> None:
    """Ensures that the dry run of setup has each resource of the quota and each limit, and no others."""

    def names(kind: str, spec: dict[str, Any]) -> Any:
        if kind == "ResourceQuota":
            return set(spec["hard"])
        return [{field: set(each[field]) for field in each if field != "type"} for each in spec["limits"]]

    for _, body in REQUIRED.values():
        kind = body["kind"]
        assert names(kind, body["spec"]) == names(kind, guard(ENVIRONMENT, kind))


def egress() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each rule by which something leaves: its policy, the pods that may, and the rule."""
    return [
        (each["metadata"]["name"], each["spec"]["podSelector"], rule)
        for each in namespace_policies(ENVIRONMENT, compose_values(ENVIRONMENT), NETWORKS)
        for rule in each["spec"].get("egress", [])
    ]


def test_whatever_leaves_leaves_for_what_is_named_at_ports_that_are_named() -> None:
    for name, _, rule in egress():
        assert rule.get("to"), f"{name} opens all addresses"
        assert rule.get("ports") or name == "moorage-within", f"{name} opens all ports"


def test_names_are_asked_of_the_hosts_own_servers_alone() -> None:
    rules = [rule for name, _, rule in egress() if name == "moorage-dns"]
    both = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    behind = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    assert rules == [
        {"to": [{"ipBlock": {"cidr": "10.96.0.10/32"}}], "ports": both},
        {"to": [behind], "ports": [{**each, "port": 5353} for each in both]},
    ]
    with_port_53 = {
        name for name, _, rule in egress() for port in rule.get("ports", []) if port["port"] == 53
    }
    assert with_port_53 == {"moorage-dns"}


def test_the_hosts_api_server_is_reached_by_the_vcluster_itself_at_its_own_ports() -> None:
    own = {"matchLabels": {"app": "vcluster", "release": "moor-demo"}}
    found = [(pods, rule) for name, pods, rule in egress() if name == "moorage-host-api"]
    assert [pods for pods, _ in found] == [own, own]
    assert {(rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]) for _, rule in found} == {
        ("10.96.0.1/32", 443),
        ("198.18.7.7/32", 6443),
    }


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("8.8.8.8", True),
        ("1.1.1.1", True),
        ("172.15.0.1", True),
        ("2606:4700:4700::1111", True),
        ("10.1.2.3", False),
        ("172.31.255.255", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),  # metadata of a cloud
        ("169.254.169.254", False),
        ("192.0.0.192", False),  # metadata of another
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("198.18.0.1", False),
        ("198.19.255.255", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("8.8.4.4", False),  # a node's
        ("9.9.9.9", False),  # a pod's
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b:1::1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("2001::1", False),  # Teredo
        ("2002:a00:1::1", False),  # 10.0.0.1 by 6to4
        ("2001:db8::1", False),
        ("2600:1f00::1", False),  # a node's
        ("2600:1f00::2", True),
        ("4000::1", False),
    ],
)
def test_the_internet_is_what_is_global_and_no_part_of_the_host(address: str, reached: bool) -> None:
    [rule] = [rule for name, _, rule in egress() if name == "moorage-internet"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    one = ipaddress.ip_address(address)
    found = any(
        one in ipaddress.ip_network(block["cidr"])
        and not any(one in ipaddress.ip_network(other) for other in block["except"])
        for block in (each["ipBlock"] for each in rule["to"])
        if one.version == ipaddress.ip_network(block["cidr"]).version
    )
    assert found is reached


def test_what_is_excluded_lies_within_what_it_is_excluded_from() -> None:
    # An API server refuses a policy of which that is not so.
    [rule] = [rule for name, _, rule in egress() if name == "moorage-internet"]
    for block in (each["ipBlock"] for each in rule["to"]):
        whole: Any = ipaddress.ip_network(block["cidr"])
        assert all(whole.supernet_of(ipaddress.ip_network(other)) for other in block["except"])
        assert len(set(block["except"])) == len(block["except"])


def test_a_template_keeps_its_pods_from_the_internet() -> None:
    closed = an_environment("demo", network=Network(internet=False))
    assert _policies(ENVIRONMENT) - _policies(closed) == {"moorage-internet"}
    assert _policies(closed) == {
        f"moorage-{name}" for name in ("deny", "within", "dns", "host-api", "exposure")
    }


def _policies(environment: Environment) -> set[str]:
    objects = namespace_policies(environment, compose_values(environment), NETWORKS)
    return {each["metadata"]["name"] for each in objects if each["kind"] == "NetworkPolicy"}


@pytest.mark.parametrize("level", PodSecurity)
def test_a_template_says_what_its_host_enforces_on_pods(level: PodSecurity) -> None:
    labels = pod_security(an_environment("demo", pod_security=level))
    assert labels["pod-security.kubernetes.io/enforce"] == level
    assert pod_security(ENVIRONMENT)["pod-security.kubernetes.io/enforce"] == "baseline"


def test_where_nothing_runs_as_root_the_vcluster_does_not_either() -> None:
    values = compose_values(an_environment("demo", pod_security=PodSecurity.RESTRICTED))
    own = values["controlPlane"]["statefulSet"]["security"]
    assert own["podSecurityContext"]["runAsNonRoot"] is True
    assert own["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (
        own["containerSecurityContext"],
        values["controlPlane"]["distro"]["k8s"]["securityContext"],
    ):
        assert container["capabilities"] == {"drop": ["ALL"]}
        assert container["allowPrivilegeEscalation"] is False
    assert "security" not in compose_values(ENVIRONMENT)["controlPlane"]["statefulSet"]


@pytest.mark.parametrize("level", ["privileged", "none", ""])
def test_no_template_is_weaker_than_the_platform(level: str) -> None:
    template = ENVIRONMENT.template.model_dump() | {"pod_security": level}
    with pytest.raises(ValueError, match="pod_security"):
        Template.model_validate(template)


def test_every_guard_bears_the_mark_and_is_in_the_namespace() -> None:
    for each in namespace_policies(ENVIRONMENT, compose_values(ENVIRONMENT), NETWORKS):
        assert each["metadata"]["labels"] == ENVIRONMENT.mark.labels
        assert each["metadata"]["namespace"] == "moor-demo"


def test_guards_and_values_are_the_same_each_time_and_plain_json() -> None:
    values = compose_values(ENVIRONMENT)
    assert values == compose_values(ENVIRONMENT)
    assert json.loads(json.dumps(values)) == values
    objects = namespace_policies(ENVIRONMENT, values, NETWORKS)
    assert json.loads(json.dumps(objects)) == objects


def test_a_template_lies_over_our_values_and_a_host_over_both() -> None:
    environment = an_environment("demo", values={"telemetry": {"enabled": True}, "sync": {"a": 1, "b": 1}})
    values = compose_values(environment, {"sync": {"b": 2}})
    assert values["telemetry"] == {"enabled": True}
    assert values["sync"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("policy", ["resourceQuota", "limitRange", "networkPolicy"])
def test_no_template_turns_on_the_charts_own_policies(policy: str) -> None:
    environment = an_environment("demo", values={"policies": {policy: {"enabled": True}}})
    assert compose_values(environment)["policies"][policy]["enabled"] is False


def test_the_kubernetes_version_is_written_as_the_chart_has_it() -> None:
    assert compose_values(ENVIRONMENT)["controlPlane"]["distro"]["k8s"]["version"] == "v1.36.0"


def test_an_overlay_changes_neither_layer() -> None:
    below, above = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge_values(below, above) == {"a": {"b": 1, "c": 2}}
    assert (below, above) == ({"a": {"b": 1}}, {"a": {"c": 2}})


MARK = ENVIRONMENT.mark


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "was not made by Moorage"),
        ("", "was not made by Moorage"),
        ("made by hand", "was not made by Moorage"),
        ("a//b", "was not made by Moorage"),
        (an_environment("demo", life="later").mark.text, "belongs to another life of the environment demo"),
        (an_environment("other").mark.text, "belongs to the environment other"),
        (
            an_environment("demo", installation=OTHER_INSTALLATION).mark.text,
            f"belongs to another installation of Moorage, {OTHER_INSTALLATION}",
        ),
    ],
)
def test_a_conflict_says_whose_it_is(found: str | None, words: str) -> None:
    assert describe_owner(found, MARK) == words
    with pytest.raises(Conflict, match=words):
        require_ours("control plane", "Project moor-demo", found, MARK)


@pytest.mark.parametrize("found", [MARK.text + " ", MARK.text.upper(), MARK.text[:-1], f"{MARK.text}/x"])
def test_nearly_our_mark_is_not_our_mark(found: str) -> None:
    with pytest.raises(Conflict):
        require_ours("control plane", "Project moor-demo", found, MARK)


def test_our_mark_is_ours_as_text_and_as_labels() -> None:
    require_ours("control plane", "Project moor-demo", MARK.text, MARK)
    assert mark_text(MARK.labels) == MARK.text
    assert mark_text({"app": "vcluster"}) is None
