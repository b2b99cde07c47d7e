"""Ensures that `moorage setup` and `moorage doctor` see a real host as it is: rights, admission, charts."""

import json
import time
from pathlib import Path
from typing import Any

from embedded.stack.stack import Stack
from tests.e2e.cluster import POLICY_DELAY, Cluster
from tests.e2e.harbour import HOSTS, write_templates
from tests.e2e.using import parts_of


async def _hosts(real: Stack, *arguments: str, **changes: str) -> tuple[int, dict[tuple[str, str], Any]]:
    """The exit code, and what came of each part of each host."""
    code, parts = await parts_of(real, *arguments, **changes)
    return code, {(part["where"], part["part"]): part for part in parts if part["area"] == "hosts"}


async def test_a_host_as_it_is(real: Stack, cluster: Cluster, tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    write_templates(templates, cluster)
    for broken in templates.glob("no-*.yaml"):
        broken.unlink()
    (templates / "volumes-deleted.yaml").unlink(missing_ok=True)
    code, parts = await _hosts(real, "setup", TEMPLATES=str(templates))
    assert code == 0, parts
    assert {part["state"] for part in parts.values()} == {"ok"}
    assert set(parts) == {(host, part) for host in HOSTS for part in ("cluster", "admission", "charts")}
    assert parts[HOSTS[0], "cluster"]["detail"].startswith("Kubernetes v1.")
    assert parts[HOSTS[0], "admission"]["detail"].endswith("and no others; tenants are kept from the host")
    namespaces = cluster.run("get", "namespaces", "-o", "name")
    assert "-setup-dry-run" not in namespaces, "a dry run has created something"
    code, parts = await _hosts(real, "doctor", TEMPLATES=str(templates))
    assert code == 0, parts


async def test_a_policy_of_an_older_version(real: Stack, cluster: Cluster) -> None:
    words = "lets in a namespace without pod security"

    async def admission(*, older: bool) -> dict[str, Any]:
        """Return what setup reports of it, once that is as expected or its delay is over."""
        ends = time.monotonic() + POLICY_DELAY
        while True:
            _, parts = await _hosts(real, "setup", "--only", "hosts")
            part: dict[str, Any] = parts[HOSTS[0], "admission"]
            if (words in part["detail"]) is older or time.monotonic() > ends:
                return part

    policy = ("validatingadmissionpolicy", "moorage-worker")
    # The first version asked for nothing but the label of the installation.
    without = [{"op": "remove", "path": "/spec/validations/1"}]
    cluster.run("patch", *policy, "--type=json", "-p", json.dumps(without))
    try:
        part = await admission(older=True)
        assert part["state"] == "failed"
        assert words in part["detail"]
        assert "apply deploy/rbac.yaml" in part["remedy"]
    finally:
        cluster.grant(real.installation)
    part = await admission(older=False)
    assert words not in part["detail"], "the remedy has not helped"


async def test_what_is_wrong_with_a_host(real: Stack, cluster: Cluster, tmp_path: Path) -> None:
    # The account of the API may do nothing in the whole cluster.
    api = cluster.kubeconfig_of("moorage-api", tmp_path)
    local = HOSTS[0]
    kubeconfig = {f"HOSTS__{local.upper()}__KUBECONFIG": str(api)}
    code, parts = await _hosts(real, "setup", "--only", "hosts", **kubeconfig)
    assert code == 1
    detail = parts[local, "cluster"]["detail"]
    for right in (
        "create namespaces",
        "bind clusterroles.rbac",
        "list storageclasses",
        "get persistentvolumes",
    ):
        assert right in detail
    assert "deploy/rbac.yaml" in parts[local, "cluster"]["remedy"]
    assert parts[local, "admission"]["state"] == "waits"
    # The catalogue of the suite has templates that the charts refuse, on purpose.
    charts = parts[HOSTS[1], "charts"]
    assert charts["state"] == "failed"
    for template in ("no-chart", "no-version", "no-values"):
        assert f"template {template}: " in charts["detail"]

    # A policy that was applied for another installation, which no access review shows.
    code, parts = await _hosts(real, "setup", "--only", "hosts", INSTALLATION="another12345")
    assert code == 1
    admission = parts[local, "admission"]
    assert admission["state"] == "failed"
    assert f"not a namespace of the Moorage installation {real.installation}" in admission["detail"]
    assert "another12345" in admission["remedy"]
