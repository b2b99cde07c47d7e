"""The process of the stand-ins: what it needs to start, and how it ends."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.compose import options_of
from embedded.standin_options import VARIABLE
from tests.support.deadline import HANG
from tests.support.stand_ins import CHECKOUT, start_stand_ins

#: The options of each that have no default, except its secret.
NEEDED = {
    "control_plane": {"port": 20001, "database": "x"},
    "directory": {"port": 20002, "database": "x"},
    "host": {"port": 20003, "folder": "x"},
}
SECRETS = {"control_plane": "api_key", "directory": "token", "host": "token"}


def ended(value: str) -> subprocess.CompletedProcess[str]:
    """The process with this value of its variable, at its end."""
    return subprocess.run(
        [sys.executable, "-m", "embedded.standins"],
        env={**os.environ, VARIABLE: value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=HANG,
        check=False,
    )


def test_standins_do_not_start_without_their_secrets() -> None:
    without = ended(json.dumps({name: {**NEEDED[name], SECRETS[name]: ""} for name in NEEDED}))
    assert without.returncode == 1
    for name, secret in SECRETS.items():
        assert f"{name}.{secret}: String should have at least 1 character" in without.stderr
    assert "Traceback" not in without.stderr


@pytest.mark.parametrize("value", ["", "{}", '{"no_such": {}}'])
def test_standins_do_not_start_without_usable_options(value: str) -> None:
    without = ended(value)
    assert without.returncode == 1
    assert without.stderr.startswith(f"{VARIABLE} cannot be used: ")


def test_standins_do_not_start_on_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        options = {"folder": str(tmp_path), "token": "t", "port": taken.getsockname()[1]}
        without = ended(json.dumps({"host": options}))
    assert (without.returncode, without.stderr.count("\n")) == (1, 1)
    assert "the stand-ins cannot start: " in without.stderr
    assert "Address already in use" in without.stderr


@pytest.mark.slow
def test_all_stand_ins_end_with_their_parent(tmp_path: Path) -> None:
    urls, process = start_stand_ins(
        control_plane={"database": tmp_path / "rafay.sqlite", "api_key": "k"},
        directory={"database": tmp_path / "directory.sqlite", "token": "t"},
        host={"folder": tmp_path / "host", "token": "t"},
    )
    assert len(set(urls)) == 3
    assert process.stdin
    process.stdin.close()
    assert process.wait(HANG) == 0


def test_options_of_a_composition_come_from_the_settings(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("from-file\n")
    environment = {
        "MOORAGE_CONTROL_PLANE__URL": "http://127.0.0.1:7001",
        "MOORAGE_CONTROL_PLANE__API_KEY": "key",
        "MOORAGE_IDENTITY__URL": "http://127.0.0.1:7002/v2",
        "MOORAGE_IDENTITY__TOKEN_FILE": str(token),
        "MOORAGE_HOSTS__LOCAL__URL": "http://127.0.0.1:7003",
        "MOORAGE_HOSTS__LOCAL__TOKEN": "host",
    }
    options = options_of(environment, tmp_path, "0.0.0.0:7004")
    assert options.control_plane
    assert options.directory
    assert options.host
    assert (options.control_plane.port, options.control_plane.api_key) == (7001, "key")
    assert (options.directory.port, options.directory.token) == (7002, "from-file")
    assert (options.host.port, options.host.virtual_address) == (7003, "0.0.0.0:7004")
    with pytest.raises(ValueError, match="MOORAGE_HOSTS__LOCAL__URL must be set, with a port"):
        options_of(environment | {"MOORAGE_HOSTS__LOCAL__URL": "http://host"}, tmp_path, None)
