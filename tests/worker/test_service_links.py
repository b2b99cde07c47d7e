"""What Kubernetes puts into the environment for a Service is no setting, and hides no misspelt one."""

import pytest

from starter.cli.client.connection import Connection, find_connection
from starter.cli.connection_options import ConnectionOptions
from tests.worker.test_settings import LEAST
from worker.settings.loading import load_settings
from worker.settings.sources import SettingsError


def links(
    name: str, address: str = "10.96.0.7", ports: tuple[tuple[str, int, str], ...] = (("", 7400, "TCP"),)
) -> dict[str, str]:
    """What the kubelet forms for a Service: `pkg/kubelet/envvars/envvars.go`, FromServices."""
    prefix = name.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0][1])}
    for port_name, port, _ in ports:
        if port_name:
            found[f"{prefix}_SERVICE_PORT_{port_name.upper().replace('-', '_')}"] = str(port)
    for index, (_, port, protocol) in enumerate(ports):
        url = f"{protocol.lower()}://{host}:{port}"
        if index == 0:
            found[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port}_{protocol}"
        found |= {
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(port),
            f"{link}_ADDR": address,
        }
    return found


SERVICES = [
    links("moorage"),
    links("moorage-api", ports=(("http", 7400, "TCP"), ("metrics-2", 9464, "TCP"))),
    links("moorage-api", address="fd00:10:96::7"),
    links("moorage-codec-server", ports=(("codec", 7401, "TCP"), ("dns", 53, "UDP"), ("m3ua", 2905, "SCTP"))),
    links("moorage--control-plane"),
    links("moorage") | links("moorage-api") | links("moorage-worker"),
    # Services with names that are settings, or other variables of ours.
    links("moorage-url") | links("moorage-token") | links("moorage-config") | links("moorage-log"),
]


@pytest.mark.parametrize("service", SERVICES)
def test_variables_of_services_are_no_settings(service: dict[str, str]) -> None:
    assert load_settings(LEAST | service) == load_settings(LEAST)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOORAGE_PORT", "7400"),
        ("MOORAGE_API_PORT", "7400"),
        ("MOORAGE_API_PORT", "tcp://10.96.0.8:7400"),  # of another Service than the one that is there
        ("MOORAGE_API_SERVICE_PORT", "http"),
        ("MOORAGE_API_SERVICE_HOST", "moorage.example"),
        ("MOORAGE_API_PORT_7400_TCP", "10.96.0.7"),
        ("MOORAGE_API_BIND", "10.96.0.7"),
    ],
)
def test_misspelt_setting_beside_a_service_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} .*is not a setting"):
        load_settings(LEAST | links("moorage") | links("moorage-api") | {name: value})


@pytest.mark.parametrize(
    "alone",
    [
        {"MOORAGE_API_SERVICE_HOST": "10.96.0.7"},
        {"MOORAGE_API_SERVICE_PORT": "7400"},
        {"MOORAGE_PORT": "tcp://10.96.0.7:7400"},
    ],
)
def test_variable_that_looks_like_one_of_a_service_that_is_not_there_is_refused(
    alone: dict[str, str],
) -> None:
    with pytest.raises(SettingsError, match="is not a setting"):
        load_settings(LEAST | alone)


def test_command_line_reads_only_its_own_variables() -> None:
    environ = {"MOORAGE_URL": "https://moorage.example", "MOORAGE_TOKEN": "t"}
    services = {name: value for service in SERVICES for name, value in service.items()}
    assert find_connection(ConnectionOptions(), services | environ) == Connection(
        "https://moorage.example", "t"
    )
