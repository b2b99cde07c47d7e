"""One cluster and one stack for the whole suite, and a developer at its API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster, find_cluster
from tests.e2e.environments import Environments, shared_environments
from tests.e2e.harbour import harbour
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking

#: A vCluster is up within half a minute on an idle machine; five at once on two busy cores took six minutes.
#: Longer than the longest step of the suite, which says what it waits for.
MAX_WAIT = 900.0
#: Seconds between looks at an environment: each takes time from the vCluster that is waited for.
LOOK_EVERY = 0.25
#: The order of the files. Each environment is deleted by the last test that needs it, as early as possible,
#: because even an idle one takes a tenth of a processor. Tests that need none run while some are being made.
#: What disturbs the whole cluster comes last.
ORDER = (
    "test_five_at_once",
    "test_template_policies",
    "test_volumes",
    "test_tenant_policies",
    "test_stolen_account",
    "test_credentials",
    "test_sleep",
    "test_doctor",
    "test_worst_tenant",
    "test_etcd",
    "test_failures",
    "test_exposure",
    "test_isolation",
    "test_whole_way",
    "test_setup",
    "test_template_change",
    "test_warm_pool",
    "test_disturbances",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, which need the cluster and time, and put them into `ORDER`."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(1800))
    places = {item: place for place, item in enumerate(items) if item in here}
    ordered = sorted(here, key=lambda item: ORDER.index(item.path.stem))
    for place, item in zip(places.values(), ordered, strict=True):
        items[place] = item


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
async def environments(real: Stack, cluster: Cluster) -> AsyncIterator[Environments]:
    """The environments that tests share: see `tests.e2e.environments`."""
    async with (
        Asking(real, max_wait=MAX_WAIT, look_every=LOOK_EVERY) as asking,
        shared_environments(asking, real, cluster) as shared,
    ):
        yield shared


@pytest.fixture
async def alice(real: Stack) -> AsyncIterator[Asking]:
    """A developer who asks for environments."""
    async with Asking(real, max_wait=MAX_WAIT, look_every=LOOK_EVERY) as asking:
        yield asking


@pytest.fixture
def stand_ins(real: Stack) -> Systems:
    """What the stand-ins hold, in their databases."""
    return Systems(real)
