"""Ensures that OpenTelemetry's variables are read as its specification says, and that errors name them."""

from pathlib import Path

import pytest

from worker.settings.sources import SettingsError
from worker.tracing.settings import TraceExport, read_trace_settings

URL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("more", "ratio"),
    [
        ({}, 1.0),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, 0.25),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, 0.1),
        ({"OTEL_TRACES_SAMPLER": "TraceIdRatio", "OTEL_TRACES_SAMPLER_ARG": " 1 "}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 1.0),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, 1.0),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=x"}, 1.0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.observability:4318"}, 1.0),
        # The endpoint of traces wins over that of all signals, and so does its protocol.
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces/v1/traces",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            1.0,
        ),
    ],
)
def test_on(more: dict[str, str], ratio: float) -> None:
    assert read_trace_settings(URL | more) == TraceExport(ratio)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_TRACES_SAMPLER": "nonsense"},
        URL | {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        URL | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_off(variables: dict[str, str]) -> None:
    assert read_trace_settings(variables) is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:port"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://ada:planted@traces.example.com"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: must have no user and password",
        ),
        # A secret that can be read on its way.
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces.example.com:4318",
                "OTEL_EXPORTER_OTLP_HEADERS": "api-key=planted",
            },
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: has headers, and must start with https://",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, 'OTEL_EXPORTER_OTLP_PROTOCOL: is "grpc" and must be http'),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, 'OTEL_TRACES_EXPORTER: is "zipkin"'),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER: "),
        ({"OTEL_TRACES_SAMPLER_ARG": "10%"}, "OTEL_TRACES_SAMPLER_ARG: "),
        ({"OTEL_TRACES_SAMPLER_ARG": "1.5"}, "from 0 to 1"),
        ({"OTEL_TRACES_SAMPLER_ARG": "nan"}, "from 0 to 1"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"}, "there is no file at /nowhere/ca.pem"),
    ],
)
def test_what_is_wrong(more: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=r".*") as error:
        read_trace_settings(URL | more)
    [problem] = error.value.problems
    assert words in problem


def test_all_problems_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    with pytest.raises(SettingsError) as error:
        read_trace_settings(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "x",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem"),
                "OTEL_TRACES_SAMPLER_ARG": "2",
            }
        )
    assert len(error.value.problems) == 3
