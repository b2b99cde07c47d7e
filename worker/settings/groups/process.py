"""The settings of the worker process, and of the logs of worker and API."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator

from worker.settings.types import (
    Group,
    PositiveDuration,
    SocketAddress,
)


class WorkerProcess(Group):
    """The process that runs workflows and activities."""

    max_concurrent_activities: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="steps that run at once; most of them wait, so it may be several times the calls that "
        "the control plane stands",
    )
    max_cached_workflows: int = Field(
        default=200,
        ge=1,
        le=10000,
        description="environments that it keeps in memory, at about 0.2 MB each; the others are read from "
        "Temporal again when something happens to them",
    )
    graceful_shutdown: PositiveDuration = Field(
        default=timedelta(seconds=25),
        description="how long running steps may finish after a signal to stop; shorter than the 30 s that "
        "Kubernetes gives a pod",
    )
    version: str = Field(
        default="",
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$",
        description="its build id in Temporal's Worker Versioning, for example the tag of its image; each "
        "workflow run then stays on one version. Without it, workers have no versions",
        examples=["1.4.2"],
    )
    metrics: SocketAddress | None = Field(
        default=None,
        description="address and port of the Prometheus endpoint; off without it",
        examples=["127.0.0.1:9464"],
    )


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The format of log lines: `auto` is for people on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


#: Values of the setting for the security log that are no file.
STANDARD_ERROR, STANDARD_OUTPUT = "stderr", "stdout"


class Log(Group):
    """Logs of the worker and the API, on standard error."""

    level: LogLevel = Field(default=LogLevel.INFO, description="the least that is logged")
    format: LogFormat = Field(
        default=LogFormat.AUTO, description="auto is for people on a terminal, and JSON elsewhere"
    )
    security: str = Field(
        default=STANDARD_ERROR,
        description="where the security log goes: stderr with all others, stdout on its own, or the absolute "
        "path of a file; on its own it is JSON",
        examples=["stdout"],
    )

    @field_validator("security")
    @classmethod
    def _is_a_stream_or_a_file(cls, security: str) -> str:
        if security not in (STANDARD_ERROR, STANDARD_OUTPUT) and not Path(security).is_absolute():
            raise ValueError("must be stderr, stdout or the absolute path of a file")
        return security
