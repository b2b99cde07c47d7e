"""Temporal's server: the variables and the schema script of docker-compose.yml, with ports of ours."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from embedded.stack.temporal_server import NAMESPACE, SEARCH_ATTRIBUTES, find_server, is_ready
from tools.lock_files import ROOT
from tools.temporal_postgres.binaries import Binaries, TemporalPostgresError
from tools.temporal_postgres.postgres import USER, Postgres

DEPLOYED = ROOT / "deploy" / "temporal"
#: The ports of its services, as the configuration inside the server names them.
PORTS = (
    "FRONTEND_MEMBERSHIP_PORT", "MATCHING_GRPC_PORT", "MATCHING_MEMBERSHIP_PORT", "HISTORY_GRPC_PORT",
    "HISTORY_MEMBERSHIP_PORT", "WORKER_GRPC_PORT", "WORKER_MEMBERSHIP_PORT",
)  # fmt: skip
#: Path of the HTTP API that answers once the namespace is served, with the custom search attributes.
ATTRIBUTES_PATH = f"/api/v1/namespaces/{NAMESPACE}/search-attributes"
RESPONSE_SECONDS = 2.0
#: Like the retention that `moorage setup` gives a namespace.
RETENTION = "720h"


@dataclass(frozen=True)
class Server:
    """The server on its ports: `ports` has FRONTEND_GRPC_PORT, FRONTEND_HTTP_PORT and those of `PORTS`."""

    binaries: Binaries
    database: Postgres
    password_file: Path
    ports: Mapping[str, int]
    metrics_port: int

    @property
    def address(self) -> str:
        """Host and port for `TEMPORAL_ADDRESS`."""
        return f"127.0.0.1:{self.ports['FRONTEND_GRPC_PORT']}"

    @property
    def command(self) -> list[str]:
        """The command that serves in the foreground, as the image's entry point has it."""
        return [str(self.binaries.server), "start"]

    @property
    def environment(self) -> dict[str, str]:
        """What the compose file tells the server, at our addresses."""
        ours = {
            "BIND_ON_IP": "127.0.0.1",
            "DB_PORT": str(self.database.port),
            "DYNAMIC_CONFIG_FILE_PATH": str(DEPLOYED / "dynamic-config.yaml"),
            "LOG_LEVEL": "warn",
            "POSTGRES_PWD": self.password_file.read_text().strip(),
            "POSTGRES_SEEDS": "127.0.0.1",
            "PROMETHEUS_ENDPOINT": f"127.0.0.1:{self.metrics_port}",
        }
        ports = {name: str(port) for name, port in self.ports.items()}
        return {"PATH": os.environ.get("PATH", ""), **composed("temporal"), **ours, **ports}

    def create_schema(self) -> None:
        """Run the script of the compose file's job; again, it changes nothing.

        Raises:
            TemporalPostgresError: it fails.
        """
        script = (DEPLOYED / "create-schema.sh").read_text()
        instead = {
            "/run/secrets/temporal-db-password": str(self.password_file),
            "/etc/temporal/schema": str(self.binaries.schema),
            "--port 5432": f"--port {self.database.port}",
        }
        for there, here in instead.items():
            if there not in script:
                raise TemporalPostgresError(f"create-schema.sh no longer has {there}; see {__file__}")
            script = script.replace(there, here)
        path = f"{self.binaries.folder}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**composed("temporal-schema"), "PATH": path, "POSTGRES_SEEDS": "127.0.0.1"}
        done = subprocess.run(
            ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            raise TemporalPostgresError(f"the schema cannot be created:\n{last}")

    def answers(self) -> bool:
        """Whether the HTTP API answers, with or without a namespace."""
        return self._get("/api/v1/cluster-info")[0] == 200

    def is_prepared(self) -> bool:
        """Whether it serves the namespace with our search attributes."""
        return is_ready(*self._get(ATTRIBUTES_PATH))

    def prepare(self) -> None:
        """Make the namespace and our search attributes, where they are missing; it may take a few tries.

        Raises:
            TemporalPostgresError: `temporal operator` cannot make them.
        """
        if self._get(f"/api/v1/namespaces/{NAMESPACE}")[0] != 200:
            self._operate("namespace", "create", NAMESPACE, "--retention", RETENTION)
        status, body = self._get(ATTRIBUTES_PATH)
        present = json.loads(body).get("customAttributes", {}) if status == 200 else {}
        missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in present}
        if status == 200 and missing:
            wanted = [part for one in missing.items() for part in ("--name", one[0], "--type", one[1])]
            self._operate("search-attribute", "create", "--namespace", NAMESPACE, *wanted)

    def _operate(self, *arguments: str) -> None:
        command = [find_server(), "operator", *arguments, "--address", self.address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TemporalPostgresError(
                f"`temporal operator {' '.join(arguments[:2])}`: {done.stderr.strip()}"
            )

    def _get(self, path: str) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{self.ports['FRONTEND_HTTP_PORT']}{path}"
        try:
            with _DIRECT.open(url, timeout=RESPONSE_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, b""
        except (urllib.error.URLError, OSError):
            return 0, b""


#: No proxy is between the parts of one machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def composed(service: str) -> dict[str, str]:
    """Return the environment of a service of docker-compose.yml, which must be the user of our database."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    environment = {name: str(value) for name, value in compose["services"][service]["environment"].items()}
    if environment["POSTGRES_USER"] != USER:
        raise TemporalPostgresError(f"docker-compose.yml has another user than {USER}; see {__file__}")
    return environment
