"""Ensures that hosts with their own worker, and rate limits, are read from the settings as they are meant."""

import pytest

from contracts.environment.models import System
from tests.worker.test_settings import LEAST
from worker.client_factory import open_clients
from worker.settings.loading import load_host_worker_settings, load_settings
from worker.settings.sources import SettingsError

OWN = {"MOORAGE_HOSTS__EU__KIND": "kubernetes", "MOORAGE_HOSTS__EU__OWN_WORKER": "true"}
SIMULATED = {"MOORAGE_HOSTS__EU__KIND": "simulated", "MOORAGE_HOSTS__EU__OWN_WORKER": "true"}
BESIDE = {
    "MOORAGE_INSTALLATION": LEAST["MOORAGE_INSTALLATION"],
    "MOORAGE_ENCRYPTION__KEYS": LEAST["MOORAGE_ENCRYPTION__KEYS"],
}


@pytest.mark.parametrize("host", [OWN, SIMULATED])
async def test_central_processes_need_no_credentials_of_a_host_with_its_own_worker(
    host: dict[str, str],
) -> None:
    settings = load_settings(LEAST | host)
    assert settings.own_queues.hosts == {"eu"}
    async with open_clients(settings) as clients:
        assert "eu" not in clients.hosts
        assert clients.own_queues == settings.own_queues


def test_a_host_without_its_own_worker_still_needs_them() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(LEAST | {"MOORAGE_HOSTS__EU__KIND": "simulated"})
    problems = "\n".join(refused.value.problems)
    for name in ("URL", "TOKEN"):
        assert f"MOORAGE_HOSTS__EU__{name} (hosts.eu.{name.lower()}): is missing" in problems


def test_the_worker_beside_a_host_needs_nothing_of_other_systems() -> None:
    given = BESIDE | OWN | {"MOORAGE_HOSTS__EU__MAX_STEPS_PER_SECOND": "2.5", "MOORAGE_HOSTS__US__KIND": "?"}
    settings = load_host_worker_settings("eu", given)
    assert set(settings.hosts) == {"eu"}
    assert settings.hosts["eu"].max_steps_per_second == 2.5


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "MOORAGE_HOSTS"),
        ({"MOORAGE_HOSTS__US__KIND": "kubernetes"}, "MOORAGE_HOSTS__EU__KIND (hosts.eu.kind): is missing"),
        (
            {"MOORAGE_HOSTS__EU__KIND": "kubernetes"},
            "MOORAGE_HOSTS__EU__OWN_WORKER (hosts.eu.own_worker)",
        ),
        (SIMULATED, "MOORAGE_HOSTS__EU__URL (hosts.eu.url): is missing"),
    ],
    ids=["no host", "another host", "not its own", "no address"],
)
def test_a_worker_beside_a_host_says_what_is_missing(given: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_host_worker_settings("eu", BESIDE | given)
    assert problem in "\n".join(refused.value.problems)


def test_a_rate_limit_gives_the_system_a_task_queue() -> None:
    assert load_settings(LEAST).own_queues.systems == frozenset()
    limited = {"MOORAGE_CONTROL_PLANE__MAX_STEPS_PER_SECOND": "5"}
    assert load_settings(LEAST | limited).own_queues.systems == {System.CONTROL_PLANE}
    directory = {
        "MOORAGE_IDENTITY__URL": "https://idp.example/v2",
        "MOORAGE_IDENTITY__TOKEN": "x",
        "MOORAGE_IDENTITY__MAX_STEPS_PER_SECOND": "0.5",
    }
    assert load_settings(LEAST | directory).own_queues.systems == {System.IDENTITY_PROVIDER}


@pytest.mark.parametrize("rate", ["0", "-1", "0.01", "often", "1e9"])
def test_a_rate_that_cannot_be_meant_is_refused(rate: str) -> None:
    with pytest.raises(SettingsError, match="MAX_STEPS_PER_SECOND"):
        load_settings(LEAST | {"MOORAGE_CONTROL_PLANE__MAX_STEPS_PER_SECOND": rate})


def test_a_rate_of_a_host_needs_its_own_worker() -> None:
    host = {"MOORAGE_HOSTS__EU__KIND": "kubernetes", "MOORAGE_HOSTS__EU__MAX_STEPS_PER_SECOND": "5"}
    with pytest.raises(SettingsError, match="needs own_worker = true"):
        load_settings(LEAST | host)
