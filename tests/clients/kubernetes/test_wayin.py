"""What differs from host to host: objects of the namespace, and values."""

from clients.host.models import Peer
from clients.kubernetes.release import exposure
from clients.kubernetes.vcluster_options import Exposure, HostOptions

ACCOUNT = {"kind": "ServiceAccount", "namespace": "moorage", "name": "moorage-worker"}
NODE_PORT = HostOptions(exposure=Exposure.NODE_PORT, address="192.0.2.7")


def test_own_binding_comes_first() -> None:
    """Ensures that the rights are there before what is made by them."""
    made = exposure.host_manifests(HostOptions(api_account="moorage/moorage-api"), "mrg-a", ACCOUNT)
    assert [each["kind"] for each in made] == ["RoleBinding", "Role", "RoleBinding"]
    assert made[0]["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "moorage-environment",
    }
    assert made[0]["subjects"] == [ACCOUNT]


def test_the_api_reads_one_secret() -> None:
    """Ensures that the API's right is to one Secret, by name."""
    role = exposure.host_manifests(HostOptions(api_account="moorage/moorage-api"), "mrg-a", ACCOUNT)[1]
    secrets = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in secrets] == [(["vc-mrg-a"], ["get"])]


def test_node_port() -> None:
    """Ensures that the port is Kubernetes' choice, and that address and certificate go together."""
    service = exposure.host_manifests(NODE_PORT, "mrg-a", ACCOUNT)[-1]
    assert service["spec"]["type"] == "NodePort"
    assert "nodePort" not in service["spec"]["ports"][0]
    values = exposure.overlay(NODE_PORT, "mrg-a", "mrg-a", 31234)
    assert values["exportKubeConfig"]["server"] == "https://192.0.2.7:31234"
    assert values["controlPlane"]["proxy"]["extraSANs"] == ["192.0.2.7"]
    # The chart's own Service must not take a second port.
    assert values["controlPlane"]["service"]["spec"]["type"] == "ClusterIP"


def test_in_cluster() -> None:
    """Ensures that the name that the chart leaves out of the certificate is in it."""
    values = exposure.overlay(HostOptions(), "mrg-a", "mrg-a", None)
    assert values["exportKubeConfig"]["server"] == "https://mrg-a.mrg-a.svc"
    assert values["controlPlane"]["proxy"]["extraSANs"] == ["mrg-a.mrg-a.svc"]


def test_images_and_volumes() -> None:
    """Ensures that only what is set is laid over the chart's values."""
    assert set(exposure.overlay(HostOptions(), "n", "n", None)["controlPlane"]) == {"proxy", "service"}
    options = HostOptions(image_registry="registry.example.com", image_repository="oss", storage_class="fast")
    control_plane = exposure.overlay(options, "n", "n", None)["controlPlane"]
    assert control_plane["advanced"] == {"defaultImageRegistry": "registry.example.com"}
    assert control_plane["statefulSet"] == {
        "image": {"repository": "oss"},
        "persistence": {"volumeClaim": {"storageClass": "fast"}},
    }


def test_reachable_networks() -> None:
    """Ensures that a private control plane can be reached, and nothing else is opened."""
    reachable = (Peer("10.20.0.0/16", (8443,)), Peer("10.30.0.1/32", (443, 6443)))
    policy = exposure.host_manifests(HostOptions(reachable=reachable), "mrg-a", ACCOUNT)[-1]
    assert policy["spec"] == {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}],
                "ports": [{"protocol": "TCP", "port": 8443}],
            },
            {
                "to": [{"ipBlock": {"cidr": "10.30.0.1/32"}}],
                "ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}],
            },
        ],
    }
