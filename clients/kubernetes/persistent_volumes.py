"""PersistentVolumes, which belong to no namespace: told by the claim that has bound them.

A claim takes its volume along, unless the volume's policy is Retain. To delete such a volume's object alone
would leave what is stored, out of everybody's sight: its policy becomes Delete instead, and whoever made it
removes both.
"""

from clients.errors import Denied
from clients.host import PersistentVolume
from clients.kubernetes.api import MERGE, Api, Object
from clients.kubernetes.inventory import bound_from
from clients.kubernetes.permissions import VOLUMES, missing
from clients.kubernetes.timestamps import time_of

_PATH = "/api/v1/persistentvolumes"


class Volumes:
    """The part of `clients.host.Host` that is about PersistentVolumes."""

    _system: str
    _api: Api

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:
        found = await self._api.list(_PATH, f"list persistent volumes of namespace {namespace}")
        return [_volume(each) for each in found if bound_from(each, namespace)]

    async def give_up_volume(self, volume: PersistentVolume) -> None:
        # The UID is a precondition: by that name there might be another one by now.
        body = {"metadata": {"uid": volume.uid}, "spec": {"persistentVolumeReclaimPolicy": "Delete"}}
        operation = f"have persistent volume {volume.name} deleted"
        await self._api.call("PATCH", f"{_PATH}/{volume.name}", operation, body=body, content=MERGE)

    async def require_right_to_volumes(self) -> None:
        if lacking := await missing(self._api, [VOLUMES]):
            detail = (
                f"the role moorage-volumes of deploy/rbac.yaml is not bound to us: we may not {lacking[0]}"
            )
            raise Denied(self._system, "have retained volumes deleted, as the template asks", detail)


def _volume(body: Object) -> PersistentVolume:
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    return PersistentVolume(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        retained=spec.get("persistentVolumeReclaimPolicy") == "Retain",
        released=status.get("phase") == "Released",
        made_at=time_of(metadata.get("creationTimestamp")),
    )
