"""The credential plugin and the kubeconfigs that run it: no secret, one cache file a person, one sentence."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from cryptography import x509

from embedded.stack.stack import Stack
from starter.cli.client.api import Api
from starter.cli.client.connection import Connection
from starter.cli.commands.credential import exec_credential
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code
from starter.cli.kubeconfig.certificate_cache import CertificateCache, cache_folder
from starter.cli.kubeconfig.certificates import RENEWAL_MARGIN, ClientCertificate, request_certificate
from starter.cli.kubeconfig.files import merge_context
from starter.cli.kubeconfig.user_entries import (
    embedded_kubeconfig,
    plugin_command,
    plugin_kubeconfig,
    read_api_kubeconfig,
)
from starter.environments.credentials.certificate_request import read_request
from tests.api.caller import Caller
from tests.cli.test_commands import Cli, cli_of
from tests.support.stack import BOB, DAVE, unique

ADA = "ada@example.com"
BIN = Path(sys.executable).parent
ANSWER = f"""\
apiVersion: v1
kind: Config
clusters: [{{name: moorage-demo, cluster: {{server: "https://v.example", certificate-authority-data: Y2E=}}}}]
users:
- name: moorage-demo
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: moorage
      args: [credential, demo, --life, "12345678e12345678901", --person, "{ADA}"]
      installHint: Install Moorage.
      interactiveMode: Never
      provideClusterInfo: false
contexts: [{{name: moorage-demo, context: {{cluster: moorage-demo, user: moorage-demo}}}}]
current-context: moorage-demo
"""
LATER = datetime(2030, 1, 1, tzinfo=UTC)
CERTIFICATE = ClientCertificate("a certificate", "a key", LATER)


class TestKubeconfig:
    def test_names_the_installation_and_has_no_secret(self, tmp_path: Path) -> None:
        connection = Connection("https://moorage.example", "secret-token", Path("ca.pem"), "--ca-file")
        options = ConnectionOptions(token_file=Path("token"), ca_file=Path("ca.pem"))
        text = plugin_kubeconfig(read_api_kubeconfig(ANSWER), "demo", connection, options)
        document = yaml.safe_load(text)
        plugin = document["users"][0]["user"]["exec"]
        assert plugin["args"] == [
            "credential", "demo", "--life", "12345678e12345678901", "--person", ADA, "--url", "https://moorage.example",
            "--ca-file", str(Path("ca.pem").absolute()), "--token-file", str(Path("token").absolute()),
        ]  # fmt: skip
        assert plugin["interactiveMode"] == "Never"
        assert plugin["provideClusterInfo"] is True
        assert plugin["installHint"] == "Install Moorage."
        assert document["current-context"] == "moorage-demo"
        assert document["clusters"][0]["cluster"]["certificate-authority-data"] == "Y2E="
        assert "secret" not in text

    def test_lets_the_api_decide_nothing_about_what_runs_here(self) -> None:
        """Ensures that no variable, file or proxy that the API names gets into the user's kubeconfig."""
        evil = """
      command: /bin/sh
      apiVersion: client.authentication.k8s.io/v1alpha1
      env: [{name: LD_PRELOAD, value: /tmp/evil.so}, {name: HTTPS_PROXY, value: "http://evil.test"}]
      interactiveMode: Always
      provideClusterInfo: true
      installHint: "\\e[2JInstall."
"""
        head, _, rest = ANSWER.partition("      apiVersion: client.authentication")
        args = next(line for line in rest.splitlines() if "args:" in line)
        answer = f"{head}{evil.lstrip(chr(10))}{args}\ncontexts{rest.partition('contexts')[2]}".replace(
            "certificate-authority-data",
            "proxy-url: socks5://evil.test, certificate-authority: /etc/passwd, x",
        )
        text = plugin_kubeconfig(
            read_api_kubeconfig(answer), "demo", Connection("https://m.example", "t"), ConnectionOptions()
        )
        [cluster], [user] = (yaml.safe_load(text)[part] for part in ("clusters", "users"))
        assert cluster["cluster"] == {"server": "https://v.example"}
        plugin = user["user"]["exec"]
        command, *arguments = plugin_command()
        assert plugin.pop("args")[: len(arguments) + 2] == [*arguments, "credential", "demo"]
        assert plugin == {
            "apiVersion": "client.authentication.k8s.io/v1", "command": command,
            "installHint": "\\x1b[2JInstall.", "interactiveMode": "Never", "provideClusterInfo": True,
        }  # fmt: skip

    def test_is_merged_like_any_other(self, tmp_path: Path) -> None:
        text = plugin_kubeconfig(
            read_api_kubeconfig(ANSWER), "demo", Connection("https://m.example", "t"), ConnectionOptions()
        )
        done = merge_context(tmp_path / "config", text, "demo", switch=True, url="https://m.example")
        merged = yaml.safe_load((tmp_path / "config").read_text())
        assert done.context == "moorage-demo"
        assert merged["users"] == yaml.safe_load(text)["users"]

    def test_can_hold_the_certificate(self) -> None:
        text = embedded_kubeconfig(read_api_kubeconfig(ANSWER), "demo", CERTIFICATE)
        user = yaml.safe_load(text)["users"][0]["user"]
        assert user == {"client-certificate-data": "YSBjZXJ0aWZpY2F0ZQ==", "client-key-data": "YSBrZXk="}

    @pytest.mark.parametrize("user", ["{token: t}", "{exec: {command: aws}}", "{exec: 1}"])
    def test_of_another_api_is_refused(self, user: str) -> None:
        head, _, rest = ANSWER.partition("  user:\n    exec:")
        answer = f"{head}  user: {user}\ncontexts{rest.partition('contexts')[2]}"
        with pytest.raises(CliError, match="without the plugin"):
            read_api_kubeconfig(answer)


