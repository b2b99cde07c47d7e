"""The settings of the worker process, and of the logs of worker and API."""

from datetime import timedelta
from enum import StrEnum

from pydantic import (
    Field,
)

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


class Log(Group):
    """Logs of the worker and the API, on standard error."""

    level: LogLevel = Field(default=LogLevel.INFO, description="the least that is logged")
    format: LogFormat = Field(
        default=LogFormat.AUTO, description="auto is for people on a terminal, and JSON elsewhere"
    )
