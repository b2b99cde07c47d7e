"""One cluster and one stack for the whole suite, and a developer at its API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster, find_cluster
from tests.e2e.five import five_at_once
from tests.e2e.harbour import harbour
from tests.environment.asking import Asking
from tests.environment.systems import Systems

#: A vCluster is up within half a minute on an idle machine; five at once on two busy cores took six minutes.
PATIENCE = 600.0
#: Seconds between looks at an environment: each takes time from the vCluster that is waited for.
LOOK_EVERY = 0.25


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need the cluster, and time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The real cluster."""
    return find_cluster()


@pytest.fixture(scope="session")
async def real(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Moorage, with the real cluster as its hosts."""
    async with harbour(cluster, tmp_path_factory.mktemp("harbour")) as stack:
        yield stack


@pytest.fixture(scope="session")
async def five(real: Stack, cluster: Cluster) -> AsyncIterator[dict[str, str]]:
    """Five that were asked for at once and are ready: see `tests.e2e.five`."""
    async with (
        Asking(real, patience=PATIENCE, look_every=LOOK_EVERY) as asking,
        five_at_once(asking, real, cluster) as names,
    ):
        yield names


@pytest.fixture
async def alice(real: Stack) -> AsyncIterator[Asking]:
    """A developer who asks for environments."""
    async with Asking(real, patience=PATIENCE, look_every=LOOK_EVERY) as asking:
        yield asking


@pytest.fixture
def stand_ins(real: Stack) -> Systems:
    """What the stand-ins hold, in their databases."""
    return Systems(real)
