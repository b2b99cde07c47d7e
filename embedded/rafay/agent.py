"""The agent inside a cluster, as far as the stand-in knows one: checks in until it is told to go.

Hundreds of them share one client and one event loop.
"""

import asyncio
import random
import ssl
from enum import StrEnum

import httpx

#: How long a check-in asks to be held: the fewer, the cheaper, and intermediaries give up after a minute.
WAIT_SECONDS = 50.0
#: How much longer than that an answer may take before the connection counts as dead.
READ_SLACK_SECONDS = 15.0
CONNECT_SECONDS = 5.0
#: Pools of connections in a shared client: with 500 agents, a handful of connections in each.
POOLS = 64
#: The first pause after a failure, doubled with each further one up to the last.
FIRST_PAUSE_SECONDS = 0.2
LAST_PAUSE_SECONDS = 10.0


class AgentEnd(StrEnum):
    """Why an agent ended."""

    DEREGISTERED = "deregistered"  #: told to go, and has said so
    REFUSED = "refused"  #: its token is not valid any more


class _ManyPools(httpx.AsyncBaseTransport):
    """Spreads calls over pools by their URL: httpx walks through a whole pool at each call."""

    def __init__(self, verify: ssl.SSLContext | bool) -> None:
        context = httpx.create_ssl_context(verify)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._pools = [httpx.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(POOLS)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        cluster = request.url.raw_path.rpartition(b"/")[0]
        return await self._pools[hash(cluster) % POOLS].handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


def agent_client(verify: ssl.SSLContext | bool = True) -> httpx.AsyncClient:
    """A client for any number of agents at once: each of them holds a connection nearly all the time."""
    timeout = httpx.Timeout(READ_SLACK_SECONDS, connect=CONNECT_SECONDS, pool=None)
    return httpx.AsyncClient(transport=_ManyPools(verify), timeout=timeout)


async def run_agent(
    endpoint: str,
    cluster_id: str,
    token: str,
    kubernetes_version: str,
    *,
    http: httpx.AsyncClient | None = None,
    verify: ssl.SSLContext | bool = True,
) -> AgentEnd:
    """Be the agent of one cluster until it is deregistered or refused; both are an ordinary end.

    Checks in at once, which makes the cluster ready, and again and again. While the control plane cannot
    be reached or answers nonsense it tries again, with growing pauses, forever. `http` is shared with
    other agents (see `agent_client`), or made with `verify` for this one. Can be cancelled at any time.
    """
    if http is None:
        async with agent_client(verify) as own:
            return await run_agent(endpoint, cluster_id, token, kubernetes_version, http=own)
    agent = _Agent(http, f"{endpoint.rstrip('/')}/agent/v1/clusters/{cluster_id}", token)
    wait = 0.0
    while True:
        answer = await agent.post("checkin", {"kubernetes_version": kubernetes_version, "wait": wait}, wait)
        if answer is None:
            return AgentEnd.REFUSED
        if answer == "deregister":
            # A refusal now means that an earlier word of it has arrived and only the answer was lost.
            await agent.post("gone", {}, 0.0)
            return AgentEnd.DEREGISTERED
        wait = WAIT_SECONDS


class _Agent:
    def __init__(self, http: httpx.AsyncClient, url: str, token: str) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def post(self, verb: str, body: dict[str, object], wait: float) -> str | None:
        """The action in the answer, "none" without one; None if the token is refused. Tries for ever."""
        timeout = httpx.Timeout(READ_SLACK_SECONDS + wait, connect=CONNECT_SECONDS, pool=None)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = await self._http.post(
                    f"{self._url}/{verb}", json=body, headers=self._headers, timeout=timeout
                )
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    return None
                if answer.is_success:
                    return str(answer.json().get("action", "none"))
            except (httpx.TransportError, ValueError, AttributeError):
                pass
            # Spread out, or all agents would come back in the same instant.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, LAST_PAUSE_SECONDS)
