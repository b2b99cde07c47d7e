"""The connection to Temporal: what a person reads when there is none, or not the right one."""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from embedded.serve import listening_socket
from tests.support.within import HANG
from worker.connection import NotConnected, check_namespace, connect
from worker.converter import PLAIN

#: For what is there. What is not there is waited for no longer than this.
PATIENCE = timedelta(seconds=HANG)
SHORT = timedelta(seconds=0.3)


@pytest.fixture(autouse=True)
def only_what_a_test_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ADDRESS", "NAMESPACE", "API_KEY", "TLS", "PROFILE"):
        monkeypatch.delenv(f"TEMPORAL_{name}", raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the sentence names the address and both ways out."""
    with listening_socket() as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(NotConnected, match=f"no Temporal server answers at {address}") as error:
        await connect(PLAIN, patience=SHORT)
    assert "moorage up" in str(error.value)
    assert "TEMPORAL_ADDRESS" in str(error.value)


async def test_settings_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ensures that a broken file of Temporal's settings is told as that."""
    (tmp_path / "temporal.toml").write_text("[profile\n")
    with pytest.raises(NotConnected, match=r"TEMPORAL_\* settings"):
        await connect(PLAIN, patience=PATIENCE)


async def test_prepared_namespace(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment
) -> None:
    """Ensures that a server with our search attributes is taken as it is."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)
    await check_namespace(await connect(PLAIN, patience=PATIENCE), patience=PATIENCE)


async def test_namespace_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment
) -> None:
    """Ensures that a wrong namespace is told with the command that would make it."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "elsewhere")
    client = await connect(PLAIN, patience=PATIENCE)
    with pytest.raises(NotConnected, match="temporal operator namespace create --namespace elsewhere"):
        await check_namespace(client, patience=PATIENCE)


async def test_search_attributes_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment
) -> None:
    """Ensures that an unprepared namespace is told with the command that prepares it."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)
    # The server's own namespace: it is always there, and never has ours.
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "temporal-system")
    client = await connect(PLAIN, patience=PATIENCE)
    with pytest.raises(NotConnected, match="--name EnvExpiresAt --type Datetime"):
        await check_namespace(client, patience=PATIENCE)
