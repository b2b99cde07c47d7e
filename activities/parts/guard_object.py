"""The form of every object that guards a namespace: named by us, in the namespace, with the mark."""

from typing import Any

from contracts.environment import Environment

Object = dict[str, Any]


def guard(environment: Environment, version: str, kind: str, name: str, spec: Object) -> Object:
    """An object in the environment's namespace that bears its mark."""
    metadata = {
        "name": name,
        "namespace": environment.derived_name,
        "labels": dict(environment.mark.labels),
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
