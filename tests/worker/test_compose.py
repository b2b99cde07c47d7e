"""docker-compose.yml and Dockerfile: each command in them runs, in their order, as they say, and is confined.

No container can run here: the commands run as processes, from what the Dockerfile would install, with the
environment and the secrets' files of their services, and against the embedded Temporal server.
"""

import base64
import hashlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from embedded.stack.stack import Options, Part, Stack
from embedded.stack.state_dir import free_port
from tests.support.deadline import HANG
from tests.support.stack import temporal_command
from tests.support.stand_ins import CHECKOUT
from tests.worker.compose_stack import COMPOSE, DOCKERFILE, Image, Service, filled
from tests.worker.test_deploy import prepared
from worker.tracing.settings import TraceExport, read_trace_settings

pytestmark = pytest.mark.slow

#: Longest wait for a process to become healthy, on a busy machine.
MAX_WAIT = HANG
OURS = {name for name, service in COMPOSE["services"].items() if service["image"].startswith("moorage")}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the Dockerfile would install."""
    return Image.build(tmp_path_factory.mktemp("image"))


@pytest.fixture
async def temporal(tmp_path: Path) -> AsyncIterator[Stack]:
    """A Temporal server alone."""
    options = Options(parts=frozenset({Part.TEMPORAL}), temporal_command=temporal_command())
    async with Stack(tmp_path / "temporal", options) as stack:
        yield stack


class Composed:
    """The services of one composition; each runs until `end`."""

    def __init__(self, folder: Path, image: Image, temporal_address: str) -> None:
        self.secrets, said = prepared(folder)
        self.token = said.rsplit("shown this once: ", 1)[1].split()[0]
        self._folder, self._image = folder, image
        ports = [str(free_port()) for _ in range(6)]
        variables = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
        urls = {
            "MOORAGE_CONTROL_PLANE__URL": f"http://127.0.0.1:{ports[0]}",
            "MOORAGE_IDENTITY__URL": f"http://127.0.0.1:{ports[1]}/v2",
            "MOORAGE_HOSTS__LOCAL__URL": f"http://127.0.0.1:{ports[2]}",
        }
        self.variables = variables | urls
        self.instead = {
            "temporal:7233": temporal_address,
            "/run/secrets": str(self.secrets),
            "/var/lib/moorage": str(folder / "volume"),
            "/tmp/ready": str(folder / "ready"),
            "0.0.0.0:7004": f"127.0.0.1:{ports[5]}",
            "0.0.0.0": "127.0.0.1",
            "7400": ports[3],
            "7401": ports[4],
        }
        (folder / "volume").mkdir()
        self.api_url = f"http://127.0.0.1:{ports[3]}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def service(self, name: str) -> Service:
        return Service(name, self._image, self.variables, self.instead)

    def run(self, name: str, *instead: str) -> subprocess.CompletedProcess[str]:
        """Run a service to its end; `instead` of its command as `docker compose run` has it."""
        service = self.service(name)
        command = self._image.command(["moorage", *instead]) if instead else service.command
        return finished(command, service.environment, self._folder / "volume")

    def start(self, name: str) -> None:
        service = self.service(name)
        log = (self._folder / f"{name}.log").open("wb")
        self.running[name] = subprocess.Popen(
            service.command, env=service.environment, cwd=self._folder / "volume", stdout=log, stderr=log
        )
        log.close()

    def until_healthy(self, name: str) -> None:
        service = self.service(name)
        self._until(name, service.is_healthy)

    def _until(self, name: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + MAX_WAIT
        while not condition():
            log = (self._folder / f"{name}.log").read_text()
            assert self.running[name].poll() is None, f"{name} has ended:\n{log}"
            assert time.monotonic() < deadline, f"{name} does not become healthy:\n{log}"
            time.sleep(0.2)

    def moorage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A developer's command, outside of the containers."""
        variables = {"MOORAGE_URL": self.api_url, "MOORAGE_TOKEN": self.token}
        command = self._image.command(["moorage", *arguments])
        return finished(command, variables | {"PYTHONPATH": str(self._image.site)}, self._folder)

    def end(self) -> dict[str, int]:
        """Stop all in the way of `docker compose stop`; their exit codes."""
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        codes = {}
        for name, process in self.running.items():
            try:
                codes[name] = process.wait(timeout=HANG)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        return codes


