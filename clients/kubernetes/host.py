"""A host cluster that is a real Kubernetes: namespaces, what is applied in them, and what a release shows.

Installing and uninstalling is Helm's; reading is done here, without Helm, because it is done often.
"""

import asyncio
import base64
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from clients.errors import AlreadyExists, Denied, NotFound, NotYet, Rejected, Unintelligible
from clients.helm import Helm
from clients.host import (
    Chart,
    Kubeconfig,
    Manifest,
    Namespace,
    Release,
    ReleaseStatus,
    Startup,
)
from clients.kubernetes import remains, wayin
from clients.kubernetes.access import Access
from clients.kubernetes.api import APPLY, Api
from clients.kubernetes.remains import CLAIM, DEPLOYMENT, EVENT, POD, SECRET, SERVICE, STATEFUL_SET, Kind
from clients.kubernetes.rights import missing
from clients.kubernetes.startup import Seen, startup_of
from clients.kubernetes.wayin import ACCESS_SERVICE, Exposure, HostOptions
from clients.virtual_cluster import FIELD_MANAGER, VirtualClusterApi

#: How long an authorizer may take to learn of a binding that was just made: it watches, so it is moments.
BINDING_DELAY = timedelta(seconds=5)
BINDING_PAUSE = timedelta(milliseconds=50)
#: Labels that Helm itself puts on the record of a release; all others were given at its install.
_HELM_LABELS = frozenset({"createdAt", "modifiedAt", "name", "owner", "status", "version"})
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class KubernetesHost:
    """A `clients.host.Host`. It is not connected before the first call."""

    def __init__(
        self, name: str, access: Access, helm: Helm, options: HostOptions, *, timeout: timedelta
    ) -> None:
        self._name = name
        self._system = f"host cluster {name}"
        self._options = options
        self._timeout = timeout
        self._api = Api(self._system, access, timeout=timeout)
        self._helm = helm
        self._account: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What the settings call it."""
        return self._name

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""
        await self._api.close()

    async def check(self) -> str:
        """Its version, which shows that it is reachable and that the credentials are good."""
        operation = "read version"
        # The version is shown to anybody: who we are is not.
        await self._who_am_i()
        answer = await self._api.call("GET", "/version", operation)
        version = answer.get("gitVersion")
        if not isinstance(version, str):
            raise Unintelligible(self._system, operation, "the answer holds no gitVersion")
        return f"Kubernetes {version}"

    async def missing_rights(self) -> list[str]:
        """The cluster-wide rights that our account lacks, in words."""
        return await missing(self._api)

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        metadata = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        answer = await self._api.call("POST", "/api/v1/namespaces", f"create namespace {name}", body=body)
        return _namespace(answer)

    async def get_namespace(self, name: str) -> Namespace | None:
        found = await self._api.get(_namespace_path(name), f"read namespace {name}")
        return None if found is None else _namespace(found)

    async def delete_namespace(self, name: str, uid: str) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._api.call("DELETE", _namespace_path(name), f"delete namespace {name}", body=body)
        except Rejected:
            # One that ends already answers a further request with a conflict.
            found = await self.get_namespace(name)
            if found is None or found.uid != uid or not found.terminating:
                raise

    async def namespace_blockers(self, name: str) -> list[str]:
        operation = f"read what holds namespace {name}"
        namespace = await self._api.get(_namespace_path(name), operation)
        if namespace is None:
            return []
        objects: list[str] = []
        # The right to list went with the namespace's own role bindings, unless ours is wider.
        with contextlib.suppress(Denied):
            for kind in remains.OF_A_RELEASE:
                for each in await self._list(kind, name, operation, metadata_only=True):
                    objects += [
                        f"{kind.name} {each['metadata']['name']} with finalizer {finalizer}"
                        for finalizer in each["metadata"].get("finalizers") or []
                    ]
        return remains.what_holds(namespace, objects)

    async def fittings(self, namespace: str, release: str) -> Sequence[Manifest]:  # noqa: ARG002
        return wayin.objects(self._options, release, await self._who_am_i())

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        port = None
        if self._options.exposure is Exposure.NODE_PORT:
            operation = f"read the port of Service {ACCESS_SERVICE}"
            service = await self._api.get(SERVICE.path(namespace, ACCESS_SERVICE), operation)
            ports = ((service or {}).get("spec") or {}).get("ports") or [{}]
            port = ports[0].get("nodePort")
            if not isinstance(port, int):
                raise NotYet(self._system, operation, "it has not been given a port of the nodes")
        return wayin.overlay(self._options, namespace, release, port)

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        newly_bound = False
        for each in objects:
            kind, name = remains.APPLIED.get(str(each.get("kind"))), str(each["metadata"]["name"])
            if kind is None:
                raise Rejected(self._system, f"apply {name}", f"kind {each.get('kind')} is not foreseen")
            body = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
            if kind is remains.ROLE_BINDING and not newly_bound:
                newly_bound = await self._bind(kind, namespace, body)
                continue
            await self._apply(kind, namespace, name, body, patience=BINDING_DELAY if newly_bound else None)

    async def _bind(self, kind: Kind, namespace: str, body: Manifest) -> bool:
        """Make a binding by the one right that is held everywhere: create. False if it is there already."""
        name = body["metadata"]["name"]
        try:
            await self._api.call("POST", kind.path(namespace), f"create role binding {name}", body=body)
        except AlreadyExists:
            return False
        return True

    async def _apply(
        self, kind: Kind, namespace: str, name: str, body: Manifest, *, patience: timedelta | None
    ) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + (patience.total_seconds() if patience else 0)
        while True:
            try:
                await self._api.call(
                    "PATCH",
                    kind.path(namespace, name),
                    f"apply {kind.name} {name} in namespace {namespace}",
                    query={"fieldManager": FIELD_MANAGER, "force": "true"},
                    body=body,
                    content=APPLY,
                )
            except Denied:
                if loop.time() >= until:
                    raise
                await asyncio.sleep(BINDING_PAUSE.total_seconds())
            else:
                return

    async def get_release(self, namespace: str, name: str) -> Release | None:
        operation = f"read release {name}"
        selector = f"owner=helm,name={name}"
        records = await self._list(SECRET, namespace, operation, labels=selector, metadata_only=True)
        labelled = [each["metadata"].get("labels") or {} for each in records]
        if not labelled:
            return None
        labels = max(labelled, key=lambda each: int(each.get("version", "0")))
        given = {key: value for key, value in labels.items() if key not in _HELM_LABELS}
        return Release(name, namespace, _status(str(labels.get("status"))), labels=given)

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        await self._helm.check(self._chart(chart), values)

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        await self._helm.install(namespace, name, self._chart(chart), values, labels)

    async def uninstall_release(self, namespace: str, name: str) -> None:
        await self._helm.uninstall(namespace, name)

    async def startup(self, namespace: str, release: str) -> Startup:
        operation = f"read the start of release {release}"
        selector = f"app=vcluster,release={release}"
        kinds = (STATEFUL_SET, DEPLOYMENT, POD)
        sets, deployments, pods = await asyncio.gather(
            *(self._list(kind, namespace, operation, labels=selector) for kind in kinds)
        )
        controllers = [*sets, *deployments]
        if not controllers and await self.get_release(namespace, release) is None:
            raise NotFound(self._system, operation, "there is no such release")
        now = self._api.now()
        if (first := startup_of(Seen(now, controllers, pods))).ready:
            return first
        # Why it is not is only asked then.
        claims, events = await asyncio.gather(
            self._list(CLAIM, namespace, operation), self._list(EVENT, namespace, operation)
        )
        own = [each for each in claims if remains.belongs(CLAIM, each["metadata"], release)]
        return startup_of(Seen(now, controllers, pods, own, events))

    async def volumes(self, namespace: str, release: str) -> list[str]:
        operation = f"list volumes of release {release}"
        claims = await self._list(CLAIM, namespace, operation, metadata_only=True)
        return sorted(
            str(each["metadata"]["name"])
            for each in claims
            if remains.belongs(CLAIM, each["metadata"], release)
        )

    async def delete_volume(self, namespace: str, name: str) -> None:
        await self._api.call("DELETE", CLAIM.path(namespace, name), f"delete volume {name}")

    async def leftovers(self, namespace: str, release: str) -> list[str]:
        operation = f"list what is left of release {release}"
        lists = await asyncio.gather(
            *(self._list(kind, namespace, operation, metadata_only=True) for kind in remains.OF_A_RELEASE)
        )
        return [
            remains.named(kind, str(each["metadata"]["name"]))
            for kind, found in zip(remains.OF_A_RELEASE, lists, strict=True)
            for each in found
            if remains.belongs(kind, each["metadata"], release)
        ]

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        operation = f"read the kubeconfig of release {release}"
        # By name: of all Secrets the API may read this one alone.
        secret = await self._api.get(SECRET.path(namespace, f"vc-{release}"), operation)
        if secret is None:
            return None
        text = None
        with contextlib.suppress(KeyError, TypeError, ValueError):
            text = base64.b64decode(secret["data"]["config"]).decode()
        with contextlib.suppress(ValueError):
            if text is not None:
                return Kubeconfig(text, secret_name=f"vc-{release}")
        raise Unintelligible(self._system, operation, "the Secret holds no kubeconfig")

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> VirtualClusterApi:
        """The API server that the kubeconfig leads to; leaving the context closes its connections."""
        return VirtualClusterApi(kubeconfig, timeout=self._timeout)

    def _chart(self, chart: Chart) -> Chart:
        repository = self._options.chart_repository
        return dataclasses.replace(chart, repository=repository) if repository else chart

    async def _list(
        self, kind: Kind, namespace: str, operation: str, *, labels: str = "", metadata_only: bool = False
    ) -> Sequence[Mapping[str, Any]]:
        return await self._api.list(
            kind.path(namespace), operation, labels=labels, metadata_only=metadata_only
        )

    async def _who_am_i(self) -> Mapping[str, Any]:
        """Our account, as the subject of a binding."""
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


def _namespace(body: Mapping[str, Any]) -> Namespace:
    metadata = body["metadata"]
    return Namespace(
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        terminating=bool(metadata.get("deletionTimestamp")),
    )


def _namespace_path(name: str) -> str:
    return f"/api/v1/namespaces/{quote(name, safe='')}"


def _status(helm: str) -> ReleaseStatus:
    """Helm's word for it. `unknown` and `superseded` without a successor are what interrupted calls leave."""
    if helm.startswith("pending-"):
        return ReleaseStatus.PENDING
    try:
        return ReleaseStatus(helm)
    except ValueError:
        return ReleaseStatus.FAILED
