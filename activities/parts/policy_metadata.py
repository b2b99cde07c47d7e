"""The common form of all policy objects in a namespace: our name, the namespace, and the mark."""

from typing import Any

from contracts.environment.models import Environment

Manifest = dict[str, Any]


def policy_object(environment: Environment, version: str, kind: str, name: str, spec: Manifest) -> Manifest:
    """Return a manifest of an object in the environment's namespace, with the owner mark."""
    metadata = {
        "name": name,
        "namespace": environment.host_name,
        "labels": dict(environment.mark.labels),
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
