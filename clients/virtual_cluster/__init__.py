"""A client for the API server inside a vCluster: its objects, its people and their certificates."""

from clients.virtual_cluster.api import FIELD_MANAGER, VirtualClusterApi, kubernetes_version
from clients.virtual_cluster.people import PERSON_ROLE

__all__ = ["FIELD_MANAGER", "PERSON_ROLE", "VirtualClusterApi", "kubernetes_version"]
