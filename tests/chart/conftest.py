"""One cluster, one set of systems beside it, and one release of the chart for all tests of this folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.outside import Outside, outside
from tests.chart.release import LONGEST, Release, load_image, prepare_namespace, values
from tests.e2e.cluster import Cluster, find_cluster
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, which need the cluster, the image and time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chart)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of tests/cluster, to which the image can be given without a registry."""
    found = find_cluster()
    assert found.is_ours, "the image of `make image` can be given to the cluster of `make cluster` alone"
    return found


@pytest.fixture(scope="session")
async def systems(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outside]:
    """What the chart does not install."""
    async with outside(cluster, tmp_path_factory.mktemp("outside")) as running:
        yield running


@pytest.fixture(scope="session")
def release(
    cluster: Cluster, systems: Outside, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """The chart, installed; the last test uninstalls it."""
    folder = tmp_path_factory.mktemp("release")
    chosen = values(cluster, systems, load_image(cluster), folder)
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(chosen))
    installed = Release(cluster, file)
    # An interrupted run may have left something.
    installed.remove()
    prepare_namespace(cluster, systems.stack)
    try:
        installed.install()
        yield installed
    finally:
        installed.remove()


@pytest.fixture
async def alice(release: Release, systems: Outside) -> AsyncIterator[Asking]:
    """A developer who asks the API of the release."""
    url = release.url("moorage-api")
    async with Asking(systems.stack, max_wait=LONGEST, look_every=0.5, url=url) as developer:
        yield developer


@pytest.fixture
def stand_ins(systems: Outside) -> Systems:
    """What the stand-ins hold, in their databases."""
    return Systems(systems.stack)
