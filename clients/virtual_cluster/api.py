"""The client of the API server inside a vCluster, over plain HTTP, with only its kubeconfig.

The same code calls a real API server and a simulated one, so a test against the simulated one covers the
code that calls the real one. It uses server-side apply, and discovery for the paths of kinds; neither needs
a Kubernetes library.
"""

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from clients.errors import (
    ClientError,
    Denied,
    MalformedAnswer,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Manifest
from clients.transport.connection_errors import proxy_of
from clients.transport.http import CONNECT_TIMEOUT, Answer, Exchange, HttpSystem
from clients.virtual_cluster.certificates import Certificates
from clients.virtual_cluster.people import PeopleRights

#: Owner of the fields that we apply, in the objects' managedFields.
FIELD_MANAGER = "moorage"
#: Namespace of a namespaced object that does not give one, as in kubectl.
DEFAULT_NAMESPACE = "default"
#: Delay before a new kind is requested again: an API server serves a definition within a second or two.
KIND_DELAY = timedelta(seconds=1)

#: Message of API servers for an object that does not match the schema of its kind.
SCHEMA_MISMATCH = "failed to create typed patch object"
_DEFINITION = "CustomResourceDefinition"
#: Kinds that other objects need to exist first.
_FIRST = ("Namespace", _DEFINITION)


#: A virtual API server that is ready answers within this time; a longer delay is a fault.
FIRST_CALL_TIMEOUT = timedelta(seconds=10)


async def kubernetes_version(kubeconfig: str) -> str:
    """Return the Kubernetes version that the API server reports with this kubeconfig.

    The kubeconfig is used unchanged.

    Raises:
        ClientError: the API server does not answer as expected.
        ValueError: the text is not a kubeconfig.
    """
    read = Kubeconfig(kubeconfig, secret_name="of the environment")  # noqa: S106 - a name, for messages
    async with VirtualClusterApi(read, timeout=FIRST_CALL_TIMEOUT, for_one_call=True) as cluster:
        return await cluster.version()


class VirtualClusterApi:
    """A `clients.host.protocol.VirtualCluster`; leaving the context closes its connections.

    `for_one_call` uses httpx, which the command line has; connections for many calls need aiohttp.
    """

    def __init__(self, kubeconfig: Kubeconfig, *, timeout: timedelta, for_one_call: bool = False) -> None:
        self._kubeconfig = kubeconfig
        cluster, user = kubeconfig.current()
        token, verify = user.get("token"), _tls(cluster, user)
        self._http = HttpSystem(
            "vCluster",
            kubeconfig.server,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=timeout,
            explain=_explain,
            classify=_classify,
            verify=verify,
            exchange=None if for_one_call else _exchange(kubeconfig.server, verify, timeout),
        )
        self._people, self._certificates = PeopleRights(self._http), Certificates(self._http)
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self._applied: list[Manifest] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def ready(self) -> bool:
        """Return whether `/readyz` succeeds; False also while the API server does not answer.

        Raises:
            Denied: the API server refuses the credentials.
        """
        try:
            await self._http.call("GET", "/readyz", "ask whether it is ready")
        except (Unreachable, ServerFailed, Throttled):
            return False
        return True

    async def version(self) -> str:
        """Return the Kubernetes version that the API server reports, such as `v1.36.0`."""
        operation = "read version"
        answer = await self._http.call_json("GET", "/version", operation)
        version = answer.get("gitVersion") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise MalformedAnswer("vCluster", operation, "the answer holds no gitVersion")
        return version

    async def apply(self, manifests: Sequence[Manifest], labels: Mapping[str, str]) -> None:
        """Apply all manifests, with `labels` added to each; a repeated call continues.

        Namespaces and CustomResourceDefinitions come first, the others in the given order.

        Raises:
            Rejected: a manifest is not a Kubernetes object, or the API server does not know its kind.
            Throttled: these manifests have just defined the kind, and the API server serves it in a moment.
        """
        objects = _objects(manifests)
        defined = {_group_defined(each) for each in objects if each["kind"] == _DEFINITION}
        for each in sorted(objects, key=lambda each: each["kind"] not in _FIRST):
            if each in self._applied:
                continue
            path = await self._path(each, defined)
            metadata = each["metadata"]
            body = {
                **each,
                "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}},
            }
            await self._http.call(
                "PATCH",
                path,
                f"apply {_name_of(each)}",
                query={"fieldManager": FIELD_MANAGER, "force": "true"},
                body=body,  # JSON is valid YAML, which this content type requires
                headers={"Content-Type": "application/apply-patch+yaml"},
            )
            self._applied.append(each)

    async def find_existing(self, manifests: Sequence[Manifest]) -> list[str]:
        """Return which manifests exist, as `Kind name` or `Kind namespace/name`."""
        there = []
        for each in _objects(manifests):
            try:
                await self._http.call("GET", await self._path(each, set()), f"read {_name_of(each)}")
            except NotFound:
                continue
            there.append(_name_of(each))
        return there

    async def ensure_person(self, person: str, labels: Mapping[str, str]) -> bool:
        """Give the person all rights inside, by a binding with these labels; return whether it was missing.

        A binding of the person's name with other content is replaced.
        """
        return await self._people.ensure(person, labels)

    async def remove_person(self, person: str) -> list[str]:
        """Take the person out of every binding; return these bindings as `Kind name`."""
        return await self._people.remove(person)

    async def list_people(self, labels: Mapping[str, str]) -> list[str]:
        """Return the people who have rights by a binding with these labels, sorted."""
        return await self._people.list_people(labels)

    async def issue_certificate(
        self, request: bytes, person: str, validity: timedelta, labels: Mapping[str, str]
    ) -> str:
        """Return a client certificate (PEM) for the person's PKCS#10 request (PEM).

        Raises:
            NotYet: the vCluster has not signed it in time.
            Rejected: the vCluster has refused it.
        """
        return await self._certificates.issue(request, person, validity, labels)

    async def _path(self, manifest: Manifest, defined: set[str]) -> str:
        version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        prefix = f"/apis/{quote(version)}" if "/" in version else f"/api/{quote(version)}"
        if kind not in self._kinds.get(version, {}):
            self._kinds[version] = await self._discover(prefix, version)
        if kind not in self._kinds[version]:
            operation, detail = f"find kind {kind}", f"it does not serve {kind} of {version}"
            if version.partition("/")[0] in defined:
                raise Throttled("vCluster", operation, f"{detail} yet", retry_after=KIND_DELAY)
            raise Rejected("vCluster", operation, detail)
        plural, namespaced = self._kinds[version][kind]
        name = quote(str(metadata["name"]), safe="")
        if not namespaced:
            return f"{prefix}/{plural}/{name}"
        namespace = quote(str(metadata.get("namespace") or DEFAULT_NAMESPACE), safe="")
        return f"{prefix}/namespaces/{namespace}/{plural}/{name}"

    async def _discover(self, prefix: str, version: str) -> dict[str, tuple[str, bool]]:
        operation = f"list kinds of {version}"
        try:
            answer = await self._http.call_json("GET", prefix, operation)
            return {
                resource["kind"]: (resource["name"], resource["namespaced"])
                for resource in answer["resources"]
                if "/" not in resource["name"]  # a subresource, such as pods/log
            }
        except NotFound:
            return {}
        except (TypeError, KeyError):
            raise MalformedAnswer("vCluster", operation, "the answer is no list of kinds") from None


def _objects(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Return all objects, those in lists included; raise Rejected for other content."""
    objects: list[Manifest] = []
    for manifest in manifests:
        if str(manifest.get("kind", "")).endswith("List") and isinstance(manifest.get("items"), list):
            objects += _objects(manifest["items"])
            continue
        metadata = manifest.get("metadata")
        named = isinstance(metadata, Mapping) and metadata.get("name")
        if not (manifest.get("apiVersion") and manifest.get("kind") and named):
            missing = "a manifest lacks apiVersion, kind or metadata.name"
            raise Rejected("vCluster", "read manifests", missing)
        objects.append(manifest)
    return objects


def _group_defined(definition: Manifest) -> str:
    return str((definition.get("spec") or {}).get("group", ""))


def _name_of(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest['kind']} {namespace}{metadata['name']}"


def _explain(answer: Answer) -> str:
    """Return the message of a Kubernetes `Status`, or ""."""
    return str(answer.fields.get("message", ""))


def _classify(answer: Answer, detail: str) -> type[ClientError] | None:
    """Map the permanent 500 for an apply that does not match the schema of its kind to Rejected."""
    return (
        Rejected if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and SCHEMA_MISMATCH in detail else None
    )


def _exchange(server: str, verify: ssl.SSLContext, timeout: timedelta) -> Exchange | None:
    """Return connections for many calls a second; None if the server is behind a proxy."""
    if proxy_of(server):
        return None
    # Import it here: the command line, which makes one call, is installed without aiohttp.
    from clients.transport.http_exchange import KeptConnections

    return KeptConnections(
        server, verify=verify, timeout=timeout, connect_timeout=min(CONNECT_TIMEOUT, timeout)
    )


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    """Trust the authority in the kubeconfig, and present its client certificate if it has one."""
    try:
        authority = cluster.get("certificate-authority-data")
        context = (
            ssl.create_default_context(cadata=base64.b64decode(authority).decode())
            if authority
            else ssl.create_default_context()
        )
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if user.get("client-certificate-data"):
            # Python's TLS loads a key only from a file: this file is private and exists for a moment.
            with tempfile.TemporaryDirectory() as folder:
                pair = Path(folder, "pair.pem")
                pair.touch(mode=0o600)
                pair.write_bytes(
                    b"\n".join(
                        base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")
                    )
                )
                context.load_cert_chain(pair)
        return context
    except (KeyError, ValueError, binascii.Error, ssl.SSLError):
        pass
    # Raise outside of the handler, because a parser's error may quote what it could not read.
    raise Denied("vCluster", "read kubeconfig", "its certificates or its key cannot be read")
