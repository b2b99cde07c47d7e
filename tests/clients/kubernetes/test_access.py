"""Kubeconfigs that cannot be used: one sentence each, and nothing of their content."""

import asyncio
import base64
import json
import stat
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import yaml

from clients.kubernetes.auth import credentials as module
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.auth.kubeconfig import UnusableCredentials
from tests.support.deadline import HANG, soon

SECRET = "planted-token"
VERSION = "client.authentication.k8s.io/v1"
#: A plugin that waits for another program, and says in a file beside it who the two are.
HANGS = 'sleep 900 &\necho "$$ $!" > "$0.pids"\nwait'


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
    with pytest.raises(UnusableCredentials) as error:
        CredentialSource(path, context)
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
    with pytest.raises(UnusableCredentials, match="no pod"):
        CredentialSource()


def plugin_of(folder: Path, script: str) -> dict[str, object]:
    """A user whose plugin is this shell script, whatever it was before."""
    plugin = folder / "plugin"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    return {"apiVersion": VERSION, "command": str(plugin), "interactiveMode": "Never"}


def gives(*, version: str = VERSION, **status: str) -> str:
    """A line of shell that says what a plugin says."""
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return f"cat <<'END'\n{json.dumps(answer)}\nEND"


async def test_plugin(tmp_path: Path) -> None:
    """Ensures that a credential plugin is run, as kubectl does it."""
    access = CredentialSource(written(tmp_path, kubeconfig(exec=plugin_of(tmp_path, gives(token=SECRET)))))
    assert (await access.load()).authorization() == f"Bearer {SECRET}"


async def test_plugin_gets_what_its_kubeconfig_says(tmp_path: Path) -> None:
    """Ensures that its arguments, its environment and the version that it has to answer in reach it."""
    script = f'[ "$1 $PLACE" = "get-token there" ] && echo "$KUBERNETES_EXEC_INFO" | grep -q {VERSION} &&'
    command = plugin_of(tmp_path, f"{script} {gives(token=SECRET)}")
    command |= {"args": ["get-token"], "env": [{"name": "PLACE", "value": "there"}]}
    access = CredentialSource(written(tmp_path, kubeconfig(exec=command)))
    assert (await access.load()).authorization() == f"Bearer {SECRET}"


async def test_plugin_that_gives_a_certificate(tmp_path: Path) -> None:
    """Ensures that a certificate and its key are taken as they are, instead of a token."""
    given = gives(clientCertificateData="a certificate", clientKeyData="a key")
    config = kubeconfig(exec=plugin_of(tmp_path, given))
    config["clusters"] = [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]
    user = (await CredentialSource(written(tmp_path, config)).load()).user
    taken = [base64.b64decode(user[f"client-{what}-data"]) for what in ("certificate", "key")]
    assert taken == [b"a certificate", b"a key"]


async def test_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    """Ensures that a certificate in a file is looked for where the kubeconfig is, as kubectl does it."""
    (tmp_path / "ca.pem").write_text("an authority")
    config = kubeconfig()
    config["clusters"] = [
        {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "ca.pem"}}
    ]
    credentials = await CredentialSource(written(tmp_path, config)).load()
    assert credentials.cluster["certificate-authority"] == str(tmp_path / "ca.pem")
    assert credentials.authorization() == f"Bearer {SECRET}"


async def test_plugin_that_fails(tmp_path: Path) -> None:
    """Ensures that a plugin that gives nothing is named."""
    command = {"apiVersion": VERSION, "command": "/bin/false", "interactiveMode": "Never"}
    access = CredentialSource(written(tmp_path, kubeconfig(exec=command)))
    with pytest.raises(UnusableCredentials, match=r"the plugin /bin/false of .* gave no credentials"):
        await access.load()


@pytest.mark.parametrize("script", ["echo nothing", "echo '[]'", gives(), gives(version="v0", token=SECRET)])
async def test_plugin_that_gives_what_is_no_credential(tmp_path: Path, script: str) -> None:
    """Ensures that it is named, and that what it gave is not quoted."""
    access = CredentialSource(written(tmp_path, kubeconfig(exec=plugin_of(tmp_path, script))))
    with pytest.raises(UnusableCredentials, match="gave no credentials") as error:
        await access.load()
    assert SECRET not in str(error.value)


async def test_plugin_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that it is named at the limit, and that nothing of it stays, nor of what it waits for."""
    monkeypatch.setattr(module, "LOAD_TIMEOUT", timedelta(seconds=1))
    access = CredentialSource(written(tmp_path, kubeconfig(exec=plugin_of(tmp_path, HANGS))))
    async with soon("a plugin that hangs is waited for without a limit"):
        with pytest.raises(TimeoutError, match=r"the plugin .*/plugin of .* gave no credentials within 1 s"):
            await access.load()
    await nothing_is_left_of(tmp_path)


async def test_plugin_whose_caller_is_cancelled(tmp_path: Path) -> None:
    """Ensures that it is ended."""
    access = CredentialSource(written(tmp_path, kubeconfig(exec=plugin_of(tmp_path, HANGS))))
    loading = asyncio.create_task(access.load())
    async with soon("the plugin is not run"):
        while not left_of(tmp_path):  # noqa: ASYNC110 - it is another process that says so
            await asyncio.sleep(0.02)
    loading.cancel()
    await asyncio.wait({loading}, timeout=HANG)
    assert loading.cancelled()
    await nothing_is_left_of(tmp_path)


async def nothing_is_left_of(folder: Path) -> None:
    """Wait until the system has cleared away what was ended; without a signal it would sleep on."""
    async with soon("a plugin still runs although its caller was cancelled"):
        while left_of(folder):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.02)


def left_of(folder: Path) -> list[int]:
    """The processes of a plugin that hangs which still run, once it has said which they are."""
    named = folder / "plugin.pids"
    pids = [int(pid) for pid in named.read_text().split()] if named.exists() else []
    return [pid for pid in pids if runs(pid)]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
