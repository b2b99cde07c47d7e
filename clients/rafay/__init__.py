"""A client for a Rafay controller over its REST API: `Rafay` and its return values."""

from clients.rafay.client import Rafay
from clients.rafay.iam import AssociationPaths, UserPaths
from clients.rafay.models import (
    READY,
    Account,
    Binding,
    Blueprint,
    Cluster,
    Condition,
    Group,
    Project,
    Repository,
    Role,
    SignIn,
    User,
)
from clients.rafay.organization_resources import BlueprintPaths, RepositoryPaths, SignInPaths, same_repository

__all__ = [
    "READY", "Account", "AssociationPaths", "Binding", "Blueprint", "BlueprintPaths", "Cluster", "Condition",
    "Group", "Project", "Rafay", "Repository", "RepositoryPaths", "Role", "SignIn", "SignInPaths", "User",
    "UserPaths", "same_repository",
]  # fmt: skip
