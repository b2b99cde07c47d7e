"""Kubeconfigs of hosts, held against what kubectl 1.33 was seen to do with each of them."""

import base64
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from clients.errors import ClientError
from clients.helm.chart_store import ChartStore
from clients.helm.client import HelmSdk
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.auth.credentials import Credentials, CredentialSource
from clients.kubernetes.auth.kubeconfig import UnusableCredentials
from embedded.host.tls import authority, server_certificate

VERSION = "client.authentication.k8s.io/v1"
SECRET = "planted-token"
#: A plugin that says in a file beside it how it was called.
PLUGIN = f"""#!/bin/sh
printf '%s\\n' "$0" "$*" "$KUBERNETES_EXEC_INFO" "$(env)" > "$(dirname "$0")/called"
echo '{{"apiVersion": "{VERSION}", "kind": "ExecCredential", "status": {{"token": "of-plugin"}}}}'
"""
Node = dict[str, Any]


def config(cluster: Node | None = None, user: Node | None = None, **more: object) -> Node:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        **more,
    }


def plugin(**more: object) -> Node:
    return {
        "exec": {"apiVersion": VERSION, "command": "./bin/plug", "interactiveMode": "Never", **more},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all that the kubeconfigs of these tests name."""
    (tmp_path / "bin").mkdir()
    for name in ("bin/plug", "plug-in-path"):
        (tmp_path / name).write_text(PLUGIN)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "token").write_text("of-file\n\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "ca.pem").write_text("an authority")
    return tmp_path


def access(folder: Path, document: Node) -> CredentialSource:
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return CredentialSource(path)


async def loaded(folder: Path, document: Node) -> Credentials:
    return await access(folder, document).load()


DATA = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()
OF_TOKEN, OF_FILE, OF_PLUGIN = f"Bearer {SECRET}", "Bearer of-file", "Bearer of-plugin"


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        pytest.param({"token": SECRET}, OF_TOKEN, id="token"),
        pytest.param({"tokenFile": "token"}, OF_FILE, id="token file that ends with a newline"),
        pytest.param({"token": SECRET, "tokenFile": "token"}, OF_FILE, id="the file comes first"),
        pytest.param({"token": SECRET, "tokenFile": "none"}, OF_TOKEN, id="a file that is not there"),
        pytest.param({"token": SECRET, "tokenFile": "empty"}, OF_TOKEN, id="a file that is empty"),
        pytest.param({"username": "a", "password": "b"}, "Basic YTpi", id="basic"),
        pytest.param({"username": "a"}, "Basic YTo=", id="basic without a password"),
        pytest.param(plugin(), OF_PLUGIN, id="plugin beside the kubeconfig"),
        pytest.param(plugin(command="bin/plug"), OF_PLUGIN, id="plugin by a relative path"),
        pytest.param(plugin(command="plug-in-path"), OF_PLUGIN, id="plugin of the PATH"),
        pytest.param(plugin(interactiveMode="IfAvailable"), OF_PLUGIN, id="plugin that may ask"),
        pytest.param({**plugin(), "token": SECRET}, OF_TOKEN, id="token before plugin"),
        pytest.param({**plugin(), "tokenFile": "token"}, OF_FILE, id="token file before plugin"),
        pytest.param({**plugin(), "username": "a", "password": "b"}, "Basic YTpi", id="basic before plugin"),
        pytest.param({"token": SECRET, "tokenfile": "x", "foo": 1}, OF_TOKEN, id="unknown fields"),
        pytest.param({}, "", id="no account"),
    ],
)
async def test_the_account_is_the_one_of_kubectl(
    folder: Path, monkeypatch: pytest.MonkeyPatch, user: Node, authorization: str
) -> None:
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.chdir("/")
    credentials = await loaded(folder, config(user=user))
    assert credentials.authorization() == authorization
    helm = json.loads(credentials.kubeconfig())["users"][0]["user"]
    assert "exec" not in helm, "Helm runs the plugin, without our limits"
    assert "of-file" not in str(helm), "Helm cannot read the file again"
    kept = {"Bearer": "token", "Basic": "username"}.get(authorization.partition(" ")[0], "")
    assert not kept or kept in helm or "tokenFile" in helm


@pytest.mark.parametrize(
    ("cluster", "user", "problem"),
    [
        ({}, {"tokenFile": "none"}, "none cannot be used: No such file"),
        ({}, {"tokenFile": "empty"}, "empty cannot be used: it is empty"),
        ({}, {"token": f"{SECRET}\n"}, "line break"),
        ({}, {"token": 123}, "its token is not text"),
        ({}, {"token": SECRET, "username": "a", "password": "b"}, "a token and a username"),
        ({}, {"token": SECRET, "as-groups": ["g"]}, "as-groups or as-user-extra without as"),
        ({}, {"token": SECRET, "as-uid": "7"}, "without as"),
        ({}, {"auth-provider": {"name": "gcp"}}, "auth-provider gcp is not supported"),
        ({}, {"auth-provider": {"name": "oidc"}, "token": SECRET}, "auth-provider oidc is not supported"),
        ({}, {**plugin(), "auth-provider": {"name": "oidc"}}, "auth-provider oidc is not supported"),
        ({}, {"client-certificate-data": DATA}, "client-key belong together"),
        ({}, {"client-certificate": "no.pem", "client-key": "no.key"}, "no.pem cannot be read"),
        ({"insecure-skip-tls-verify": True, "certificate-authority": "ca.pem"}, {}, "leave one of them out"),
        ({"insecure-skip-tls-verify": True, "certificate-authority-data": DATA}, {}, "leave one of them out"),
        (
            {"certificate-authority": "ca.pem", "certificate-authority-data": DATA},
            {},
            "certificate-authority and certificate-authority-data",
        ),
        ({"certificate-authority-data": "@@@"}, {}, "certificate-authority-data is not base64"),
        ({"certificate-authority": "nope.pem"}, {}, "nope.pem cannot be read"),
        ({"proxy-url": "127.0.0.1:1"}, {}, "proxy-url must start with"),
        ({"proxy-url": "ftp://127.0.0.1:1"}, {}, "proxy-url must start with"),
        ({"server": ""}, {}, "leads to no server"),
        ({}, plugin(command=""), "exec has no command"),
        ({}, plugin(apiVersion=None), "apiVersion of its exec is not one of"),
        ({}, plugin(apiVersion="client.authentication.k8s.io/v1alpha1"), "apiVersion of its exec"),
        ({}, plugin(interactiveMode=None), "no interactiveMode"),
        ({}, plugin(interactiveMode="Sometimes"), "interactiveMode of its exec is not one of"),
        ({}, plugin(interactiveMode="Always"), "no user is present"),
        ({}, plugin(env=[{"value": "x"}]), "env of its exec"),
        ({}, plugin(command="nowhere-plug"), "the plugin nowhere-plug of"),
        ({}, plugin(apiVersion="client.authentication.k8s.io/v1beta1"), "gave no credentials"),
    ],
)
async def test_what_kubectl_refuses_is_refused(folder: Path, cluster: Node, user: Node, problem: str) -> None:
    with pytest.raises(UnusableCredentials, match=problem) as error:
        await loaded(folder, config(cluster, user))
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (config(contexts=[{"name": "c", "context": {"cluster": "x"}}] * 2), "two contexts with the name c"),
        (config(clusters=[{"name": "c", "cluster": {"server": "https://a"}}] * 2), "two clusters"),
        (config(users=[{"name": "u", "user": {"token": "a"}}] * 2), "two users with the name u"),
        (
            config(contexts=[{"name": "c", "context": {"cluster": "c", "user": "x"}}]),
            "has no user x",
        ),
        (config() | {"current-context": ""}, "no current context"),
        (config(kind="Pod"), "is not a kubeconfig"),
        (config(apiVersion="v2"), "is not a kubeconfig"),
    ],
)
async def test_a_file_that_kubectl_does_not_load_is_refused(
    folder: Path, document: Node, problem: str
) -> None:
    with pytest.raises(UnusableCredentials, match=problem):
        access(folder, document)


async def test_a_certificate_that_is_none_is_refused(folder: Path) -> None:
    credentials = await loaded(folder, config({"certificate-authority": "ca.pem"}))
    with pytest.raises(UnusableCredentials, match="a certificate or a key is not valid"):
        credentials.client()


async def test_a_token_file_is_read_again(folder: Path) -> None:
    again = access(folder, config(user={"tokenFile": "token"}))
    assert (await again.load()).authorization() == OF_FILE
    (folder / "token").write_text("renewed")
    assert (await again.load()).authorization() == "Bearer renewed"


async def test_a_plugin_is_called_as_kubectl_calls_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that it hears of its cluster if it asks, and inherits nothing that is a secret of ours."""
    ours = {"MOORAGE_CONTROL_PLANE__API_KEY": SECRET, "TEMPORAL_API_KEY": SECRET}
    ours["OTEL_EXPORTER_OTLP_HEADERS"] = SECRET
    clouds = {"AWS_PROFILE": "p", "GOOGLE_APPLICATION_CREDENTIALS": "/g", "AZURE_CLIENT_ID": "a"}
    for name, value in {**ours, **clouds, "HTTPS_PROXY": "http://p", "HOME": "/home/x"}.items():
        monkeypatch.setenv(name, value)
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "abc"}}]
    cluster = {"tls-server-name": "n", "certificate-authority": "ca.pem", "extensions": extensions}
    user = plugin(provideClusterInfo=True, args=["a b", "c"], env=[{"name": "PLACE", "value": "x y"}])
    await loaded(folder, config(cluster, user))
    called, args, info, environment = (folder / "bin" / "called").read_text().split("\n", 3)
    assert (called, args) == (str(folder / "bin" / "plug"), "a b c")
    assert json.loads(info) == {
        "apiVersion": VERSION,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://127.0.0.1:1",
                "tls-server-name": "n",
                "certificate-authority-data": base64.b64encode(b"an authority").decode(),
                "config": {"audience": "abc"},
            },
        },
    }
    assert SECRET not in environment
    for line in ("AWS_PROFILE=p", "AZURE_CLIENT_ID=a", "HTTPS_PROXY=http://p", "HOME=/home/x", "PLACE=x y"):
        assert line in environment.splitlines()


