"""Kubeconfigs that cannot be used: one sentence each, and nothing of their content."""

import os
import stat
from pathlib import Path

import pytest
import yaml

from clients.kubernetes.access import Access, Unusable

SECRET = "planted-token"


def kubeconfig(**user: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user or {"token": SECRET}}],
    }


def written(folder: Path, content: object) -> Path:
    path = folder / "kubeconfig"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def problem(path: Path, context: str | None = None) -> str:
    with pytest.raises(Unusable) as error:
        Access(path, context)
    assert SECRET not in str(error.value)
    return str(error.value)


def test_not_there(tmp_path: Path) -> None:
    """Ensures that a missing file is named."""
    assert problem(tmp_path / "none") == f"there is no kubeconfig {tmp_path / 'none'}"


@pytest.mark.parametrize("content", [f"token: [{SECRET}", SECRET, "- a\n- b\n", ""])
def test_not_a_kubeconfig(tmp_path: Path, content: str) -> None:
    """Ensures that what cannot be parsed is refused without being quoted."""
    assert "is not a kubeconfig" in problem(written(tmp_path, content))


def test_no_such_context(tmp_path: Path) -> None:
    """Ensures that the contexts that there are get named."""
    assert problem(written(tmp_path, kubeconfig()), "other").endswith("has no context other; it has main")


def test_no_server(tmp_path: Path) -> None:
    """Ensures that a context without a cluster is refused."""
    assert "leads to no server" in problem(written(tmp_path, {**kubeconfig(), "clusters": []}))


def test_no_kubeconfig_and_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that an account of a pod is only used in one."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Unusable, match="no pod"):
        Access()


async def test_plugin(tmp_path: Path) -> None:
    """Ensures that a credential plugin is run, as kubectl does it."""
    plugin = tmp_path / "plugin"
    plugin.write_text(
        '#!/bin/sh\necho \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
        f'"status":{{"token":"{SECRET}"}}}}\'\n'
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    access = Access(written(tmp_path, kubeconfig(exec=command)))
    assert (await access.load()).api_key == {"BearerToken": f"Bearer {SECRET}"}


async def test_plugin_that_fails(tmp_path: Path) -> None:
    """Ensures that a plugin that gives nothing is named."""
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false"}
    access = Access(written(tmp_path, kubeconfig(exec=command)))
    with pytest.raises(Unusable, match=r"the plugin /bin/false of .* gave no credentials"):
        await access.load()


def test_helm_gets_the_same(tmp_path: Path) -> None:
    """Ensures that Helm is pointed at the same file and context."""
    path = written(tmp_path, kubeconfig())
    assert Access(path, "main").helm() == {"kubeconfig_path": os.fspath(path), "kube_context": "main"}
