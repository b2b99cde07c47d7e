"""Settings of real host clusters, and their mistakes, reported before any call."""

from pathlib import Path

import pytest

from clients.host.models import Peer
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.vcluster_options import Exposure
from tests.worker.test_settings import LEAST
from worker.client_factory import open_clients
from worker.settings.groups.hosts import KubernetesHostCluster
from worker.settings.loading import load_settings
from worker.settings.sources import SettingsError

REAL = {
    **{name: value for name, value in LEAST.items() if "HOSTS__MAIN" not in name},
    "MOORAGE_HOSTS__MAIN__KIND": "kubernetes",
}
KUBECONFIG = """
current-context: main
contexts: [{name: main, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: planted-token}}]
"""


def test_all_of_them() -> None:
    """Ensures that variables reach the client's options, lists as people write them included."""
    settings = load_settings(
        REAL
        | {
            "MOORAGE_HOSTS__MAIN__EXPOSURE": "node-port",
            "MOORAGE_HOSTS__MAIN__ADDRESS": "192.0.2.7",
            "MOORAGE_HOSTS__MAIN__REACHABLE": "10.20.0.0/16:8443+9443, 10.30.0.1 [fd00::/8]:6443 fd01::1",
            "MOORAGE_HOSTS__MAIN__DNS": "169.254.20.10",
            "MOORAGE_HOSTS__MAIN__API_SERVER": "10.0.0.0/24:6443",
            "MOORAGE_HOSTS__MAIN__NODE_NETWORKS": "198.51.100.0/24",
            "MOORAGE_HOSTS__MAIN__API_ACCOUNT": "moorage/moorage-api",
        }
    )
    host = settings.hosts["main"]
    assert isinstance(host, KubernetesHostCluster)
    assert host.options.exposure is Exposure.NODE_PORT
    assert host.options.address == "192.0.2.7"
    assert host.options.reachable == (
        Peer("10.20.0.0/16", (8443, 9443)),
        Peer("10.30.0.1/32", (443,)),
        Peer("fd00::/8", (6443,)),
        Peer("fd01::1/128", (443,)),
    )
    assert host.options.dns == (Peer("169.254.20.10/32", (53,)),)
    assert host.options.api_server == (Peer("10.0.0.0/24", (6443,)),)
    assert host.options.node_networks == ("198.51.100.0/24",)
    assert host.options.api_account == "moorage/moorage-api"


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("EXPOSURE", "node-port", "is needed for the exposure node-port"),
        ("EXPOSURE", "carrier-pigeon", "'in-cluster'"),
        ("REACHABLE", "everywhere", "REACHABLE"),
        ("REACHABLE", "10.20.0.0/16:https", "10.20.0.0/16:https"),
        ("REACHABLE", "10.20.0.0/16:0", "is no network with ports"),
        ("REACHABLE", "10.20.0.0/16:65536", "is no network with ports"),
        ("REACHABLE", "10.20.0.1/16", "is no network with ports"),
        ("DNS", "dns.example.com", "DNS"),
        ("API_ACCOUNT", "moorage-api", "API_ACCOUNT"),
    ],
)
def test_what_cannot_be(setting: str, value: str, words: str) -> None:
    """Ensures that each error names the setting."""
    with pytest.raises(SettingsError) as error:
        load_settings(REAL | {f"MOORAGE_HOSTS__MAIN__{setting}": value})
    assert words in str(error.value)


async def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    """Ensures that the setting and the file are named, before anything is called."""
    settings = load_settings(REAL | {"MOORAGE_HOSTS__MAIN__KUBECONFIG": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match="MOORAGE_HOSTS__MAIN__KUBECONFIG: there is no kubeconfig"):
        async with open_clients(settings):
            pass


async def test_a_real_host_is_opened_and_closed(tmp_path: Path) -> None:
    """Ensures that opening one calls nothing: this one leads nowhere."""
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG)
    settings = load_settings(REAL | {"MOORAGE_HOSTS__MAIN__KUBECONFIG": str(file)})
    async with open_clients(settings) as clients:
        assert isinstance(clients.hosts["main"], KubernetesHost)
