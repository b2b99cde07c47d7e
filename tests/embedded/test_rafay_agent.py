"""The agent checks in until it is deregistered, whatever failures come between."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from embedded.rafay import agent as agent_module
from embedded.rafay.agent import AgentEnd, agent_client, run_agent
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS

URL = "http://control-plane.test"


class ControlPlane:
    """Answers each check-in with the next of `answers`, and then with "deregister"; keeps what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, object]]] = []
        self.tokens: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content)))
        self.tokens.add(request.headers["Authorization"])
        if not self.answers:
            gone = request.url.path.endswith("/gone")
            return httpx.Response(200, json={} if gone else {"action": "deregister"})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run(self) -> AgentEnd:
        async with httpx.AsyncClient(transport=httpx.MockTransport(self)) as http:
            return await asyncio.wait_for(run_agent(URL, "c1", "the-token", "v1.36.0", http=http), HANG)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(agent_module, "LAST_PAUSE_SECONDS", 0.02)


async def test_first_check_in_is_not_held_and_further_ones_are() -> None:
    control_plane = ControlPlane(*[httpx.Response(200, json={"action": "none"}) for _ in range(2)])
    assert await control_plane.run() is AgentEnd.DEREGISTERED
    check_ins = [body for path, body in control_plane.asked if path == "/agent/v1/clusters/c1/checkin"]
    assert [body["wait"] for body in check_ins] == [0, 50, 50]
    assert {str(body["kubernetes_version"]) for body in check_ins} == {"v1.36.0"}
    assert control_plane.tokens == {"Bearer the-token"}


async def test_deregistered_agent_says_that_it_is_gone() -> None:
    control_plane = ControlPlane()
    assert await control_plane.run() is AgentEnd.DEREGISTERED
    assert [path.rpartition("/")[2] for path, _ in control_plane.asked] == ["checkin", "gone"]


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(500),
        httpx.Response(404),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=["no", "object"]),
    ],
    ids=["refused", "slow", "cut", "500", "404", "HTML", "no object"],
)
async def test_trouble_is_tried_through(trouble: httpx.Response | Exception) -> None:
    control_plane = ControlPlane(trouble, trouble, trouble)
    assert await control_plane.run() is AgentEnd.DEREGISTERED
    assert len(control_plane.asked) == 5, "three troubles, a check-in, and a word of its end"


async def test_refused_token_ends_it() -> None:
    control_plane = ControlPlane(httpx.Response(200, json={"action": "none"}), httpx.Response(401))
    assert await control_plane.run() is AgentEnd.REFUSED


async def test_word_of_its_end_whose_answer_was_lost_is_not_repeated_forever() -> None:
    control_plane = ControlPlane(
        httpx.Response(200, json={"action": "deregister"}), httpx.ReadError("cut"), httpx.Response(401)
    )
    assert await control_plane.run() is AgentEnd.DEREGISTERED


@pytest.fixture
async def silent_server() -> AsyncIterator[tuple[str, list[str]]]:
    """A server that holds every call, and the paths that were called."""
    called: list[str] = []
    release = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append((await reader.readline()).decode().split()[1])
        await release.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0, backlog=512)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", called
        release.set()


async def test_hundreds_share_one_client_without_waiting_for_each_other(
    silent_server: tuple[str, list[str]],
) -> None:
    url, called = silent_server
    async with agent_client(TLS) as http:
        agents = [
            asyncio.create_task(run_agent(url, f"c{number}", "token", "v1", http=http))
            for number in range(300)
        ]
        deadline = time.monotonic() + HANG
        while len(called) < 300:
            assert time.monotonic() < deadline, f"{len(called)} of 300 agents are on the line"
            await asyncio.sleep(0.02)
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
    assert len(set(called)) == 300