class TestCommand:
    def program(self, folder: Path, name: str = "moorage") -> Path:
        folder.mkdir(exist_ok=True, parents=True)
        path = folder / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def test_is_its_name_if_path_has_this_program(self, tmp_path: Path) -> None:
        own = self.program(tmp_path / "venv")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "moorage").symlink_to(own)
        for path in (tmp_path / "venv", tmp_path / "bin"):
            assert plugin_command(str(own), {"PATH": str(path)}) == ["moorage"]

    def test_is_a_path_if_path_has_another_or_none(self, tmp_path: Path) -> None:
        own, other = self.program(tmp_path / "venv"), self.program(tmp_path / "other")
        assert plugin_command(str(own), {"PATH": str(other.parent)}) == [str(own)]
        assert plugin_command(str(own), {"PATH": "/nonexistent"}) == [str(own)]

    def test_of_the_plugin_is_the_command_beside_it(self, tmp_path: Path) -> None:
        """Ensures that `kubectl moorage` writes the same kubeconfig as `moorage`."""
        own, plugin = (self.program(tmp_path / "venv", name) for name in ("moorage", "kubectl-moorage"))
        assert plugin_command(str(plugin), {"PATH": str(own.parent)}) == ["moorage"]
        assert plugin_command(str(plugin), {"PATH": "/nonexistent"}) == [str(own)]
        alone = self.program(tmp_path / "alone", "kubectl-moorage")
        assert plugin_command(str(alone), {"PATH": str(alone.parent)}) == ["kubectl-moorage"]
        assert plugin_command(str(alone), {"PATH": "/nonexistent"}) == [str(alone)]

    def test_of_a_module_is_python_with_its_file(self, tmp_path: Path) -> None:
        module = tmp_path / "moorage.py"
        module.write_text("")
        assert plugin_command(str(module), {"PATH": ""}) == [sys.executable, str(module)]
        module.chmod(0o755)
        assert plugin_command(str(module), {"PATH": ""}) == [sys.executable, str(module)]
        assert plugin_command("", {"PATH": ""}) == ["moorage"]


class TestAnswerToKubectl:
    @pytest.mark.parametrize(
        ("info", "version"),
        [
            ('{"apiVersion": "client.authentication.k8s.io/v1", "spec": {"interactive": true}}', "v1"),
            ('{"apiVersion": "client.authentication.k8s.io/v1beta1"}', "v1beta1"),
            ('{"apiVersion": "client.authentication.k8s.io/v9"}', "v1"),
            ("", "v1"),
            ("nonsense", "v1"),
            ("[]", "v1"),
            ('{"apiVersion": 1}', "v1"),
            ('{"apiVersion": ["v1"]}', "v1"),
            ("[" * 100_000, "v1"),
        ],
    )
    def test_has_the_version_that_was_asked_for(self, info: str, version: str) -> None:
        answer = exec_credential(CERTIFICATE, {"KUBERNETES_EXEC_INFO": info})
        assert answer["apiVersion"] == f"client.authentication.k8s.io/{version}"
        assert answer["kind"] == "ExecCredential"
        assert answer["status"] == {
            "expirationTimestamp": "2030-01-01T00:00:00Z",
            "clientCertificateData": "a certificate",
            "clientKeyData": "a key",
        }


def soon(minutes: float = 30) -> ClientCertificate:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)
    return ClientCertificate("a certificate", "a key", end)


