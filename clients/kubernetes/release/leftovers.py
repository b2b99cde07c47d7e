"""What a release has left in its namespace: volume claims, and all other objects of its chart."""

import asyncio

from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.api.kinds import CLAIM, OF_A_RELEASE
from clients.kubernetes.namespace import inventory
from clients.kubernetes.namespace.namespaces import Namespaces


class Leftovers:
    """The objects of a release, also after its uninstall."""

    def __init__(self, api: KubernetesApi, namespaces: Namespaces) -> None:
        self._api = api
        self._namespaces = namespaces

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return the names of the release's volume claims, or of all claims with `every_claim`."""
        operation = f"list volumes of release {release}"
        claims = await self._namespaces.list_metadata(CLAIM, namespace, operation)
        return sorted(
            str(each["metadata"]["name"])
            for each in claims
            if every_claim or inventory.belongs_to_release(CLAIM, each["metadata"], release)
        )

    async def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume claim; raise NotFound if it does not exist."""
        await self._api.call("DELETE", CLAIM.path(namespace, name), f"delete volume {name}")

    async def names(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return all that still exists of the release, as `Kind name`."""
        operation = f"list what is left of release {release}"
        lists = await asyncio.gather(
            *(self._namespaces.list_metadata(kind, namespace, operation) for kind in OF_A_RELEASE)
        )
        return [
            inventory.display_name(kind, str(each["metadata"]["name"]))
            for kind, found in zip(OF_A_RELEASE, lists, strict=True)
            for each in found
            if (every_claim and kind is CLAIM)
            or inventory.belongs_to_release(kind, each["metadata"], release)
        ]