@pytest.fixture
def composed(tmp_path: Path, image: Image, temporal: Stack) -> Iterator[Composed]:
    """A composition of which nothing runs yet but Temporal."""
    composed = Composed(tmp_path, image, temporal.temporal_address)
    yield composed
    composed.end()


def finished(command: list[str], env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command, run to its end in this environment and no other."""
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_it_comes_up_in_its_order_and_makes_environments(composed: Composed) -> None:
    """Ensures that stand-ins, setup, worker, API and codec server run as the file says, from nothing."""
    gate = composed.run("setup-temporal")
    assert gate.returncode == 0, f"it needs more than Temporal: {gate.stdout}{gate.stderr}"
    early = composed.run("setup")
    assert early.returncode != 0, "setup has succeeded without the systems that it is about"

    assert not composed.service("stand-ins").is_healthy()
    composed.start("stand-ins")
    composed.until_healthy("stand-ins")
    first = composed.run("setup")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Setup complete" in first.stdout
    again = composed.run("setup")
    assert again.returncode == 0, again.stdout + again.stderr

    for name in ("api", "worker", "codec-server"):
        assert not composed.service(name).is_healthy(), f"{name} is healthy before it runs"
        composed.start(name)
    for name in ("api", "worker", "codec-server"):
        composed.until_healthy(name)
    doctor = composed.run("setup", "doctor", "--output", "json")
    assert doctor.returncode == 0, doctor.stdout

    tried = composed.moorage("templates", "try", "throwaway", "--output", "json")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    trial = json.loads(tried.stdout)
    assert [check["what"] for check in trial["checks"]] == ["ready", "kubeconfig", "removed"]
    history = composed.moorage("history", trial["environment"])
    assert "nothing left" in history.stdout, history.stderr

    assert composed.end() == {"stand-ins": 0, "api": 0, "worker": 0, "codec-server": 0}
    assert not composed.service("worker").is_healthy(), "the worker is healthy after its end"


def test_the_pod_holds_its_network_until_a_signal_ends_it(composed: Composed) -> None:
    """Ensures that what the others share a network with goes on doing nothing, and ends on SIGTERM."""
    composed.start("pod")
    time.sleep(0.5)
    assert composed.running["pod"].poll() is None
    assert composed.end() == {"pod": -signal.SIGTERM}


def test_no_secret_is_in_an_environment_or_an_argument(composed: Composed) -> None:
    """Ensures that the secrets of deploy/secrets are passed only as files."""
    secrets = [file.read_text().strip() for file in composed.secrets.iterdir() if file.name != ".gitignore"]
    for name in OURS:
        service = composed.service(name)
        shown = json.dumps([service.command, service.environment])
        assert not [secret for secret in secrets if secret in shown], name


def test_the_image_starts_without_the_checkout(image: Image, tmp_path: Path) -> None:
    """Ensures that the image's default command works, and that all of Moorage comes from the image."""
    env = {"PYTHONPATH": str(image.site), "PATH": "/usr/bin:/bin"}
    assert 'ENTRYPOINT ["moorage"]\nCMD ["--help"]' in DOCKERFILE
    shown = finished(image.command(["moorage", "--help"]), env, tmp_path)
    assert (shown.returncode, "setup" in shown.stdout) == (0, True), shown.stderr
    checked = finished(image.command(["moorage", "templates", "check", "--output", "json"]), env, tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert {Path(one["file"]).parent for one in json.loads(checked.stdout)["templates"]} == {
        image.site / "starter" / "templates"
    }


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_service_is_confined(name: str) -> None:
    """Ensures that no service has more than it needs, and that each is pinned and published here only."""
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "restart" in service
    assert not service.get("privileged")
    version = service["image"].rpartition(":")[2].removesuffix("}")
    assert version.rpartition("-")[2] != "latest"
    assert any(character.isdigit() for character in version)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    if name in OURS:
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]
        assert service["user"] == "${RUN_AS:-10001:10001}"
        assert "cap_add" not in service


def test_temporal_is_reached_by_those_who_need_it() -> None:
    """Ensures that neither its frontend nor its database is on a network of others, or published."""
    networks = {
        name: set(service.get("networks", ["default"]))
        for name, service in COMPOSE["services"].items()
        if "network_mode" not in service
    }
    on = {
        network: {name for name in networks if network in networks[name]} for network in COMPOSE["networks"]
    }
    assert all(COMPOSE["networks"][network]["internal"] is True for network in on)
    assert on == {
        "storage": {"database", "temporal-schema", "temporal"},
        "temporal": {"temporal", "temporal-ui", "pod"},
        "web-ui": {"temporal-ui", "web-ui-sign-in"},
    }
    in_the_pod = {name for name, service in COMPOSE["services"].items() if "network_mode" in service}
    assert in_the_pod == {"setup-temporal", "setup", "api", "worker", "stand-ins"}
    published = {name for name, service in COMPOSE["services"].items() if service.get("ports")}
    assert published == {"web-ui-sign-in", "pod", "codec-server"}


def test_worker_and_api_export_traces_to_the_endpoint_of_the_variables() -> None:
    """Ensures that both take endpoint and share, and that traces are off without."""
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    for name in ("worker", "api"):
        environment = COMPOSE["services"][name]["environment"]
        for variables, expected in ((given, TraceExport(0.25)), ({}, None)):
            filled_in = {key: filled(str(text), variables) for key, text in environment.items()}
            assert read_trace_settings(filled_in) == expected, name


def test_the_web_ui_only_shows_and_asks_who_it_is(tmp_path: Path) -> None:
    """Ensures that nothing can be changed there, and that nginx is given a name and a hash, no password."""
    assert COMPOSE["services"]["temporal-ui"]["environment"]["TEMPORAL_DISABLE_WRITE_ACTIONS"] == "true"
    secrets, said = prepared(tmp_path)
    name, password = said.split("Web UI, shown this once: name ")[1].splitlines()[0].split(", password ")
    known, hashed = (secrets / "web-ui-sign-in").read_text().strip().split(":")
    assert (known, password in hashed) == (name, False)
    content = base64.b64decode(hashed.removeprefix("{SSHA}"))
    assert hashlib.sha1(password.encode() + content[20:]).digest() == content[:20]
    config = (CHECKOUT / "deploy" / "temporal" / "web-ui.conf").read_text()
    location = config.partition("location / {")[2].partition("}")[0]
    assert "auth_basic_user_file /run/secrets/web-ui-sign-in;" in location
    assert "proxy_pass http://temporal-ui:8080;" in location


def test_every_service_waits_for_what_it_needs() -> None:
    """Ensures that each dependency has a health check or an end, and that there is no cycle."""
    services = COMPOSE["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            if condition == "service_healthy":
                assert "healthcheck" in services[needed], (
                    f"{name} waits for {needed}, which has no health check"
                )
            if condition == "service_completed_successfully":
                assert services[needed]["restart"] != "unless-stopped", f"{needed} never ends"
    for name in ("api", "worker"):
        gate = services[name]["depends_on"]["setup-temporal"]
        assert gate == {"condition": "service_completed_successfully"}

    def before(name: str) -> set[str]:
        needs = set(services[name].get("depends_on", {}))
        return needs.union(*(before(each) for each in needs)) if needs else needs

    ours = {"pod", "setup-temporal", "temporal", "temporal-schema", "database"}
    assert before("worker") == before("api") == ours, "an outside system keeps it from starting"


def test_the_image_has_this_version_and_a_user_without_root() -> None:
    """Ensures that the image's tag is the project's version, and that its last user is not root."""
    version = (CHECKOUT / "pyproject.toml").read_text().partition('version = "')[2].partition('"')[0]
    for name in OURS:
        image = "moorage-embedded" if name == "stand-ins" else "moorage"
        assert COMPOSE["services"][name]["image"] == f"{image}:${{MOORAGE_VERSION:-{version}}}"
    user = [line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("USER ")]
    assert user == ["10001:10001"]
    # Compose may run it as another user, who writes there as well.
    assert re.findall(r"install -d .* -m (\d+) /var/lib/moorage", DOCKERFILE) == ["1777"]


def test_only_the_stand_ins_have_the_embedded_stack() -> None:
    """Ensures that each image is built for its role, and that a build without a target is for servers."""
    stages = {name: before for before, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}
    for name in OURS:
        target = COMPOSE["services"][name]["build"]["target"]
        assert target == ("embedded" if name == "stand-ins" else "server")
        assert target in stages
    assert stages["embedded"] == "server"
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1].split()[0]
    assert last == "server"
    [servers] = re.findall(r"^FROM python AS server\n(.*?)\nFROM ", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert "requirements.txt" not in servers
    assert "build-embedded" not in servers


def test_no_program_of_the_image_gives_more_rights(tmp_path: Path) -> None:
    """Ensures that, by the command that the build runs on its whole tree."""
    [servers] = re.findall(r"^FROM python AS server\n(.*?)^USER ", DOCKERFILE, re.MULTILINE | re.DOTALL)
    [expression] = re.findall(r"&& find / (.*)$", servers, re.MULTILINE)
    for name, mode in (("su", 0o4755), ("chage", 0o2755), ("both", 0o6755), ("ls", 0o755)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    subprocess.run(f"find {shlex.quote(str(tmp_path))} {expression}", shell=True, check=True)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o755}


def test_nothing_but_what_the_image_copies_gets_into_its_build() -> None:
    """Ensures that secrets, state and history stay out of the build's context."""
    first, *kept = [
        line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
    ]
    copied = {
        name
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    assert first == "*"
    assert {line[1:].rstrip("/") for line in kept if line.startswith("!")} == copied


def test_the_schema_of_temporals_databases(tmp_path: Path) -> None:
    """Ensures that the script makes both databases and brings them up to date, and shows no password.

    Temporal's own tool is not to be had here: what it would be called with is written down instead.
    """
    calls, secret = tmp_path / "calls", tmp_path / "password"
    secret.write_text("a-password\n")
    tool = tmp_path / "temporal-sql-tool"
    tool.write_text(f'#!/bin/sh\necho "$SQL_PASSWORD|$*" >> {calls}\n')
    tool.chmod(0o755)
    script = (CHECKOUT / "deploy" / "temporal" / "create-schema.sh").read_text()
    here = tmp_path / "create-schema.sh"
    here.write_text(script.replace("/run/secrets/temporal-db-password", str(secret)))
    variables = COMPOSE["services"]["temporal-schema"]["environment"]
    env = {**variables, "PATH": f"{tmp_path}{os.pathsep}/usr/bin:/bin"}
    subprocess.run(["sh", str(here)], env=env, check=True, capture_output=True)
    seen = [line.split("|", 1) for line in calls.read_text().splitlines()]
    assert {password for password, _ in seen} == {"a-password"}
    assert [(call.split("--db ")[1].split()[0], call.split("--db ")[1].split()[1]) for _, call in seen] == [
        (database, verb)
        for database in ("temporal", "temporal_visibility")
        for verb in ("create", "setup-schema", "update-schema")
    ]
    assert not [call for _, call in seen if "a-password" in call]
