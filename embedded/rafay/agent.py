"""The agent inside a cluster of the stand-in: it checks in until it is deregistered.

Hundreds of them share one client and one event loop.
"""

import asyncio
import random
import ssl
from enum import StrEnum

import httpx

#: How long a check-in may wait for news: long ones are cheap, but proxies give up after a minute.
WAIT_SECONDS = 50.0
#: How much longer than that an response may take before the connection counts as dead.
READ_SLACK_SECONDS = 15.0
CONNECT_SECONDS = 5.0
#: Pools of connections in a shared client: with 500 agents, a handful of connections in each.
POOLS = 64
#: The first pause after a failure, doubled with each further one up to the last.
FIRST_PAUSE_SECONDS = 0.2
LAST_PAUSE_SECONDS = 10.0


class AgentEnd(StrEnum):
    """Why an agent ended."""

    DEREGISTERED = "deregistered"  #: the control plane deregistered it, and it has confirmed that
    REFUSED = "refused"  #: its token is no longer valid


class _PooledTransport(httpx.AsyncBaseTransport):
    """Spreads calls over pools by their URL, because httpx scans its whole pool at each call."""

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
    """Return a client for any number of agents; each of them has a connection in use nearly all the time."""
    timeout = httpx.Timeout(READ_SLACK_SECONDS, connect=CONNECT_SECONDS, pool=None)
    return httpx.AsyncClient(transport=_PooledTransport(verify), timeout=timeout)


async def run_agent(
    endpoint: str,
    cluster_id: str,
    token: str,
    kubernetes_version: str,
    *,
    http: httpx.AsyncClient | None = None,
    verify: ssl.SSLContext | bool = True,
) -> AgentEnd:
    """Run the agent of one cluster until it is deregistered or refused; both are regular ends.

    The first check-in, at once, makes the cluster ready. While the control plane cannot be reached or its
    response is malformed, the agent retries with growing pauses, forever. `http` is shared with other agents
    (see `agent_client`), or created with `verify` for this one. It can be cancelled at any time.
    """
    if http is None:
        async with agent_client(verify) as own:
            return await run_agent(endpoint, cluster_id, token, kubernetes_version, http=own)
    agent = _Agent(http, f"{endpoint.rstrip('/')}/agent/v1/clusters/{cluster_id}", token)
    wait = 0.0
    while True:
        response = await agent.post("checkin", {"kubernetes_version": kubernetes_version, "wait": wait}, wait)
        if response is None:
            return AgentEnd.REFUSED
        if response == "deregister":
            # A refusal means that an earlier confirmation has arrived and only its response was lost.
            await agent.post("gone", {}, 0.0)
            return AgentEnd.DEREGISTERED
        wait = WAIT_SECONDS


class _Agent:
    def __init__(self, http: httpx.AsyncClient, url: str, token: str) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def post(self, verb: str, body: dict[str, object], wait: float) -> str | None:
        """Retry until there is a response; return its action ("none" without one), or None if refused."""
        timeout = httpx.Timeout(READ_SLACK_SECONDS + wait, connect=CONNECT_SECONDS, pool=None)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                response = await self._http.post(
                    f"{self._url}/{verb}", json=body, headers=self._headers, timeout=timeout
                )
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    return None
                if response.is_success:
                    return str(response.json().get("action", "none"))
            except (httpx.TransportError, ValueError, AttributeError):
                pass
            # Spread out, or all agents would come back in the same instant.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, LAST_PAUSE_SECONDS)
