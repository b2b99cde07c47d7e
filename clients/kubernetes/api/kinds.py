"""The kinds of Kubernetes objects that Moorage reads and writes, with their paths on an API server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of objects: its name in messages, and its path on the API server."""

    name: str
    api: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of all objects in a namespace, or of one object."""
        return f"{self.api}/namespaces/{namespace}/{self.plural}{f'/{name}' if name else ''}"


_CORE, _APPS, _RBAC, _NETWORK = (
    "/api/v1",
    "/apis/apps/v1",
    "/apis/rbac.authorization.k8s.io/v1",
    "/apis/networking.k8s.io/v1",
)

POD = Kind("Pod", _CORE, "pods")
SECRET = Kind("Secret", _CORE, "secrets")
CONFIG_MAP = Kind("ConfigMap", _CORE, "configmaps")
SERVICE = Kind("Service", _CORE, "services")
CLAIM = Kind("PersistentVolumeClaim", _CORE, "persistentvolumeclaims")
EVENT = Kind("Event", _CORE, "events")
STATEFUL_SET = Kind("StatefulSet", _APPS, "statefulsets")
DEPLOYMENT = Kind("Deployment", _APPS, "deployments")
ROLE = Kind("Role", _RBAC, "roles")
ROLE_BINDING = Kind("RoleBinding", _RBAC, "rolebindings")
RESOURCE_QUOTA = Kind("ResourceQuota", _CORE, "resourcequotas")
LIMIT_RANGE = Kind("LimitRange", _CORE, "limitranges")
NETWORK_POLICY = Kind("NetworkPolicy", _NETWORK, "networkpolicies")

#: Kinds that the chart and its syncer create.
OF_A_RELEASE = (
    STATEFUL_SET,
    DEPLOYMENT,
    POD,
    SERVICE,
    SECRET,
    CLAIM,
    CONFIG_MAP,
    Kind("ServiceAccount", _CORE, "serviceaccounts"),
    ROLE,
    ROLE_BINDING,
)
#: These kinds, and the others that can block the deletion of the namespace.
IN_A_NAMESPACE = (
    *OF_A_RELEASE,
    Kind("Endpoints", _CORE, "endpoints"),
    Kind("EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices"),
    Kind("Lease", "/apis/coordination.k8s.io/v1", "leases"),
)
#: Kinds that keep an environment within its namespace.
GUARDS = (RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY)
#: Kinds that may be applied in a namespace: the guards, and the objects of `exposure`.
APPLIED = {each.name: each for each in (*GUARDS, SERVICE, ROLE, ROLE_BINDING)}
