"""OpenTelemetry's own settings (`OTEL_*`), as far as traces need them, checked at the start of a process.

The exporter of OpenTelemetry's SDK reads the others itself: headers, certificates, timeout, compression.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from clients.transport.secure_urls import require_https
from worker.settings.sources import SettingsError

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_HEADERS, _TRACES_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
_HTTP_PROTOBUF = "http/protobuf"
_EXPORTER, _SAMPLER, _RATIO = "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_FILES = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{file}"
    for signal in ("", "TRACES_")
    for file in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
)
_BY_RATIO = frozenset({"traceidratio", "parentbased_traceidratio"})
_FIXED = {"always_on": 1.0, "parentbased_always_on": 1.0, "always_off": 0.0, "parentbased_always_off": 0.0}


@dataclass(frozen=True)
class TraceExport:
    """Traces are exported, and this share of them is recorded."""

    ratio: float


def read_trace_settings(environment: Mapping[str, str]) -> TraceExport | None:
    """Return what the variables say about the export of traces; None if it is off.

    Raises:
        SettingsError: variables are not valid; the error names all of them.
    """
    values = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_")}
    exporter = values.get(_EXPORTER, "").lower() or "otlp"
    name = _TRACES_ENDPOINT if values.get(_TRACES_ENDPOINT) else _ENDPOINT
    endpoint = values.get(name, "")
    if not endpoint or exporter == "none" or values.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    problems = []
    if exporter != "otlp":
        problems.append(f'{_EXPORTER}: is "{exporter}" and must be otlp or none')
    protocol_name = _TRACES_PROTOCOL if values.get(_TRACES_PROTOCOL) else _PROTOCOL
    protocol = values.get(protocol_name, "") or _HTTP_PROTOBUF
    if protocol != _HTTP_PROTOBUF:
        problems.append(
            f'{protocol_name}: is "{protocol}" and must be {_HTTP_PROTOBUF}, at port 4318 of most collectors'
        )
    has_headers = bool(values.get(_HEADERS) or values.get(_TRACES_HEADERS))
    if problem := _endpoint_problem(endpoint, has_headers=has_headers):
        problems.append(f"{name}: {problem}")
    problems += [
        f"{file}: there is no file at {values[file]}"
        for file in _FILES
        if values.get(file) and not Path(values[file]).is_file()
    ]
    ratio = _ratio(values.get(_SAMPLER, "").lower(), values.get(_RATIO, ""))
    if isinstance(ratio, str):
        problems.append(ratio)
    if problems or isinstance(ratio, str):
        raise SettingsError(problems)
    return TraceExport(ratio)


def _endpoint_problem(text: str, *, has_headers: bool) -> str:
    """Return the problem of the URL; "" for nothing."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        return "must be a URL such as http://collector:4318"
    if "@" in parts.netloc:
        return f"must have no user and password: {_HEADERS} is for secrets"
    if has_headers:
        try:
            require_https(text)
        except ValueError as error:
            return f"has headers, and {error}"
    return ""


def _ratio(sampler: str, argument: str) -> float | str:
    """Return the share of the traces to record, or the problem."""
    if sampler in _FIXED:
        return _FIXED[sampler]
    if sampler and sampler not in _BY_RATIO:
        known = ", ".join(sorted(_BY_RATIO | _FIXED.keys()))
        return f'{_SAMPLER}: is "{sampler}" and must be one of: {known}'
    if not argument:
        return 1.0
    try:
        ratio = float(argument)
    except ValueError:
        ratio = -1.0
    return ratio if 0 <= ratio <= 1 else f'{_RATIO}: is "{argument}" and must be a number from 0 to 1'
