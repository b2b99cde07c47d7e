"""Server-side apply of objects in the namespaces of environments, after our own role binding."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from clients.errors import AlreadyExists, Denied, Rejected
from clients.host.models import Manifest
from clients.kubernetes.api.client import APPLY, KubernetesApi
from clients.kubernetes.api.kinds import APPLIED, GUARDS, POD, ROLE_BINDING, Kind
from clients.kubernetes.cluster.account import Account, environment_role_binding
from clients.virtual_cluster import FIELD_MANAGER

#: How long an authorizer may take to see a new binding: it watches, so it takes moments.
BINDING_DELAY = timedelta(seconds=5)
BINDING_PAUSE = timedelta(milliseconds=50)


class ObjectApplier:
    """Applies objects in a namespace, and keeps our role binding there."""

    def __init__(self, api: KubernetesApi, account: Account) -> None:
        self._api = api
        self._account = account

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        """Apply the objects in the namespace: our own role binding first, then all others at the same time.

        A binding that exists is applied as well, because the namespace may have had another owner. All calls
        are over when this returns or raises.

        Raises:
            NotFound: the namespace does not exist.
            Rejected: the namespace is terminating.
        """
        is_bound, retry_for = False, None
        others: list[tuple[Kind, Manifest]] = []
        for each in objects:
            kind, name = APPLIED.get(str(each.get("kind"))), str(each["metadata"]["name"])
            if kind is None:
                detail = f"kind {each.get('kind')} is not foreseen"
                raise Rejected(self._api.system, f"apply {name}", detail)
            body = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
            if kind is ROLE_BINDING and not is_bound:
                is_bound = True
                if await self._bind(kind, namespace, body):
                    retry_for = BINDING_DELAY
                    continue
            others.append((kind, body))
        calls = (self._apply(kind, namespace, body, retry_for=retry_for) for kind, body in others)
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def list_guards(self, namespace: str) -> Sequence[Manifest]:
        """Return all guards in the namespace, also those of others, each with its kind."""
        # The items of a list do not name their kind.
        return [
            {**each, "kind": kind.name}
            for kind in GUARDS
            for each in await self._api.list(
                kind.path(namespace), f"list the {kind.plural} in namespace {namespace}"
            )
        ]

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Restore our role binding in a namespace of ours if it was removed."""
        binding = environment_role_binding(await self._account.subject())
        metadata = {**binding["metadata"], "namespace": namespace, "labels": dict(labels)}
        body = {**binding, "metadata": metadata}
        if await self._bind(ROLE_BINDING, namespace, body):
            operation = f"use our permissions in namespace {namespace}"
            await _with_retries(
                lambda: self._api.list(POD.path(namespace), operation, metadata_only=True), BINDING_DELAY
            )

    async def _bind(self, kind: Kind, namespace: str, body: Manifest) -> bool:
        """Create a binding; return False if it exists already.

        `create` is the one permission that our account has in every namespace.
        """
        name = body["metadata"]["name"]
        try:
            await self._api.call("POST", kind.path(namespace), f"create role binding {name}", body=body)
        except AlreadyExists:
            return False
        return True

    async def _apply(
        self, kind: Kind, namespace: str, body: Manifest, *, retry_for: timedelta | None
    ) -> None:
        name = str(body["metadata"]["name"])
        await _with_retries(
            lambda: self._api.call(
                "PATCH",
                kind.path(namespace, name),
                f"apply {kind.name} {name} in namespace {namespace}",
                query={"fieldManager": FIELD_MANAGER, "force": "true"},
                body=body,
                content=APPLY,
            ),
            retry_for,
        )


async def _with_retries(call: Callable[[], Awaitable[object]], retry_for: timedelta | None) -> None:
    """Retry the call while it is denied: the authorizer may not have seen our binding yet."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (retry_for.total_seconds() if retry_for else 0)
    while True:
        try:
            await call()
        except Denied:
            if loop.time() >= deadline:
                raise
            await asyncio.sleep(BINDING_PAUSE.total_seconds())
        else:
            return