async def test_a_plugin_that_does_not_ask_hears_nothing_of_its_cluster(folder: Path) -> None:
    await loaded(folder, config(user=plugin()))
    info = (folder / "bin" / "called").read_text().splitlines()[2]
    assert json.loads(info)["spec"] == {"interactive": False}


async def test_the_pod_s_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.kubernetes.auth.credentials.ACCOUNT_FOLDER", folder)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    credentials = await CredentialSource().load()
    assert credentials.cluster == {
        "server": "https://[fd00::1]:443",
        "certificate-authority": str(folder / "ca.crt"),
    }
    assert credentials.authorization() == OF_FILE
    user = json.loads(credentials.kubeconfig())["users"][0]["user"]
    assert user == {"tokenFile": str(folder / "token")}


class Recorder(http.server.BaseHTTPRequestHandler):
    """An API server that refuses all, and remembers who asked."""

    asked: list[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append([(name.lower(), value) for name, value in self.headers.items()])
        body = b'{"kind": "Status", "code": 422, "message": "no", "reason": "Invalid"}'
        self.send_response(422)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at `asked`."""


@pytest.fixture
def recorder(folder: Path) -> Iterator[str]:
    """The address of a server whose authority is in ca.pem."""
    (folder / "ca.pem").unlink()
    authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate(folder))
    Recorder.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        (
            {"certificate-authority": "ca.pem"},
            {
                "tokenFile": "token",
                "as": "bob",
                "as-uid": "7",
                "as-groups": ["g 1", "g2"],
                "as-user-extra": {"Some/Key%": ["v1", "v2"]},
            },
        ),
        ({"certificate-authority": "ca.pem"}, plugin()),
        ({"insecure-skip-tls-verify": True}, {"token": SECRET, "as": "bob"}),
        ({"certificate-authority": "ca.pem", "tls-server-name": "localhost"}, {"token": SECRET}),
        ({"certificate-authority": "ca.pem"}, {"username": "a", "password": "b"}),
    ],
    ids=["impersonation", "plugin", "insecure", "server name", "basic"],
)
async def test_our_own_calls_and_helm_act_as_the_same_account(
    folder: Path, recorder: str, cluster: Node, user: Node
) -> None:
    found = access(folder, config({"server": recorder, **cluster}, user))
    api = KubernetesApi("host cluster h", found, timeout=timedelta(seconds=20))
    with pytest.raises(ClientError):
        await api.call("GET", "/api/v1/namespaces/n/secrets", "read secrets")
    await api.close()
    ours = Recorder.asked.copy()
    with ThreadPoolExecutor(1) as threads:
        helm = HelmSdk("host cluster h", found, cast(ChartStore, None), threads)
        with pytest.raises(ClientError):
            await helm.uninstall("n", "x")
    helms = Recorder.asked[len(ours) :]
    assert ours, "our own call has not reached the server"
    assert helms, "Helm has not reached the server"
    accounts = [
        sorted(each for each in headers if each[0] == "authorization" or each[0].startswith("impersonate"))
        for headers in (*ours, *helms)
    ]
    assert all(account == accounts[0] for account in accounts), accounts
    assert accounts[0], "neither has said who it is"
    if "as-user-extra" in user:
        assert ("impersonate-extra-some%2fkey%25", "v2") in accounts[0]
        assert [value for name, value in accounts[0] if name == "impersonate-group"] == ["g 1", "g2"]


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"server": "http://10.0.0.7:8080"}, {"token": SECRET}, "http://10.0.0.7:8080 unencrypted"),
        ({"server": "HTTP://api.example.com"}, {"username": "u", "password": SECRET}, "unencrypted"),
        # Nothing is sent, or only to this machine or a neighbour in its network of containers.
        ({"server": "http://api.example.com"}, {}, ""),
        ({"server": "http://api.example.com"}, {"client-certificate-data": "YQ=="}, ""),
        ({"server": "http://127.0.0.1:8001"}, {"token": SECRET}, ""),
        ({"server": "http://[::1]:8001"}, {"token": SECRET}, ""),
        ({"server": "http://api:8001"}, {"token": SECRET}, ""),
        ({"server": "https://api.example.com"}, {"token": SECRET}, ""),
        (
            {"server": "https://api.example.com", "insecure-skip-tls-verify": True},
            {"token": SECRET},
            "(insecure-skip-tls-verify): use certificate-authority",
        ),
    ],
)
def test_credentials_that_others_could_read_are_named(cluster: Node, user: Node, words: str) -> None:
    """Ensures that the warning names the server and the remedy, and never the credential."""
    found = Credentials(cluster, user).exposure()
    assert (words in found, bool(found)) == (True, bool(words)), found
    assert SECRET not in found
