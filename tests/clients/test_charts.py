"""Charts from a folder, a path and an HTTP repository, and values that they refuse; through Helm."""

import asyncio
import functools
import hashlib
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import helm_python
import pytest

from clients.errors import Denied, NotFound, Rejected, ServerFailed, Unreachable
from clients.helm.chart_store import ChartStore, _map_pull_failure
from clients.helm.client import kubernetes_version_problem, map_helm_error, schema_problem
from clients.host.models import Chart

FORBIDDEN = 'pods is forbidden: User "a" cannot create resource "pods" in API group ""'
SCHEMA = '{"type":"object","properties":{"size":{"type":"string"}},"additionalProperties":false}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chart `dock` 1.2.3 as an archive, as a folder, and an index."""
    folder = tmp_path_factory.mktemp("charts")
    chart = folder / "source" / "dock"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: dock\nversion: 1.2.3\n")
    (chart / "values.yaml").write_text('size: "1"\n')
    (chart / "values.schema.json").write_text(SCHEMA)
    (chart / "templates" / "map.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"
    )
    with helm_python.Chart.load(chart) as loaded:
        loaded.save(folder)
    return folder


class _Files(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at `asked`."""


@pytest.fixture
def repository(folder: Path) -> Iterator[str]:
    """The folder as an HTTP repository."""
    handler = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        helm_python.repo_index_generate(folder, base_url=url)
        _Files.asked.clear()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield url
        server.shutdown()


@pytest.fixture
async def charts() -> AsyncIterator[ChartStore]:
    charts = ChartStore()
    yield charts
    await charts.close()


async def test_from_a_folder_and_a_path(charts: ChartStore, folder: Path) -> None:
    """Ensures that a folder serves as a repository, and that a path alone will do."""
    assert (await charts.load("h", Chart(str(folder), "dock", "1.2.3"))).name == "dock"
    assert (await charts.load("h", Chart(None, str(folder / "source" / "dock"), "v1.2.3"))).name == "dock"


async def test_fetched_once(charts: ChartStore, repository: str) -> None:
    """Ensures that five at once download it once."""
    chart = Chart(repository, "dock", "1.2.3")
    loaded = await asyncio.gather(*(charts.load("h", chart) for _ in range(5)))
    assert len({id(each) for each in loaded}) == 1
    assert [path for path in _Files.asked if path.endswith(".tgz")] == ["/dock-1.2.3.tgz"]


async def test_no_such_version(charts: ChartStore, repository: str, folder: Path) -> None:
    """Ensures that a missing version is reported in one sentence, for every kind of source."""
    with pytest.raises(Rejected, match=r"has no version 9\.9\.9 of the chart dock"):
        await charts.load("h", Chart(repository, "dock", "9.9.9"))
    with pytest.raises(Rejected, match="there is no chart at"):
        await charts.load("h", Chart(str(folder), "dock", "9.9.9"))
    with pytest.raises(Rejected, match=r"is of version 1\.2\.3, not 9\.9\.9"):
        await charts.load("h", Chart(None, str(folder / "source" / "dock"), "9.9.9"))


def digest_of(archive: Path) -> str:
    return f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"


async def test_only_the_chart_with_its_digest(charts: ChartStore, repository: str, folder: Path) -> None:
    """Ensures that a chart other than the digest's is refused for good, even after one was loaded without."""
    right, wrong = digest_of(folder / "dock-1.2.3.tgz"), f"sha256:{'0' * 64}"
    for source, name in ((repository, "dock"), (str(folder), "dock"), (None, f"{folder}/dock-1.2.3.tgz")):
        await charts.load("h", Chart(source, name, "1.2.3"))
        assert (await charts.load("h", Chart(source, name, "1.2.3", right))).name == "dock"
        with pytest.raises(Rejected, match=f"serves a chart with digest {right}, not {wrong}"):
            await charts.load("h", Chart(source, name, "1.2.3", wrong))
    with pytest.raises(Rejected, match="is a folder, and only a packaged chart has a digest"):
        await charts.load("h", Chart(None, str(folder / "source" / "dock"), "1.2.3", right))


async def test_no_such_repository(charts: ChartStore) -> None:
    """Ensures that a repository that does not answer is worth another try."""
    with pytest.raises(Unreachable, match="chart repository http://127"):
        await charts.load("h", Chart("http://127.0.0.1:1", "dock", "1.2.3"))


async def test_values_that_the_schema_refuses(charts: ChartStore, folder: Path) -> None:
    """Ensures that the error names the path and the reason of each problem."""
    chart = await charts.load("h", Chart(str(folder), "dock", "1.2.3"))
    with pytest.raises(helm_python.HelmValuesError) as error:
        chart.validate_schema({"size": 5, "depth": 1})
    found = map_helm_error("h", "check", error.value)
    assert isinstance(found, Rejected)
    assert "size: got number, want string" in found.detail
    assert "additional properties 'depth' not allowed" in found.detail


def at(**k8s: object) -> dict[str, object]:
    return {"controlPlane": {"distro": {"k8s": k8s}}}


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("v1.36.2", ""),
        ("1.34.0", ""),
        ("v1.37.0", "it supports Kubernetes up to 1.36, and the values request 1.37"),
    ],
)
def test_a_kubernetes_version_that_the_chart_does_not_know(wanted: str, problem: str) -> None:
    """Ensures that a version newer than the chart's is refused, and an unknown one is not."""
    assert kubernetes_version_problem(at(version=wanted), at(image={"tag": "v1.36.0"})) == problem
    assert kubernetes_version_problem(at(version=wanted), {}) == ""


