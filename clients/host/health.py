"""The health of one environment, as its host reports it."""

import asyncio
from collections.abc import Mapping, Sequence

from clients.errors import ClientError, Denied
from clients.host.models import Health, Namespace
from clients.host.protocol import Host

#: Timeout of the calls to a host: longer than it takes to detect that its API server does not answer.
CALL_TIMEOUT_SECONDS = 8.0


async def find_namespace(host: Host, names: Sequence[str], labels: Mapping[str, str]) -> Namespace | None:
    """Return the first namespace of these names that has the labels of a mark.

    Without one, return the namespace of the last name, which is then of another owner.
    """
    namespace = None
    for name in names:
        namespace = await host.get_namespace(name)
        if namespace is not None and labels.items() <= namespace.labels.items():
            return namespace
    return namespace


async def read_health(host: Host, names: Sequence[str], labels: Mapping[str, str], *, where: str) -> Health:
    """Return the health of the environment whose namespace has one of the names, and the labels of its mark.

    `where` is the name of the host. A host that does not answer within CALL_TIMEOUT_SECONDS is a problem of
    the environment as well.
    """
    try:
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            namespace = await find_namespace(host, names, labels)
            if namespace is not None and not labels.items() <= namespace.labels.items():
                return Health("its namespace belongs to another environment")
            name = namespace.name if namespace else names[-1]
            return await host.health(name, name)
    except Denied:
        # The rights on the host are of an older Moorage, or have to be applied again; `moorage doctor`
        # reports that.
        return Health()
    except (TimeoutError, ClientError):
        return Health(f"its host {where} does not answer")
