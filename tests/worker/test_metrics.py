"""The metrics of a worker process: its version, refused payloads, calls, and when certificates expire."""

import base64
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.service import TLSConfig

from worker.certificates import Certificates
from worker.codec import ForeignPayload, KeyMissing
from worker.metrics import WorkerMetrics
from worker.settings.loading import load_settings
from worker.settings.models import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
LONG, SOON, PAST = (NOW + timedelta(days=days) for days in (300, 20, -3))


def certificate(ends: datetime) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "one")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=400))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def client_with(tls: Any) -> Any:
    """A client of Temporal with this configuration."""
    return SimpleNamespace(service_client=SimpleNamespace(config=SimpleNamespace(tls=tls)))


def settings_with(variables: Mapping[str, str]) -> Settings:
    return load_settings(
        {
            "MOORAGE_INSTALLATION": "k3x9q0vb",
            "MOORAGE_ENCRYPTION__KEYS": base64.b64encode(os.urandom(32)).decode(),
            "MOORAGE_CONTROL_PLANE__URL": "http://127.0.0.1:1",
            "MOORAGE_CONTROL_PLANE__API_KEY": "unused",
            **variables,
        }
    )


LOCAL = {
    "MOORAGE_HOSTS__LOCAL__KIND": "simulated",
    "MOORAGE_HOSTS__LOCAL__URL": "http://127.0.0.1:1",
    "MOORAGE_HOSTS__LOCAL__TOKEN": "unused",
}


def found(settings: Settings, tls: Any = False) -> dict[tuple[str, str], datetime]:
    return {(one.use, one.host): one.expires_at for one in Certificates(settings, client_with(tls)).read()}


def test_certificates_of_temporal() -> None:
    """Ensures that of a chain the first one counts, and of authorities the next that expires."""
    tls = TLSConfig(
        server_root_ca_cert=(certificate(LONG) + certificate(SOON) + certificate(PAST)).encode(),
        client_cert=(certificate(LONG) + certificate(SOON)).encode(),
    )
    assert found(settings_with(LOCAL), tls) == {("temporal ca", ""): SOON, ("temporal client", ""): LONG}
    for nothing in (True, False, TLSConfig()):
        assert found(settings_with(LOCAL), nothing) == {}


def test_authorities_that_have_all_expired() -> None:
    tls = TLSConfig(server_root_ca_cert=certificate(PAST).encode())
    assert found(settings_with(LOCAL), tls) == {("temporal ca", ""): PAST}


def test_a_file_that_is_read_at_the_start_counts_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(certificate(SOON))
    settings = settings_with({**LOCAL, "MOORAGE_CONTROL_PLANE__CA_FILE": str(file)})
    certificates = Certificates(settings, client_with(False))
    file.write_text(certificate(LONG))
    [one] = certificates.read()
    assert (one.use, one.expires_at) == ("control plane ca", SOON)


def test_certificates_of_a_host_are_those_of_its_kubeconfig_now(tmp_path: Path) -> None:
    kubeconfig, own = tmp_path / "kubeconfig", tmp_path / "own.pem"
    own.write_text(certificate(SOON))
    encoded = base64.b64encode(certificate(LONG).encode()).decode()
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "one",
                "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
                "clusters": [
                    {
                        "name": "one",
                        "cluster": {"server": "https://h:6443", "certificate-authority-data": encoded},
                    }
                ],
                "users": [
                    {"name": "one", "user": {"client-certificate": "own.pem", "client-key": "own.pem"}}
                ],
            }
        )
    )
    kubeconfig.chmod(0o600)
    host = {
        "MOORAGE_HOSTS__HARBOUR__KIND": "kubernetes",
        "MOORAGE_HOSTS__HARBOUR__KUBECONFIG": str(kubeconfig),
    }
    certificates = Certificates(settings_with(host), client_with(False))
    of = {one.use: (one.host, one.expires_at) for one in certificates.read()}
    assert of == {"host ca": ("harbour", LONG), "host client": ("harbour", SOON)}
    own.write_text(certificate(LONG))
    assert {one.expires_at for one in certificates.read()} == {LONG}
    kubeconfig.write_text("no kubeconfig")
    assert certificates.read() == ()


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_left_out(text: str) -> None:
    assert found(settings_with(LOCAL), TLSConfig(server_root_ca_cert=text.encode())) == {}


def test_what_a_process_measures() -> None:
    buffer = MetricBuffer(100)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer, attach_service_name=False))
    metrics = WorkerMetrics(runtime.metric_meter)
    metrics.count_refusal(KeyMissing("it is missing"))
    metrics.count_refusal(ForeignPayload("it is foreign"))
    metrics.observe_call("host cluster harbour", "throttled", 0.25)
    tls = TLSConfig(client_cert=certificate(SOON).encode())
    metrics.set_certificates(Certificates(settings_with(LOCAL), client_with(tls)))
    seen = {
        update.metric.name: (update.value, dict(update.attributes)) for update in buffer.retrieve_updates()
    }
    assert seen["moorage_build_info"][0] == 1
    assert seen["moorage_build_info"][1]["component"] == "worker"
    assert seen["moorage_payloads_refused_total"][1] == {"reason": "key_missing"}
    assert seen["moorage_outside_calls_total"] == (1, {"system": "host cluster", "result": "throttled"})
    assert seen["moorage_outside_call_duration_seconds"] == (0.25, {"system": "host cluster"})
    value, labels = seen["moorage_certificate_expiry_timestamp_seconds"]
    assert (value, labels) == (SOON.timestamp(), {"certificate": "temporal client", "host": ""})
