"""Requests that still run when the server stops."""

import asyncio
from pathlib import Path

import httpx
import structlog

from tests.api.application import DEVELOPER, an_app, bearer
from tests.api.caller import problem


async def test_a_request_that_the_server_cancels_is_answered_and_logged_as_unavailable(
    tmp_path: Path,
) -> None:
    app = await an_app(tmp_path)
    is_running = asyncio.Event()

    async def wait_for_ever() -> None:
        is_running.set()
        await asyncio.Event().wait()

    app.add_api_route("/api/v1/slow", wait_for_ever, methods=["POST"])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.7", 5))
    with structlog.testing.capture_logs() as captured:
        async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1") as http:
            request = asyncio.create_task(http.post("/slow", headers=bearer(DEVELOPER)))
            await is_running.wait()
            request.cancel()
            answer = await request
    assert "send it again with the same Idempotency-Key" in problem(answer, 503)["detail"]
    assert answer.headers["Retry-After"]
    assert [(line["verdict"], line["status"]) for line in captured if line["event"] == "access"] == [
        ("failed", 503)
    ]
