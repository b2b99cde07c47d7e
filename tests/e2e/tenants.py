"""What a tenant may and may not make on a host, as objects: a table for the policies of deploy/rbac.yaml."""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

#: Addresses of a host, as its namespaces' annotation has them in these tests.
HOST_NETWORKS = "10.7.0.0/24,192.0.2.1/32,fd07::/64"


@dataclass(frozen=True)
class Case:
    """An object that the syncer of a vCluster makes on the host. `refused` in these words; "" if let in."""

    what: str
    refused: str
    body: Object


def _of(kind: str, version: str = "v1", annotations: Object | None = None, **fields: Any) -> Object:
    metadata: Object = {"name": "tried", **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def service(annotations: Object | None = None, **spec: Any) -> Object:
    """A Service, of a port and what is given."""
    ports = {} if spec.get("type") == "ExternalName" else {"ports": [{"port": 80}]}
    return _of("Service", annotations=annotations, spec={**ports, **spec})


def pod(container: Object | None = None, annotations: Object | None = None, **spec: Any) -> Object:
    """A pod of one container."""
    inside = {"name": "a", "image": "example.invalid/a", **(container or {})}
    return _of("Pod", annotations=annotations, spec={"containers": [inside], **spec})


def _slice(*addresses: str, kind: str = "IPv4") -> Object:
    endpoints = [{"addresses": [each]} for each in addresses]
    ports = [{"name": "a", "port": 443, "protocol": "TCP"}]
    return _of("EndpointSlice", "discovery.k8s.io/v1", addressType=kind, endpoints=endpoints, ports=ports)


def _endpoints(*addresses: str, ready: bool = True) -> Object:
    key = "addresses" if ready else "notReadyAddresses"
    return _of("Endpoints", subsets=[{key: [{"ip": each} for each in addresses], "ports": [{"port": 443}]}])


def _claim(**spec: Any) -> Object:
    usual = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return _of("PersistentVolumeClaim", spec={**usual, **spec})


def _ingress() -> Object:
    backend = {"service": {"name": "a", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return _of(
        "Ingress",
        "networking.k8s.io/v1",
        spec={"rules": [{"host": "paralus.example.com", "http": {"paths": [path]}}]},
    )


def _volume(**source: Any) -> Object:
    return pod(volumes=[{"name": "a", **source}])


def _probe(**probe: Any) -> Object:
    return pod(container=probe)


_EXTERNAL = "no externalIPs"
_PORTS = "takes no ports of the nodes and no load balancer"
_NAMES = "is a name of the internet"
_PUBLISHED = "not published by annotations"
_VOLUMES = "volumes of an environment's pods are"
_PROBES = "name no host"
_CRITICAL = "not critical to the host"
_CHOOSE = "choose no networks, addresses or identities"
_ENDPOINTS = "lead to no node and no API server"

CASES = (
    Case("a Service", "", service()),
    Case("a headless Service", "", service(clusterIP="None", selector={"a": "b"})),
    Case("externalIPs", _EXTERNAL, service(externalIPs=["198.51.100.7"])),
    Case("a node port", _PORTS, service(type="NodePort")),
    Case("a load balancer", _PORTS, service(type="LoadBalancer")),
    Case("a load balancer of a class", _PORTS, service(type="LoadBalancer", loadBalancerClass="x.y/z")),
    Case("a name of the internet", "", service(type="ExternalName", externalName="db.example.com")),
    Case("a name with a final dot", "", service(type="ExternalName", externalName="db.example.com.")),
    *(
        Case(f"the name {name}", _NAMES, service(type="ExternalName", externalName=name))
        for name in (
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "kubernetes.default.svc.cluster.local.",
            "metadata.google.internal",
            "localhost",
            "printer.local",
            "10.7.0.1",
            "169.254.169.254",
        )
    ),
    Case(
        "external-dns",
        _PUBLISHED,
        service({"external-dns.alpha.kubernetes.io/hostname": "paralus.example.com"}, clusterIP="None"),
    ),
    Case("a tailnet", _PUBLISHED, service({"tailscale.com/expose": "true"})),
    Case("other clusters", _PUBLISHED, service({"service.cilium.io/global": "true"})),
    Case("its own annotations", "", service({"example.com/anything": "x", "prometheus.io/scrape": "true"})),
    Case("a pod", "", pod()),
    Case(
        "a pod with usual volumes",
        "",
        pod(
            volumes=[
                {"name": "a", "emptyDir": {}},
                {"name": "b", "configMap": {"name": "x"}},
                {"name": "c", "secret": {"secretName": "x"}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "x"}},
                {"name": "e", "projected": {"sources": []}},
                {"name": "f", "downwardAPI": {"items": []}},
            ]
        ),
    ),
    Case("nfs", _VOLUMES, _volume(nfs={"server": "10.7.0.1", "path": "/"})),
    Case(
        "iscsi",
        _VOLUMES,
        _volume(iscsi={"targetPortal": "10.7.0.1:3260", "iqn": "iqn.2020-01.x:y", "lun": 0}),
    ),
    Case("cephfs", _VOLUMES, _volume(cephfs={"monitors": ["10.7.0.1:6789"]})),
    Case("a probe", "", _probe(livenessProbe={"httpGet": {"port": 80, "path": "/"}})),
    Case("a command as probe", "", _probe(readinessProbe={"exec": {"command": ["true"]}})),
    Case("a probe elsewhere", _PROBES, _probe(livenessProbe={"httpGet": {"host": "10.7.0.1", "port": 80}})),
    Case(
        "a TCP probe elsewhere", _PROBES, _probe(startupProbe={"tcpSocket": {"host": "10.7.0.1", "port": 1}})
    ),
    Case(
        "a hook elsewhere",
        _PROBES,
        _probe(lifecycle={"preStop": {"httpGet": {"host": "169.254.169.254", "port": 80}}}),
    ),
    Case(
        "a sidecar's probe elsewhere",
        _PROBES,
        pod(
            initContainers=[
                {
                    "name": "s",
                    "image": "example.invalid/s",
                    "restartPolicy": "Always",
                    "readinessProbe": {"httpGet": {"host": "10.7.0.1", "port": 80}},
                }
            ]
        ),
    ),
    Case("a pod with ten minutes to end", "", pod(terminationGracePeriodSeconds=600)),
    Case("a pod with a day to end", "at most 600 seconds", pod(terminationGracePeriodSeconds=86400)),
    Case("a critical pod", _CRITICAL, pod(priorityClassName="system-node-critical")),
    Case("a further network", _CHOOSE, pod(annotations={"k8s.v1.cni.cncf.io/networks": "storage"})),
    Case("an identity of the cloud", _CHOOSE, pod(annotations={"iam.amazonaws.com/role": "admin"})),
    Case("an annotation of a pod", "", pod(annotations={"kubectl.kubernetes.io/default-container": "a"})),
    Case("endpoints outside", "", _slice("203.0.113.9", "10.8.0.1")),
    Case("endpoints at a node", _ENDPOINTS, _slice("203.0.113.9", "10.7.0.200")),
    Case("endpoints at the API server", _ENDPOINTS, _slice("192.0.2.1")),
    Case("endpoints at a node's IPv6", _ENDPOINTS, _slice("fd07::1", kind="IPv6")),
    Case("endpoints of names", "addresses and not names", _slice("db.example.com", kind="FQDN")),
    Case("old endpoints outside", "", _endpoints("203.0.113.9")),
    Case("old endpoints at a node", _ENDPOINTS, _endpoints("203.0.113.9", "10.7.0.1")),
    Case("old endpoints that are not ready", _ENDPOINTS, _endpoints("10.7.0.1", ready=False)),
    Case("a claim", "", _claim()),
    Case("a claim on a volume of others", "names no volume", _claim(volumeName="of-others")),
    Case("a Secret", "", _of("Secret", stringData={"a": "b"})),
    Case(
        "a token of an account",
        "gets no token of an account",
        _of(
            "Secret",
            annotations={"kubernetes.io/service-account.name": "default"},
            type="kubernetes.io/service-account-token",
        ),
    ),
    Case("an account", "", _of("ServiceAccount")),
    Case(
        "an account of the cloud",
        "no identity in the cloud",
        _of("ServiceAccount", annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}),
    ),
    Case("an Ingress", "takes no host names", _ingress()),
)
