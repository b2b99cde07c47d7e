"""What is shipped for deploying says what the code says: settings, search attributes, the server's limits."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from embedded.stack.temporal_server import QUEUE_TASKS_PER_SECOND, TIMER_SHIFT
from starter.auth.tokens import load_tokens
from tests.support.stand_ins import CHECKOUT
from tests.worker.compose_stack import COMPOSE, filled
from worker.settings.loading import load_api_settings, load_codec_server_settings, load_settings
from worker.settings.models import Settings


def settings_of(service: str, folder: Path, env: dict[str, str]) -> Settings:
    """The settings of a service of the compose file, with the secrets of `folder`, under `env`."""
    load = load_api_settings if service == "api" else load_settings
    return load(environment_of(service, folder, env))


def environment_of(service: str, folder: Path, env: dict[str, str]) -> dict[str, str]:
    """The environment of a service of the compose file, with the secrets of `folder`, under `env`."""
    return {
        name: filled(str(text), env).replace("/run/secrets", str(folder))
        for name, text in COMPOSE["services"][service]["environment"].items()
    }


def prepared(tmp_path: Path) -> tuple[Path, str]:
    """The folder of secrets that deploy/prepare.py makes, and what it said."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(CHECKOUT / "deploy" / "prepare.py", tmp_path / "deploy")
    script = [sys.executable, str(tmp_path / "deploy" / "prepare.py")]
    first = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    again = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert "made .env" in first
    assert "made" not in again
    secrets = tmp_path / "deploy" / "secrets"
    if os.getuid() == 0:
        # Prepared by root they belong to the user of the containers, whose part this process takes.
        for path in (secrets, *secrets.iterdir()):
            os.chown(path, 0, 0)
    return secrets, first


def test_compose_gives_settings_that_can_be_used(tmp_path: Path) -> None:
    """Ensures that the files of deploy/prepare.py are complete, and that no other user can read them."""
    secrets, _ = prepared(tmp_path)
    env = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    for service in ("setup", "worker", "api"):
        settings = settings_of(service, secrets, env)
        assert settings.installation == env["MOORAGE_INSTALLATION"]
        assert settings.identity is not None
    given = COMPOSE["services"]["api"]["secrets"]
    assert {"control-plane-api-key", "identity-token"}.isdisjoint(given), "it holds what may write"
    assert settings.api.tokens_file is not None
    assert load_tokens(settings.api.tokens_file).principal_of("unknown") is None
    assert [path for path in secrets.iterdir() if path.stat().st_mode & 0o077] == []

    codec_server = load_codec_server_settings(environment_of("codec-server", secrets, env))
    assert codec_server.encryption.keyring.ids == settings.encryption.keyring.ids
    assert codec_server.codec_server.ui == ("http://127.0.0.1:8233",)

    without = env | {"MOORAGE_IDENTITY__URL": "", "MOORAGE_IDENTITY__TOKEN_FILE": ""}
    assert settings_of("worker", secrets, without).identity is None


def test_compose_declares_each_secret_that_it_uses() -> None:
    """Ensures that every secret that a service reads is there for it."""
    for name, service in COMPOSE["services"].items():
        used = set(re.findall(r"/run/secrets/([a-z-]+)", json.dumps(service)))
        assert used <= set(service.get("secrets", [])), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name


def test_server_is_as_fast_as_the_embedded_one() -> None:
    """Ensures that the limits that are raised for `moorage up` are raised here too."""
    config = yaml.safe_load((CHECKOUT / "deploy" / "temporal" / "dynamic-config.yaml").read_text())
    values = {name: entries[0]["value"] for name, entries in config.items()}
    queues = ("transfer", "timer", "visibility")
    limits = {f"history.{queue}ProcessorMaxPollRPS": QUEUE_TASKS_PER_SECOND for queue in queues}
    assert values == limits | {"history.timerProcessorMaxTimeShift": TIMER_SHIFT}


def test_prepare_writes_through_no_link(tmp_path: Path) -> None:
    """Ensures that links in place of the folder or of a file are not written through."""
    deploy, other = tmp_path / "deploy", tmp_path / "other"
    deploy.mkdir()
    other.mkdir()
    shutil.copy(CHECKOUT / "deploy" / "prepare.py", deploy)
    script = [sys.executable, str(deploy / "prepare.py")]
    (deploy / "secrets").symlink_to(other)
    ended = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (ended.returncode, "a link to one: remove it" in ended.stderr) == (1, True)
    (deploy / "secrets").unlink()
    (deploy / "secrets").mkdir()
    (deploy / "secrets").chmod(0o777)
    ended = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (ended.returncode, "others may write in " in ended.stderr) == (1, True)
    (deploy / "secrets").chmod(0o755)
    (deploy / "secrets" / "web-ui-sign-in").symlink_to(other / "there")
    ended = subprocess.run(script, capture_output=True, text=True, check=True)
    assert "kept deploy/secrets/web-ui-sign-in" in ended.stdout
    assert not list(other.iterdir())


def test_help_of_prepare_writes_nothing(tmp_path: Path) -> None:
    """Ensures that --help and a mistyped argument print the usage and write no file."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(CHECKOUT / "deploy" / "prepare.py", tmp_path / "deploy")
    script = [sys.executable, str(tmp_path / "deploy" / "prepare.py")]
    for argument, code in (("--help", 0), ("-h", 0), ("--hepl", 2), ("now", 2)):
        ended = subprocess.run([*script, argument], capture_output=True, text=True, check=False)
        assert (ended.returncode, "usage: deploy/prepare.py" in ended.stdout + ended.stderr) == (code, True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deploy", "prepare.py"]
