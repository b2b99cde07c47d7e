"""The settings of the control plane."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    StringConstraints,
)

from worker.settings.types import (
    Group,
    HeaderSecret,
    PositiveDuration,
    ProtectedUrl,
    Rate,
)

#: Placeholder for a credential that a process does not need.
NO_CREDENTIAL = "not-given-to-this-process"


class ControlPlane(Group):
    """The system that manages clusters and access to them: Rafay."""

    url: ProtectedUrl = Field(
        description="base URL of the control plane's console", examples=["https://console.rafay.dev"]
    )
    api_key: HeaderSecret = Field(
        description="API key of a user who may manage projects, groups and clusters"
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30),
        description="longest wait for one answer; creating a cluster record takes it several seconds",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed its certificate, if a private one"
    )
    max_steps_per_second: Rate | None = Field(
        default=None,
        description="how many steps and undos that call it all workers together start in a second; without "
        "it, there is no limit",
        examples=["5"],
    )
    host_project: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = Field(
        default="moorage-hosts",
        description="project of the platform team, with the chart repositories; `moorage setup` makes it",
    )
