"""PersistentVolumes, which have no namespace and are found by the claim that has bound them.

The deletion of a claim deletes its volume, unless the volume's reclaim policy is Retain. If only the object
of such a volume were deleted, its data would stay where no user sees it. So its policy becomes Delete
instead, and its provisioner removes both.
"""

from clients.errors import Denied
from clients.host.models import PersistentVolume
from clients.kubernetes.api.client import MERGE, KubernetesApi, Object
from clients.kubernetes.api.timestamps import parse_timestamp
from clients.kubernetes.cluster.permissions import VOLUMES, missing_permissions

_PATH = "/api/v1/persistentvolumes"


class PersistentVolumes:
    """The PersistentVolumes of a host."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def list_bound_from(self, namespace: str) -> list[PersistentVolume]:
        """Return volumes bound by claims in this namespace or an earlier one with its name."""
        found = await self._api.list(_PATH, f"list persistent volumes of namespace {namespace}")
        return [_volume(each) for each in found if _is_bound_from(each, namespace)]

    async def delete_retained(self, volume: PersistentVolume) -> None:
        # The UID is a precondition, because another volume may have this name in the meantime.
        """Set the reclaim policy of a released volume to Delete, so that its data is deleted too.

        Raises:
            NotFound: the volume does not exist any more.
        """
        body = {"metadata": {"uid": volume.uid}, "spec": {"persistentVolumeReclaimPolicy": "Delete"}}
        operation = f"have persistent volume {volume.name} deleted"
        await self._api.call("PATCH", f"{_PATH}/{volume.name}", operation, body=body, content=MERGE)

    async def require_permission(self) -> None:
        """Check that `delete_retained` is allowed to our account; raise Denied otherwise."""
        if lacking := await missing_permissions(self._api, [VOLUMES]):
            detail = (
                f"the role moorage-volumes of deploy/rbac.yaml is not bound to us: we may not {lacking[0]}"
            )
            raise Denied(self._api.system, "have retained volumes deleted, as the template asks", detail)


def _volume(body: Object) -> PersistentVolume:
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    return PersistentVolume(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        retained=spec.get("persistentVolumeReclaimPolicy") == "Retain",
        released=status.get("phase") == "Released",
        made_at=parse_timestamp(metadata.get("creationTimestamp")),
    )


def _is_bound_from(volume: Object, namespace: str) -> bool:
    """Return whether a claim in a namespace of this name has bound the PersistentVolume."""
    return bool(((volume.get("spec") or {}).get("claimRef") or {}).get("namespace") == namespace)
