"""The floor of the API: a bare FastAPI route on the API's own server, in a separate process."""

import asyncio
import sys

from fastapi import FastAPI

from starter.http_server.server import Server
from starter.http_server.sockets import open_listening_socket

app = FastAPI()


@app.get("/bare")
async def bare() -> dict[str, str]:
    """As little as a route can do."""
    return {"status": "ok"}


async def main() -> None:
    """Serve on a free port, which is printed, until a signal stops it."""
    with open_listening_socket("127.0.0.1", 0) as listening:
        print(listening.getsockname()[1], flush=True)
        await Server(app, max_connections=1000).serve(sockets=[listening])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
