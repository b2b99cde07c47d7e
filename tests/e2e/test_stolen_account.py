"""Ensures that whoever has the worker's account gets no further than environments do."""

import json
from pathlib import Path

import pytest

from clients.host import LABEL_POD_SECURITY
from contracts.naming import LABEL_INSTALLATION
from embedded.stack import Stack
from tests.e2e.cluster import Cluster
from tests.support.stack import unique


@pytest.mark.parametrize("level", ["", "privileged", "baseline", "restricted"])
def test_a_namespace_has_pod_security(real: Stack, cluster: Cluster, tmp_path: Path, level: str) -> None:
    worker = cluster.kubeconfig_of("moorage-worker", tmp_path)
    labels = {LABEL_INSTALLATION: real.installation, **({LABEL_POD_SECURITY: level} if level else {})}
    metadata = {"name": f"mrg-{unique('open')}", "labels": labels}
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    made = cluster.attempt("create", "--dry-run=server", "-f", "-", kubeconfig=worker, text=body)
    if level in ("baseline", "restricted"):
        assert made.returncode == 0, made.stderr
    else:
        assert made.returncode != 0, "a namespace in which pods may be anything is let in"
        assert "needs pod security, baseline or restricted" in made.stderr
