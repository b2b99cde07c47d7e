"""How long a call may take, whatever its system does: one who trickles holds neither a caller nor a turn."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from clients.errors import Unreachable
from clients.transport import http as module
from clients.transport.http import TOTAL_TIMEOUT_MARGIN, HttpSystem
from tests.support.deadline import soon
from worker.settings.groups.timeouts import LATE_RESPONSE_MARGIN

pytestmark = pytest.mark.slow

TIMEOUT = timedelta(seconds=4)
#: In place of the real one, so that a whole call has six seconds.
BEYOND = timedelta(seconds=2)


class Trickling:
    """A system that answers well, or, while `trickles`, with a byte now and then; it remembers who asked."""

    def __init__(self) -> None:
        self.trickles = True
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(request.split()[1].decode())
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b"x")
                await writer.drain()
                if self.trickles:
                    await asyncio.sleep(0.1)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def trickling(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Trickling, HttpSystem]]:
    monkeypatch.setattr(module, "TOTAL_TIMEOUT_MARGIN", BEYOND)
    monkeypatch.setattr(module, "MAX_CONCURRENT_CALLS", 1)
    answering = Trickling()
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    system = HttpSystem("it", url, headers={}, timeout=TIMEOUT, explain=lambda _: "")
    yield answering, system
    await system.close()
    server.close()


@pytest.mark.parametrize(("method", "ambiguous"), [("POST", True), ("GET", False)])
async def test_an_answer_that_trickles_ends_with_the_whole_call(
    trickling: tuple[Trickling, HttpSystem], method: str, ambiguous: bool
) -> None:
    answering, system = trickling
    async with soon("it reads on as long as a byte comes now and then"):
        with pytest.raises(Unreachable, match=r"no whole answer within 6 s") as error:
            await system.call(method, "/", "do a thing")
    assert error.value.ambiguous is ambiguous
    answering.trickles = False
    async with soon("the turn of a call that was given up is not free"):
        assert len((await system.call("GET", "/", "read a thing")).body) == 1000


async def test_a_call_that_gets_no_turn_fails_and_was_never_sent(
    trickling: tuple[Trickling, HttpSystem],
) -> None:
    answering, system = trickling
    calls = []
    # The second has its turn when the first is given up; the third does not wait for the end of that.
    for name, later in (("first", 2.4), ("second", 1.2), ("third", 0.0)):
        calls.append(asyncio.create_task(system.call("POST", f"/{name}", "make a thing")))
        await asyncio.sleep(later)
    async with soon("one who gets no turn waits for ever"):
        *_, third = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(third, Unreachable), f"one who gets no turn ends in {third!r}"
    assert "1 earlier calls still wait for its answers, after 6 s" in third.detail
    assert not third.ambiguous, "what was never sent is in doubt"
    assert answering.asked == ["/first", "/second"]


def test_a_call_is_over_when_a_life_has_settled() -> None:
    """Ensures that the last inspection comes after whatever a call can still bring about."""
    assert TOTAL_TIMEOUT_MARGIN < LATE_RESPONSE_MARGIN
