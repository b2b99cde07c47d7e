"""The simulated host cluster of the embedded stack, over its own HTTP API."""

import ssl
from datetime import timedelta


class SimulatedHost:
    """A `clients.host.Host` that is simulated: it keeps what it is told and runs nothing."""

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        raise NotImplementedError