def test_schema_problem_of_any_other_text() -> None:
    """Ensures that a template's own refusal stays as it is."""
    assert schema_problem("execution error at (x:2:4): removed") == "(x:2:4): removed"


@pytest.mark.parametrize(
    ("error", "kind", "ambiguous"),
    [
        (helm_python.HelmNotFoundError("release: not found"), NotFound, False),
        (helm_python.HelmReleaseError('create: failed to create: namespaces "x" not found'), NotFound, False),
        (
            helm_python.HelmKubeError("unreachable: dial tcp: connection refused"),
            Unreachable,
            False,
        ),
        (helm_python.HelmReleaseError('Post "https://h": EOF'), Unreachable, True),
        (
            helm_python.HelmReleaseError(FORBIDDEN),
            Denied,
            True,
        ),
        (helm_python.HelmReleaseError("services is forbidden: exceeded quota: moorage"), Rejected, True),
        (helm_python.HelmReleaseError("something new"), ServerFailed, True),
    ],
)
def test_errors_of_helm(error: Exception, kind: type[Exception], ambiguous: bool) -> None:
    """Ensures that Helm's texts are understood, and in doubt whenever something may have been made."""
    found = map_helm_error("h", "install release x", error)
    assert type(found) is kind
    assert found.ambiguous is ambiguous


FETCH = 'failed to perform "FetchReference" on source: '
MANIFEST = 'GET "https://r.example/v2/charts/dock/manifests/0.36.0": '
INDEX = (
    'looks like "https://r.example/charts" is not a valid chart repository '
    "or cannot be reached: failed to fetch "
    "https://r.example/charts/index.yaml : "
)


@pytest.mark.parametrize(
    ("text", "kind", "detail"),
    [
        (f"{FETCH}r.example/charts/dock:0.36.0: not found", Rejected, "has no version 0.36.0"),
        (
            'chart "dock" version "0.36.0" not found in https://r.example repository',
            Rejected,
            "has no version",
        ),
        ("no chart version found for dock-0.36.0", Rejected, "has no version"),
        (f"{FETCH}{MANIFEST}basic credential not found", Rejected, "requires a login"),
        (
            f"{FETCH}{MANIFEST}response status code 401: unauthorized: authentication required",
            Rejected,
            "requires a login",
        ),
        (f"{FETCH}{MANIFEST}response status code 401: unauthorized: project not found", Rejected, "a login"),
        (f"{FETCH}{MANIFEST}response status code 403: denied: requested access is denied", Rejected, "login"),
        (f"{INDEX}401 Unauthorized", Rejected, "requires a login"),
        (f"{INDEX}404 Not Found", Unreachable, "404 Not Found"),
        (f"{INDEX}503 Service Unavailable", Unreachable, "503"),
        (f"{FETCH}{MANIFEST}response status code 500: Internal Server Error", Unreachable, "code 500"),
        (f"{FETCH}{MANIFEST}response status code 429: toomanyrequests: rate limit", Unreachable, "429"),
        (f"{FETCH}{MANIFEST}response status code 503: upstream not found", Unreachable, "503"),
        (
            f'{FETCH}Get "https://r.example/x": dial tcp: lookup r.example: no such host',
            Unreachable,
            "no such",
        ),
    ],
)
def test_a_failed_pull_is_classified_by_its_cause(text: str, kind: type, detail: str) -> None:
    """Ensures that a refused login is no missing version; the texts are those of Helm 4.2."""
    found = _map_pull_failure(Chart("oci://r.example/charts", "dock", "0.36.0"), text)
    assert found.kind is kind
    assert detail in found.detail
