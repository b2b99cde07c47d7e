"""What the pods of the chart may reach, and who may reach them."""

import pytest

from tests.deploy.chart import objects, of_kind
from tests.deploy.values import (
    EVERYTHING,
    GATEWAY,
    INSTALLATION,
    LEAST,
    ONLY_OTHER_HOSTS,
    Object,
    with_values,
)


def policy(values: Object, component: str) -> Object:
    found = objects(values)
    [spec] = [
        each["spec"]
        for each in found
        if each["kind"] == "NetworkPolicy"
        and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    return dict(spec)


def ports(spec: Object, side: str) -> list[int]:
    """Return the ports of all rules of a side, in order."""
    return sorted({port["port"] for rule in spec.get(side, []) for port in rule["ports"]})


def peers(spec: Object, port: int) -> list[Object]:
    """Return the peers of the outgoing rules with this port; {} is every address."""
    return [
        peer
        for rule in spec["egress"]
        if port in [each["port"] for each in rule["ports"]]
        for peer in rule.get("to", [{}])
    ]


def test_least_ports() -> None:
    worker = policy(LEAST, "worker")
    assert ports(worker, "egress") == [53, 443, 6443, 7233, 8443]
    assert ports(worker, "ingress") == [9464]
    assert ports(policy(LEAST, "api"), "ingress") == [7400, 9465]
    setup = policy(LEAST, "setup")
    assert "ingress" not in setup
    assert ports(setup, "egress") == ports(worker, "egress")


def test_vclusters_are_reached_in_namespaces_of_this_installation() -> None:
    [peer] = peers(policy(LEAST, "worker"), 8443)
    assert peer == {"namespaceSelector": {"matchLabels": {"moorage.dev/installation": INSTALLATION}}}
    assert 8443 not in ports(policy(ONLY_OTHER_HOSTS, "worker"), "egress")


def test_ports_of_nodes_are_open_for_that_exposure_alone() -> None:
    rules = [
        port
        for rule in policy(ONLY_OTHER_HOSTS, "api")["egress"]
        for port in rule["ports"]
        if "endPort" in port
    ]
    assert rules == [{"protocol": "TCP", "port": 30000, "endPort": 32767}]
    assert 30000 not in ports(policy(LEAST, "api"), "egress")


def test_dns_is_that_of_the_cluster() -> None:
    [peer] = peers(policy(LEAST, "worker"), 53)
    assert peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}


def test_ports_follow_the_addresses_of_the_settings() -> None:
    """Ensures that each outside system is reached at the port of its URL, and that peers narrow it."""
    worker = policy(EVERYTHING, "worker")
    # Temporal, control plane, SAML metadata, webhook, mail, an issuer, the rule that the values add.
    assert set(ports(worker, "egress")) >= {7234, 8443, 9443, 8444, 2525, 6443, 3128}
    assert peers(worker, 7234) == [{"ipBlock": {"cidr": "10.9.0.0/16"}}]
    assert peers(worker, 30000) == [{"ipBlock": {"cidr": "10.8.0.0/24"}}]


def test_worker_and_api_reach_the_collector_of_traces() -> None:
    expected = EVERYTHING["networkPolicy"]["egress"]["traces"]
    for component in ("worker", "api"):
        assert peers(policy(EVERYTHING, component), 4318) == expected
    assert 4318 not in ports(policy(EVERYTHING, "setup"), "egress")
    assert 4318 not in ports(policy(LEAST, "worker"), "egress")


def test_only_the_worker_reaches_what_notices_go_to() -> None:
    for component in ("api", "setup", "test"):
        assert not {8444, 2525} & set(ports(policy(EVERYTHING, component), "egress"))


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://console.example.com", 443),
        ("https://console.example.com/", 443),
        ("https://console.example.com:8443/path:99", 8443),
        ("http://console", 80),
        ("http://console.rafay.svc:8080", 8080),
        ("https://[fd00::1]:8443", 8443),
        ("https://[fd00::1]", 443),
    ],
)
def test_port_of_a_url(url: str, port: int) -> None:
    values = with_values({"settings": {"control_plane": {"url": url}}})
    assert {"protocol": "TCP", "port": port} in policy(values, "worker")["egress"][2]["ports"]


def test_ingress_is_from_the_peers_of_the_values_and_from_the_test() -> None:
    [proxies, test, metrics] = policy(EVERYTHING, "api")["ingress"]
    assert proxies["from"] == EVERYTHING["networkPolicy"]["ingress"]["api"]
    assert test["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"
    assert metrics["from"] == [{"namespaceSelector": {}}]
    assert 7400 in ports(policy(EVERYTHING, "test"), "egress")


@pytest.mark.parametrize("component", ["worker", "api"])
def test_metrics_are_for_the_namespace_of_the_release_until_peers_are_named(component: str) -> None:
    """Ensures that by default no other pod of the cluster reads the metrics, which ask for no sign-in."""
    [*_, metrics] = policy(LEAST, component)["ingress"]
    assert metrics["from"] == [{"podSelector": {}}]
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    named = with_values({"networkPolicy": {"ingress": {"metrics": peers}}})
    [*_, metrics] = policy(named, component)["ingress"]
    assert metrics["from"] == peers


def test_codec_server_reaches_nothing() -> None:
    """Ensures that what decrypts has no way out: it needs none."""
    spec = policy(GATEWAY, "codec-server")
    assert "egress" not in spec
    assert ports(spec, "ingress") == [7401]


def test_the_test_asks_the_api_at_its_service() -> None:
    [asking] = of_kind(objects(LEAST), "Pod")["spec"]["initContainers"]
    assert asking["command"] == ["python"]
    assert "http://moorage-api:7400/readyz" in asking["args"][1]