class TestCache:
    KEY = ("https://m.example", "demo", "life", ADA)

    def test_is_private_and_by_person_life_environment_and_installation(self, tmp_path: Path) -> None:
        cache, kept = CertificateCache(tmp_path / "a" / "credentials"), soon()
        cache.keep(kept, *self.KEY)
        assert cache.find(*self.KEY) == kept
        for position in range(len(self.KEY)):
            other = list(self.KEY)
            other[position] = "other"
            assert cache.find(*other) is None
        [file] = (tmp_path / "a" / "credentials").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    @pytest.mark.parametrize("minutes", [0, -1, 61, 60 * 24])
    def test_gives_none_that_is_over_or_of_a_wrong_clock(self, tmp_path: Path, minutes: float) -> None:
        cache = CertificateCache(tmp_path / "c")
        cache.keep(soon(minutes), *self.KEY)
        assert cache.find(*self.KEY) is None

    @pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"use_until": 1}', "\ud800", "x" * 30_000])
    def test_ignores_a_damaged_file(self, tmp_path: Path, content: str) -> None:
        cache = CertificateCache(tmp_path / "c")
        cache.keep(soon(), *self.KEY)
        [file] = (tmp_path / "c").iterdir()
        file.write_bytes(content.encode(errors="surrogatepass"))
        assert cache.find(*self.KEY) is None
        cache.keep(kept := soon(), *self.KEY)
        assert cache.find(*self.KEY) == kept

    def test_trusts_no_file_that_others_can_write_or_read(self, tmp_path: Path) -> None:
        cache = CertificateCache(tmp_path / "c")
        cache.keep(soon(), *self.KEY)
        [file] = (tmp_path / "c").iterdir()
        file.chmod(0o644)
        assert cache.find(*self.KEY) is None

    def test_deletes_files_that_are_over(self, tmp_path: Path) -> None:
        cache = CertificateCache(tmp_path / "c")
        cache.keep(soon(), "old")
        [old] = (tmp_path / "c").iterdir()
        os.utime(old, (0, 0))
        cache.keep(soon(), *self.KEY)
        assert old not in (tmp_path / "c").iterdir()

    def test_that_cannot_be_written_is_no_failure(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for cache in (CertificateCache(tmp_path / "file" / "c"), CertificateCache(None)):
            cache.keep(soon(), *self.KEY)
            assert cache.find(*self.KEY) is None

    @pytest.mark.parametrize(
        ("environ", "folder"),
        [
            ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/moorage/credentials"),
            ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/moorage/credentials"),
            ({"HOME": "/h"}, "/h/.cache/moorage/credentials"),
            ({}, None),
        ],
    )
    def test_is_where_the_xdg_conventions_say(self, environ: Mapping[str, str], folder: str | None) -> None:
        assert cache_folder(environ) == (Path(folder) if folder else None)


class FakeApi:
    """Answers the request for a certificate, or fails as the API does."""

    def __init__(self, failure: CliError | None = None) -> None:
        self.failure = failure
        self.body: dict[str, Any] = {}
        self.valid_seconds = 600

    def call(self, method: str, path: str, *, body: Any = None, once: bool = False) -> Any:
        assert once, "it pays for the whole client"
        assert (method, path) == ("POST", "environments/demo/credential")
        self.body = body
        if self.failure:
            raise self.failure
        return {
            "certificate": "a certificate", "person": ADA, "life": "l", "valid_seconds": self.valid_seconds,
            "expires_at": "2000-01-01T00:00:00Z",
        }  # fmt: skip


class TestRequest:
    def test_keeps_the_key_here_and_counts_by_this_clock(self) -> None:
        api = FakeApi()
        found = request_certificate(cast(Api, api), "demo", person=ADA, life="l")
        assert api.body["life"] == "l"
        request = x509.load_pem_x509_csr(api.body["request"].encode())
        assert read_request(api.body["request"], ADA).pem == api.body["request"].encode()
        assert "PRIVATE" not in str(api.body)
        assert "PRIVATE KEY" in found.key
        assert request.is_signature_valid
        left = found.use_until - datetime.now(UTC)
        assert timedelta(seconds=595) < left + RENEWAL_MARGIN <= timedelta(seconds=600)
        assert "key" not in repr(found).replace("use_until", "")

    @pytest.mark.parametrize(("said", "believed"), [(10**15, 3600), (3660, 3600), (-(10**15), 0)])
    def test_believes_no_impossible_end(self, said: int, believed: int) -> None:
        api = FakeApi()
        api.valid_seconds = said
        found = request_certificate(cast(Api, api), "demo", person=ADA, life="l")
        left = found.use_until - datetime.now(UTC) + RENEWAL_MARGIN
        assert believed - 5 < left.total_seconds() <= believed

    @pytest.mark.parametrize(
        ("problem", "message", "step"),
        [
            (
                {"status": 422, "detail": "request: has another subject"},
                "your token is another person's",
                f"sign in as {ADA}, or write your own kubeconfig: ",
            ),
            (
                {"status": 409, "reason": "other_life"},
                "was deleted and created again",
                "write the kubeconfig again: ",
            ),
        ],
    )
    def test_that_is_refused_says_what_to_do(self, problem: dict[str, Any], message: str, step: str) -> None:
        api = FakeApi(CliError(Code.FAILED, "refused", problem=problem))
        with pytest.raises(CliError, match=message) as refusal:
            request_certificate(cast(Api, api), "demo", person=ADA, life="l")
        assert refusal.value.next_steps == (f"{step}moorage kubeconfig demo --merge",)

    def test_that_fails_otherwise_is_not_changed(self) -> None:
        failure = CliError(Code.NOT_ALLOWED, "no", problem={"status": 403})
        with pytest.raises(CliError) as raised:
            request_certificate(cast(Api, FakeApi(failure)), "demo", person=ADA, life="l")
        assert raised.value is failure


def kubectl(
    config: Path, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Real kubectl, that finds our command in its PATH."""
    environment = {"HOME": str(folder), "PATH": f"{BIN}:/usr/bin:/bin", **variables}
    return subprocess.run(
        [str(BIN / "kubectl"), "--kubeconfig", str(config), *arguments],
        env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.slow
async def test_kubectl_uses_it(stack: Stack, tmp_path: Path, bob: Caller) -> None:
    """Ensures that kubectl gets in as the person, with one request to the API, and says what fails."""
    name, moorage = unique(), cli_of(stack, tmp_path, BOB.email)
    await bob.ready(name, collaborators=[DAVE.email])
    config = tmp_path / "demo.yaml"
    assert (await moorage("kubeconfig", name, "--file", str(config))).code == 0
    token = stack.token_of(BOB.email)
    assert token not in config.read_text()
    assert "data" not in yaml.safe_load(config.read_text())["users"][0]["user"]
    who = kubectl(config, tmp_path, "auth", "whoami", "-o", "json", MOORAGE_TOKEN=token)
    assert who.returncode == 0, who.stderr
    assert json.loads(who.stdout)["status"]["userInfo"]["username"] == BOB.email
    # Without a token: from the cache, which needs none.
    again = kubectl(config, tmp_path, "get", "namespaces", "-o", "name")
    assert again.returncode == 0, again.stderr
    assert "namespace/default" in again.stdout.split()
    [cached] = (tmp_path / ".cache" / "moorage" / "credentials").iterdir()
    assert stat.S_IMODE(cached.stat().st_mode) == 0o600

    cached.unlink()
    other = kubectl(config, tmp_path, "auth", "whoami", MOORAGE_TOKEN=stack.token_of(DAVE.email))
    assert other.returncode != 0
    assert f"moorage: the credential is for {BOB.email}, and your token is another person's" in other.stderr
    none = kubectl(config, tmp_path, "auth", "whoami", MOORAGE_STATE=str(tmp_path / "none"))
    assert "moorage: no token for" in none.stderr
    assert len([line for line in none.stderr.splitlines() if line.startswith("moorage")]) == 1

    await bob.gone(name)
    ended = kubectl(config, tmp_path, "auth", "whoami", MOORAGE_TOKEN=token)
    assert "is gone" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
async def test_embedded_and_direct(stack: Stack, moorage: Cli, tmp_path: Path, bob: Caller) -> None:
    """Ensures that --embed needs no plugin, and that the plugin alone asks the API for what it lacks."""
    name = unique()
    await bob.ready(name)
    written = await moorage("kubeconfig", name, "--embed", "--file", "embedded.yaml")
    assert f"It contains a credential of {BOB.email} until" in written.err
    config = tmp_path / "embedded.yaml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert set(yaml.safe_load(config.read_text())["users"][0]["user"]) == {
        "client-certificate-data", "client-key-data",
    }  # fmt: skip
    who = kubectl(config, tmp_path, "auth", "whoami", "-o", "json")
    assert json.loads(who.stdout)["status"]["userInfo"]["username"] == BOB.email
    direct = await moorage("credential", name)
    assert (direct.code, direct.err) == (0, "")
    content = json.loads(direct.out)
    assert content["status"]["clientKeyData"].startswith("-----BEGIN PRIVATE KEY-----")
    assert not (tmp_path / ".cache").exists()
    missing = await moorage("credential", unique())
    assert (missing.code, missing.out) == (3, "")
    assert len(missing.err.splitlines()) == 1
    await bob.gone(name)


@pytest.fixture
def moorage(stack: Stack, tmp_path: Path) -> Cli:
    """Bob's command."""
    return cli_of(stack, tmp_path, BOB.email)
