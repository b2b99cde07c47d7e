"""Logs and metrics of the worker and the API: one format for our lines and the SDK's, and no secrets."""

import errno
import logging
import os
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import structlog
from structlog.types import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from clients.private_files import open_private
from contracts.telemetry.metrics import WORKER_HISTOGRAMS
from contracts.telemetry.trace_context import current_trace
from worker.settings.groups.process import STANDARD_ERROR, STANDARD_OUTPUT, Log, LogFormat

HIDDEN = "(hidden)"
#: The logger of the security log, which can be a separate stream.
SECURITY_LOGGER = "moorage.security"
#: Words in a key whose value is never written, whatever it is.
_SECRET_WORDS = (
    "api_key", "apikey", "authorization", "bootstrap", "certificate_data", "cookie", "credential",
    "encryption", "kubeconfig", "password", "private_key", "secret", "token",
)  # fmt: skip
#: Libraries that log every call they make: their warnings are enough.
_VERBOSE_LIBRARIES = ("httpx", "httpcore", "kubernetes", "urllib3")

#: Stack traces without local variables: structlog's own formats, as JSON and for people, show all local
#: variables, and those of a call in clients/ are credentials and manifests.
_TRACES = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logging(log: Log) -> None:
    """Send all logs of this process to standard error, in one format, with context, without secrets.

    The security log goes where the settings say; as JSON, unless that is standard error as well.

    Raises:
        OSError: the file of the security log cannot be written.
    """
    level = log.level.upper()
    # The context is in separate fields; the SDK would append it to the text as well.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False

    as_json = log.format is LogFormat.JSON or (log.format is LogFormat.AUTO and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_temporal_context,
        add_trace,
        hide_secrets,
    ]
    to_json: list[Processor] = [_TRACES, structlog.processors.JSONRenderer()]
    to_text: list[Processor] = [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(shared, to_json if as_json else to_text))
    security = logging.getLogger(SECURITY_LOGGER)
    for handler_before in security.handlers:
        handler_before.close()
    security.handlers = []
    if own := _security_handler(log):
        own.setFormatter(_formatter(shared, to_json))
        security.handlers = [own]
    security.propagate = not security.handlers
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def add_temporal_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the workflow or activity, and the attempt, that a line belongs to."""
    if activity.in_activity():
        attempt = activity.info()
        event["activity"], event["attempt"] = attempt.activity_type, attempt.attempt
        event["workflow_id"], event["run_id"] = attempt.workflow_id, attempt.workflow_run_id
    elif workflow.in_workflow():
        run = workflow.info()
        event["workflow_id"], event["run_id"] = run.workflow_id, run.run_id
    return event


def add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the trace and the span that a line belongs to, by OpenTelemetry's names for them."""
    if trace := current_trace.get():
        event["trace_id"], event["span_id"] = trace.trace_id, trace.span_id
    return event


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide the values of all keys that look like a secret, at any depth."""
    return {key: _hidden(key, value) for key, value in event.items()}


def telemetry_runtime(metrics: str | None) -> Runtime:
    """Return the SDK's runtime for this process: logs go to ours, metrics to `metrics` if given.

    Raises:
        ValueError: the address cannot be listened on; the message says why.
    """
    config = TelemetryConfig(
        logging=LoggingConfig(
            filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
            forwarding=LogForwardingConfig(
                logger=logging.getLogger("temporalio.core"),
                append_target_to_name=False,
                prepend_target_on_message=False,
            ),
        ),
        metrics=PrometheusConfig(
            bind_address=metrics,
            durations_as_seconds=True,
            histogram_bucket_overrides={each.name: each.buckets for each in WORKER_HISTOGRAMS},
        )
        if metrics
        else None,
        # It would be the same in all of them.
        attach_service_name=False,
    )
    try:
        return Runtime(telemetry=config)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"cannot serve metrics at {metrics}: {error}") from error


def _formatter(shared: list[Processor], last: list[Processor]) -> logging.Formatter:
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=processors)


def _security_handler(log: Log) -> logging.Handler | None:
    """Return the handler of the security log; None if it goes where all logs go."""
    if log.security == STANDARD_ERROR:
        return None
    if log.security == STANDARD_OUTPUT:
        return logging.StreamHandler(sys.stdout)
    return _PrivateFile(log.security, encoding="utf-8")


class _PrivateFile(WatchedFileHandler):
    """Appends to a file that only its owner can read, and opens it again after it was rotated.

    While it cannot be written, its lines are on standard error with all others: a full disk or a removed
    folder neither loses a line nor fails the request that the line is about.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        try:
            super().emit(record)
        except OSError:
            # The base class opens the file outside of what it does about errors.
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's interface)
        """Write the line to standard error instead, with the cause; the next line opens the file again."""
        cause = sys.exception()
        if self.stream is not None:
            with suppress(OSError, ValueError):
                self.stream.close()
            self.stream = None
        if isinstance(record.msg, dict):
            record.msg = record.msg | {"not_written_to": self.baseFilename, "cause": str(cause)}
        logging.getLogger().handle(record)

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=_open_unshared)


def _open_unshared(path: str, flags: int) -> int:
    """Open a file of this user that no other user can write."""
    descriptor = open_private(Path(path), flags)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(descriptor)
        raise OSError(errno.EPERM, f"other users can write it (mode {mode:04o}): chmod go-w")
    return descriptor


def _hidden(key: str, value: Any) -> Any:
    if any(word in key.lower().replace("-", "_") for word in _SECRET_WORDS):
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: _hidden(str(inner), each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", each) for each in value]
    return value
