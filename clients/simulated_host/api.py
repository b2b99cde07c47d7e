"""The HTTP API of the simulated host: calls, and answers of the agreed form."""

import ssl
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from clients.errors import MalformedAnswer
from clients.transport.http import Answer, HttpSystem, bearer_headers

_T = TypeVar("_T")

OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
OBJECTS = TypeAdapter(list[dict[str, Any]])


class SimulatedHostApi(HttpSystem):
    """The HTTP API of one simulated host."""

    def __init__(
        self,
        system: str,
        base_url: str,
        token: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        reread: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(
            system,
            base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            explain=_explain,
            verify=verify,
            renewed=(lambda: bearer_headers(reread())) if reread else None,
        )

    async def ask(
        self,
        shape: TypeAdapter[_T],
        method: str,
        path: str,
        operation: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> _T:
        """Return the answer to a call, parsed.

        Raises:
            MalformedAnswer: the answer is not of the agreed form; as `call_json` otherwise.
        """
        answer = await self.call_json(method, path, operation, body=body, query=query)
        try:
            return shape.validate_python(answer)
        except ValidationError:
            detail = "the answer is not of the agreed form"
            raise MalformedAnswer(self.system, operation, detail, ambiguous=method != "GET") from None


def path_of(namespace: str, *more: str) -> str:
    """Return the path of what is in a namespace."""
    return "/".join(["/namespaces", *(quote(part, safe="") for part in (namespace, *more))])


def _explain(answer: Answer) -> str:
    return str(answer.fields.get("message", ""))
