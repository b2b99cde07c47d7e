"""Objects applied in the namespaces of environments, after our own rights there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from clients.errors import AlreadyExists, Denied, Rejected
from clients.host.models import Manifest
from clients.kubernetes.api.client import APPLY, KubernetesApi
from clients.kubernetes.namespace import inventory
from clients.kubernetes.namespace.inventory import Kind
from clients.kubernetes.release import exposure
from clients.virtual_cluster import FIELD_MANAGER

#: How long an authorizer may take to see a new binding: it watches, so it takes moments.
BINDING_DELAY = timedelta(seconds=5)
BINDING_PAUSE = timedelta(milliseconds=50)
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Applying:
    """The part of `clients.host.protocol.Host` for objects in a namespace and for our own identity."""

    _system: str
    _api: KubernetesApi
    _account: Mapping[str, Any] | None

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        """Apply the objects in the namespace, with our own role binding first.

        Raises:
            NotFound: the namespace does not exist.
            Rejected: the namespace is terminating.
        """
        newly_bound = False
        for each in objects:
            kind, name = inventory.APPLIED.get(str(each.get("kind"))), str(each["metadata"]["name"])
            if kind is None:
                raise Rejected(self._system, f"apply {name}", f"kind {each.get('kind')} is not foreseen")
            body = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
            if kind is inventory.ROLE_BINDING and not newly_bound:
                newly_bound = await self._bind(kind, namespace, body)
                continue
            await self._apply(kind, namespace, name, body, retry_for=BINDING_DELAY if newly_bound else None)

    async def _bind(self, kind: Kind, namespace: str, body: Manifest) -> bool:
        """Create a binding; return False if it exists already.

        `create` is the one right that our account has in every namespace.
        """
        name = body["metadata"]["name"]
        try:
            await self._api.call("POST", kind.path(namespace), f"create role binding {name}", body=body)
        except AlreadyExists:
            return False
        return True

    async def _apply(
        self, kind: Kind, namespace: str, name: str, body: Manifest, *, retry_for: timedelta | None
    ) -> None:
        await self._with_retries(
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

    async def _with_retries(self, call: Callable[[], Awaitable[object]], retry_for: timedelta | None) -> None:
        """Retry the call while it is denied: the authorizer may not have seen our binding yet."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (retry_for.total_seconds() if retry_for else 0)
        while True:
            try:
                await call()
            except Denied:
                if loop.time() >= until:
                    raise
                await asyncio.sleep(BINDING_PAUSE.total_seconds())
            else:
                return

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Restore our role binding in a namespace of ours if it was removed."""
        binding = exposure.environment_role_binding(await self._who_am_i())
        metadata = {**binding["metadata"], "namespace": namespace, "labels": dict(labels)}
        body = {**binding, "metadata": metadata}
        if await self._bind(inventory.ROLE_BINDING, namespace, body):
            operation = f"use our rights in namespace {namespace}"
            await self._with_retries(
                lambda: self._api.list(inventory.POD.path(namespace), operation, metadata_only=True),
                BINDING_DELAY,
            )

    async def _who_am_i(self) -> Mapping[str, Any]:
        """Return our account, as the subject of a binding."""
        if self._account is None:
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            operation = "read who we are"
            answer = await self._api.call("POST", _SELF, operation, body=body)
            user = str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))
            parts = user.split(":")
            self._account = (
                {"kind": "ServiceAccount", "namespace": parts[2], "name": parts[3]}
                if user.startswith("system:serviceaccount:") and len(parts) == 4
                else {"kind": "User", "name": user}
            )
        return self._account
