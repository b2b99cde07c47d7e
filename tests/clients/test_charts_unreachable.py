"""Repositories that do not answer: callers get an error soon, and other repositories are not delayed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from clients.errors import Unreachable
from clients.helm import chart_pull
from clients.helm import chart_store as module
from clients.helm.chart_store import ChartStore
from clients.host.models import Chart
from tests.support.deadline import HANG, NEVER, soon

#: In place of the real one, and long enough for a pull's process to have asked.
MAX_WAIT = timedelta(seconds=2)


class Repository:
    """An HTTP repository that says nothing, or `answer` once it may, and counts who comes."""

    def __init__(self) -> None:
        self.came = 0
        self.there: set[asyncio.StreamWriter] = set()
        self.answer = b""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.there.add(writer)
        if self.answer:
            await reader.readuntil(b"\r\n\r\n")
            await self.may_answer.wait()
            writer.write(self.answer)
        while await reader.read(1000):
            pass
        writer.close()
        self.there.discard(writer)

    def chart(self, name: str = "dock") -> Chart:
        return Chart(self.url, name, "1.2.3")

    async def has_been_asked(self) -> None:
        async with soon("the repository got no request"):
            while not self.came:  # noqa: ASYNC110 - so a test says what it waits for
                await asyncio.sleep(0.02)

    async def is_left_alone(self) -> None:
        async with soon("a client still waits for its answer"):
            while self.there:  # noqa: ASYNC110 - so a test says what it waits for
                await asyncio.sleep(0.02)


@pytest.fixture
async def repository() -> AsyncIterator[Repository]:
    repository = Repository()
    server = await asyncio.start_server(repository.serve, "127.0.0.1", 0)
    repository.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield repository
    server.close()


@asynccontextmanager
async def a_store() -> AsyncIterator[ChartStore]:
    charts = ChartStore()
    try:
        yield charts
    finally:
        await charts.close()


async def refused(charts: ChartStore, chart: Chart) -> str:
    """What is said of a chart that is not to be had now."""
    with pytest.raises(Unreachable) as error:
        async with soon("a chart is waited for without a limit, or as long as another repository hangs"):
            await charts.load("host cluster h", chart)
    assert not error.value.ambiguous
    return error.value.detail


async def test_all_waiting_callers_fail_at_the_same_time_after_one_request(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOAD_TIMEOUT", MAX_WAIT)
    chart = repository.chart()
    async with a_store() as charts:
        details = await asyncio.gather(*(refused(charts, chart) for _ in range(9)))
        assert set(details) == {f"the chart repository {repository.url} did not answer within 2 s"}
        # Who comes later waits no more for what is late already.
        monkeypatch.setattr(module, "LOAD_TIMEOUT", timedelta(seconds=NEVER))
        await refused(charts, chart)
        await repository.has_been_asked()
        assert repository.came == 1, "it is asked by each of them"


async def test_one_who_is_cancelled_ends_at_once_and_leaves_the_others_theirs(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOAD_TIMEOUT", timedelta(seconds=NEVER))
    repository.answer = b"HTTP/1.1 404 Nothing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    repository.may_answer.clear()
    async with a_store() as charts:
        first = asyncio.create_task(charts.load("h", repository.chart()))
        other = asyncio.create_task(refused(charts, repository.chart()))
        await repository.has_been_asked()
        first.cancel()
        await asyncio.wait({first}, timeout=HANG)
        assert first.cancelled(), "it waits for the repository all the same"
        repository.may_answer.set()
        assert "404 Nothing" in await other


async def test_a_failure_is_the_answer_for_all_who_come_soon_after(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAILURE_CACHE_TTL", timedelta(seconds=NEVER))
    repository.answer = b"HTTP/1.1 500 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with a_store() as charts:
        first = await refused(charts, repository.chart())
        assert "500 Down" in first
        asked = repository.came
        assert await refused(charts, repository.chart()) == first
        assert repository.came == asked, "one that is down is asked by each in turn"


async def test_a_failure_is_soon_forgotten(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAILURE_CACHE_TTL", timedelta(seconds=0.1))
    repository.answer = b"HTTP/1.1 500 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with a_store() as charts:
        await refused(charts, repository.chart())
        asked = repository.came
        await asyncio.sleep(0.3)
        await refused(charts, repository.chart())
        assert repository.came > asked, "one that was down once is never asked again"


async def test_what_comes_too_late_for_one_is_there_for_the_next(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOAD_TIMEOUT", timedelta(seconds=0.2))
    repository.answer = b"HTTP/1.1 404 Nothing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    repository.may_answer.clear()
    async with a_store() as charts:
        assert "did not answer" in await refused(charts, repository.chart())
        await repository.has_been_asked()
        assert "did not answer" in await refused(charts, repository.chart())
        repository.may_answer.set()
        async with soon("an answer that came too late is never used"):
            while "404 Nothing" not in (detail := await refused(charts, repository.chart())):
                assert "did not answer" in detail
        assert repository.came == 1, "it is asked again for what it has answered"


async def test_it_holds_up_no_other_repository(repository: Repository) -> None:
    other = Repository()
    other.answer = b"HTTP/1.1 500 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    server = await asyncio.start_server(other.serve, "127.0.0.1", 0)
    other.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with a_store() as charts:
        waiting = [
            asyncio.create_task(charts.load("h", repository.chart(f"dock-{number}"))) for number in range(9)
        ]
        await repository.has_been_asked()
        assert "500 Down" in await refused(charts, other.chart())
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
    server.close()


@pytest.mark.slow
async def test_a_pull_ends_at_its_limit(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_pull, "PULL_TIMEOUT", timedelta(seconds=3))
    async with a_store() as charts:
        waiting = asyncio.create_task(refused(charts, repository.chart()))
        assert "no answer within 3 s" in await waiting
        await repository.is_left_alone()


async def test_its_end_does_not_wait_for_the_repository(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    charts = ChartStore()
    waiting = asyncio.create_task(charts.load("h", repository.chart()))
    await repository.has_been_asked()
    assert os.listdir(tmp_path), "nothing is downloaded to a folder, so this shows nothing"
    async with soon("the worker cannot end while a chart repository hangs"):
        await charts.close()
    await repository.is_left_alone()
    assert not os.listdir(tmp_path), "what was downloaded stays"
    await asyncio.wait({waiting})
