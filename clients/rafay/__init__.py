"""A Rafay controller over its REST API: `Rafay` and what it answers."""

from clients.rafay.access import AssociationPaths, UserPaths
from clients.rafay.client import Rafay
from clients.rafay.results import READY, Binding, Cluster, Condition, Group, Project, User

__all__ = [
    "READY",
    "AssociationPaths",
    "Binding",
    "Cluster",
    "Condition",
    "Group",
    "Project",
    "Rafay",
    "User",
    "UserPaths",
]
