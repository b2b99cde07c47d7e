"""The services of docker-compose.yml as processes of this machine: their commands, environments and secrets.

Folders and ports of the test take the place of those of each container.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.deadline import HANG
from tests.support.stand_ins import CHECKOUT

COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()


def filled(text: str, variables: dict[str, str]) -> str:
    """The text with its `${NAME:-default}` and `${NAME-default}`, as compose fills them in."""

    def value_of(match: re.Match[str]) -> str:
        name, operator, default = match.groups()
        given = variables.get(name)
        return default if given is None or (operator == ":-" and not given) else given

    return re.sub(r"\$\{(\w+)(:?-)([^}]*)\}", value_of, text)


@dataclass(frozen=True)
class Image:
    """What `docker build` would make of the Dockerfile, in a folder: packages and command."""

    site: Path

    @classmethod
    def build(cls, folder: Path) -> "Image":
        """Install what the Dockerfile copies, by the command that it installs it with."""
        source, site = folder / "src", folder / "site"
        [stage] = [each for each in DOCKERFILE.split("\nFROM ") if each.startswith("packages AS build\n")]
        for line in re.findall(r"^COPY (.+)$", stage, re.MULTILINE):
            *names, target = shlex.split(line)
            for name in names:
                if (CHECKOUT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(CHECKOUT / name, source / target, ignore=ignored)
                else:
                    source.mkdir(exist_ok=True)
                    shutil.copy(CHECKOUT / name, source / target)
        [install] = re.findall(r"^RUN \S*/pip (install [^&\n]*)--prefix /own \.$", stage, re.MULTILINE)
        command = [
            sys.executable,
            "-m",
            "pip",
            *install.split(),
            "--quiet",
            "--target",
            str(site),
            str(source),
        ]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return cls(site)

    def command(self, arguments: list[str]) -> list[str]:
        """The command as it is found here."""
        name, *rest = arguments
        own = {"moorage": str(self.site / "bin" / "moorage"), "python": sys.executable}
        return [own.get(name, name), *rest]


@dataclass(frozen=True)
class Service:
    """One service: `instead` says what of this machine is in place of what of the container."""

    name: str
    image: Image
    variables: dict[str, str]
    instead: dict[str, str]

    @property
    def _says(self) -> dict[str, Any]:
        return dict(COMPOSE["services"][self.name])

    def _here(self, text: str) -> str:
        text = filled(text, self.variables)
        for there, here in self.instead.items():
            text = text.replace(there, here)
        return text

    @property
    def command(self) -> list[str]:
        """What it runs."""
        entry = self._says.get("entrypoint", ["moorage"])
        return self.image.command([self._here(part) for part in [*entry, *self._says.get("command", [])]])

    @property
    def health(self) -> list[str]:
        """How it is asked whether it is healthy."""
        how, *command = self._says["healthcheck"]["test"]
        assert how == "CMD"
        return self.image.command([self._here(part) for part in command])

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the service: no variable of the test process leaks into it."""
        variables = {name: self._here(str(text)) for name, text in self._says.get("environment", {}).items()}
        path = os.pathsep.join([str(self.image.site / "bin"), "/usr/bin", "/bin"])
        return {"PATH": path, "PYTHONPATH": str(self.image.site), "HOME": "/nonexistent", **variables}

    def is_healthy(self) -> bool:
        """What its health check says."""
        check = subprocess.run(self.health, env=self.environment, capture_output=True, timeout=HANG)
        return check.returncode == 0
