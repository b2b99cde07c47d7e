"""The simulated API servers of the vClusters: enough for kubectl, access of people, and bootstrap manifests.

They keep objects and run nothing. Each serves `/vclusters/NAMESPACE/RELEASE`: its administrator with the
token of its kubeconfig, and users with a client certificate that it has signed, within their rights. There is
no watch, and a list comes whole.
"""

import json
import secrets
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from clients.safe_yaml import read_yaml
from embedded.faults import Receive, Scope, Send
from embedded.host.releases import Releases
from embedded.host.schemas import Object
from embedded.host.virtual.authorities import Authorities
from embedded.host.virtual.certificate_requests import CertificateRequests
from embedded.host.virtual.errors import ApiError, bad_request, invalid, success
from embedded.host.virtual.objects import VirtualObjects, Where, utc_now
from embedded.host.virtual.rbac import MASTERS, Access, Rights, User, with_defaults
from embedded.host.virtual.resources import (
    CERTIFICATE_REQUESTS,
    NAMESPACES,
    RESOURCES,
    REVIEWS,
    Resource,
    api_groups,
    api_resources,
)
from embedded.host.virtual.selectors import field_selector, label_selector

PREFIX = "/vclusters/"
#: Whom the token of the kubeconfig stands for: the user of kubeadm's super-admin.conf.
ADMINISTRATOR = User("kubernetes-super-admin", (MASTERS, "system:authenticated"))
_PROBES = frozenset({"readyz", "livez", "healthz"})
#: What every body in Kubernetes' protobuf encoding starts with. Some commands of kubectl send it, such as
#: `create clusterrolebinding`; `create -f` sends JSON.
_PROTOBUF = b"k8s\x00"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
#: Verbs of the access rules, by method, with a name and without.
_VERBS = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}


@dataclass(frozen=True)
class Call:
    """A call about objects: who calls, on which vCluster, about what. Without `name` it is about a list."""

    request: Request
    user: User
    where: Where
    resource: Resource
    namespace: str | None
    name: str
    subresource: str

    @property
    def access(self) -> Access:
        """What rights the call needs.

        Raises:
            ApiError: it is none that the simulated API servers serve.
        """
        verb = _VERBS.get((self.request.method, bool(self.name)))
        if verb is None or (self.resource.namespaced != (self.namespace is not None) and verb != "list"):
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the resource")
        resource = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        # As in Kubernetes: a namespace is in itself, so rights inside it may cover it.
        namespace = self.name if self.resource == NAMESPACES else self.namespace or ""
        return Access(verb, self.resource.group, resource, namespace, self.name)


class VirtualServers:
    """All API servers as one ASGI application.

    `agent_changed` is called after a change of what a control plane's agent in a vCluster consists of.
    """

    def __init__(
        self,
        releases: Releases,
        objects: VirtualObjects,
        authorities: Authorities,
        agent_changed: Callable[[Where], None],
    ) -> None:
        self._releases = releases
        self._objects = objects
        self._agent_changed = agent_changed
        self._authorities = authorities
        self._rights = Rights(objects)
        self._requests = CertificateRequests(objects, authorities, self._rights)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            response = await self._answer(Request(scope, receive))
        except ApiError as error:
            response = error.response()
        await response(cast(MutableMapping[str, Any], scope), receive, cast(Any, send))

    async def _answer(self, request: Request) -> Response:
        parts = request.url.path.removeprefix(PREFIX).strip("/").split("/")
        if not request.url.path.startswith(PREFIX) or len(parts) < 2:
            raise ApiError(404, "NotFound", "there is no simulated vCluster at this path")
        where, rest = (parts[0], parts[1]), [unquote(part) for part in parts[2:]]
        if self._releases.is_paused(*where):
            raise ApiError(503, "ServiceUnavailable", "no endpoints: the simulated vCluster is paused")
        user = self._authenticate(request, where)
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if self._releases.seconds_to_ready(*where) != 0:
            raise ApiError(503, "ServiceUnavailable", "the simulated vCluster is still starting")
        match rest:
            case [probe] if probe in _PROBES:
                return PlainTextResponse("ok")
            case ["version"]:
                return JSONResponse(_version(self._releases.kubernetes_version(*where)))
            case ["api"]:
                return JSONResponse({"kind": "APIVersions", "versions": ["v1"]})
            case ["apis"]:
                return JSONResponse(api_groups())
            case ["api", "v1", *path]:
                return await self._serve(request, user, where, "v1", path)
            case ["apis", group, number, *path]:
                return await self._serve(request, user, where, f"{group}/{number}", path)
        raise _not_here(request)

    def _authenticate(self, request: Request, where: Where) -> User | None:
        volume = self._releases.token(*where)
        if volume is None:
            return None
        given = request.headers.get("Authorization", "").encode()
        if secrets.compare_digest(given, f"Bearer {volume}".encode()):
            return ADMINISTRATOR
        extensions = request.scope.get("extensions") or {}
        return self._authorities.user(volume, extensions.get("tls", {}).get("client_cert_chain", ()))

    async def _serve(
        self, request: Request, user: User, where: Where, group_version: str, path: list[str]
    ) -> Response:
        if not path:
            listed = api_resources(group_version)
            if listed is None:
                raise _not_here(request)
            return JSONResponse(listed)
        if kind := REVIEWS.get(group_version, {}).get(path[0]):
            access = Access("create", group_version.partition("/")[0], path[0])
            self._rights.require(where, user, access)
            return await self._review(request, user, where, group_version, kind)
        namespace: str | None = None
        match path:
            case ["namespaces", inside, plural, *more]:
                namespace, path = inside, [plural, *more]
        resource = RESOURCES.get(group_version, {}).get(path[0])
        name, subresource, *more = [*path[1:], "", ""]
        if resource is None or any(more):
            raise _not_here(request)
        if subresource and (resource, subresource) != (CERTIFICATE_REQUESTS, "approval"):
            raise _not_here(request)
        call = Call(request, user, where, resource, namespace, name, subresource)
        self._rights.require(where, user, call.access)
        match call.access.verb:
            case "list":
                return self._list(call)
            case "get":
                return JSONResponse(self._current(call, self._objects.require(*self._place(call), name)))
            case "create":
                return await self._create(call)
            case "update":
                return await self._update(call)
            case "patch":
                return await self._patch(call)
            case _:
                return await self._delete(call)

    def _place(self, call: Call) -> tuple[Where, Resource, str]:
        return call.where, call.resource, call.namespace or ""

    def _current(self, call: Call, document: dict[str, Any]) -> dict[str, Any]:
        if call.resource != CERTIFICATE_REQUESTS:
            return document
        return self._requests.sign_due(call.where, self._releases.token(*call.where) or "", document)

    def _selected(self, call: Call) -> list[dict[str, Any]]:
        query = call.request.query_params
        by_label = label_selector(query.get("labelSelector", ""))
        by_field = field_selector(query.get("fieldSelector", ""))
        found = self._objects.list(call.where, call.resource, call.namespace)
        return [self._current(call, each) for each in found if by_label(each) and by_field(each)]

    def _list(self, call: Call) -> Response:
        if call.request.query_params.get("watch") in ("1", "true"):
            raise ApiError(405, "MethodNotAllowed", "a simulated API server has no watch")
        return JSONResponse(
            {
                "kind": f"{call.resource.kind}List",
                "apiVersion": call.resource.version,
                "metadata": {"resourceVersion": "1"},
                "items": self._selected(call),
            }
        )

    async def _create(self, call: Call) -> Response:
        given = await _object(call, "")
        if call.resource == CERTIFICATE_REQUESTS:
            given = self._requests.prepare(call.user, given)
        given = self._checked(call, given, before=None)
        created = self._objects.create(*self._place(call), given)
        self._refresh(call)
        return JSONResponse(created, status_code=201)

    async def _update(self, call: Call) -> Response:
        given = await _object(call, call.name)
        if call.subresource:
            return JSONResponse(self._requests.decide(call.where, call.user, given))
        if call.resource == CERTIFICATE_REQUESTS:
            given = self._requests.update(call.where, given)
        # A missing object is not found, whatever else is wrong with the request.
        before = self._objects.require(*self._place(call), call.name)
        replaced = self._objects.replace(*self._place(call), self._checked(call, given, before))
        self._refresh(call)
        return JSONResponse(replaced)

    async def _patch(self, call: Call) -> Response:
        content_type = call.request.headers.get("Content-Type", "").partition(";")[0]
        if call.resource == CERTIFICATE_REQUESTS or content_type not in (_APPLY, _MERGE):
            why = "a simulated API server knows server-side apply and JSON merge patch, not for requests"
            raise ApiError(415, "UnsupportedMediaType", f"{why} for certificates")
        if content_type == _MERGE:
            patch = _parsed(await call.request.body(), call)
            found = self._objects.require(*self._place(call), call.name)
            given = self._checked(call, _valid(call, _merged(found, patch), call.name), found)
            replaced = self._objects.replace(*self._place(call), given)
            self._refresh(call)
            return JSONResponse(replaced)
        if not call.request.query_params.get("fieldManager"):
            raise bad_request("fieldManager is required for apply patch")
        before = self._objects.get(*self._place(call), call.name)
        given = self._checked(call, await _object(call, call.name), before)
        document = self._objects.apply(*self._place(call), call.name, given)
        self._refresh(call)
        return JSONResponse(document)

    async def _delete(self, call: Call) -> Response:
        body = await call.request.body()
        options = _parsed(body, call) if body else {}
        names = [call.name] if call.name else [each["metadata"]["name"] for each in self._selected(call)]
        uid = (options.get("preconditions") or {}).get("uid")
        for name in names:
            deleted = self._objects.delete(*self._place(call), name, uid)
        self._refresh(call)
        details: dict[str, Any] = {"group": call.resource.group, "kind": call.resource.plural}
        if call.name:
            details |= {"name": call.name, "uid": deleted["metadata"]["uid"]}
        return success(details)

    def _checked(self, call: Call, given: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
        self._rights.check_write(call.where, call.user, call.resource, call.namespace or "", given, before)
        return with_defaults(call.resource, given)

    def _refresh(self, call: Call) -> None:
        if call.resource.kind in ("Secret", "Deployment"):  # what an agent consists of
            self._agent_changed(call.where)

    async def _review(
        self, request: Request, user: User, where: Where, group_version: str, kind: str
    ) -> Response:
        if request.method != "POST":
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the resource")
        answer: dict[str, Any] = {
            "kind": kind,
            "apiVersion": group_version,
            "metadata": {"creationTimestamp": utc_now()},
        }
        if kind == "SelfSubjectReview":
            info = {"username": user.name, "groups": list(user.groups), "extra": dict(user.extra)}
            return JSONResponse({**answer, "status": {"userInfo": info}}, status_code=201)
        try:
            spec = json.loads(await request.body())["spec"]
            asked = spec.get("resourceAttributes") or {}
            is_path = bool(spec.get("nonResourceAttributes"))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise bad_request("the review has no spec") from None
        access = Access(
            asked.get("verb", ""),
            asked.get("group", ""),
            "/".join(filter(None, (asked.get("resource"), asked.get("subresource")))),
            asked.get("namespace", ""),
            asked.get("name", ""),
        )
        # Of the paths without objects the simulated servers serve only what every user may read.
        allowed = is_path or self._rights.allows(where, user, access)
        return JSONResponse({**answer, "spec": spec, "status": {"allowed": allowed}}, status_code=201)


async def _object(call: Call, name: str) -> dict[str, Any]:
    """Return the object in the body; see `_valid`."""
    return _valid(call, _parsed(await call.request.body(), call), name)


def _valid(call: Call, given: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object; with `name` it must have this one.

    Raises:
        ApiError: it is no object, or does not match the path.
    """
    resource = call.resource
    metadata = given.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    generated = {} if name else {"name": metadata.get("generateName")}
    try:
        Object.model_validate({**given, "metadata": {**generated, **metadata}})
    except ValueError:  # pydantic's is one
        raise invalid(resource.qualified_kind, name, "it is not a valid object") from None
    inside = metadata.get("namespace") or call.namespace
    if (given["apiVersion"], given["kind"]) != (resource.version, resource.kind):
        raise bad_request("the object does not match the path")
    if (name and metadata.get("name") != name) or (resource.namespaced and inside != call.namespace):
        raise bad_request("the object does not match the path")
    return given


def _parsed(body: bytes, call: Call) -> dict[str, Any]:
    if body.startswith(_PROTOBUF):
        accepted = "application/json, application/yaml"
        why = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise ApiError(415, "UnsupportedMediaType", why)
    try:
        try:
            document = json.loads(body)  # JSON is YAML, and much faster to parse
        except ValueError:
            document = read_yaml(body.decode())
    except (ValueError, yaml.YAMLError):
        document = None
    if not isinstance(document, dict):
        raise invalid(call.resource.qualified_kind, call.name, "it is not a valid object")
    return document


def _merged(document: Any, patch: Any) -> Any:
    """Return the document with a JSON merge patch (RFC 7386) applied."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _version(version: str) -> dict[str, str]:
    major, minor = version.removeprefix("v").split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": version,
        "gitCommit": "simulated",
        "gitTreeState": "clean",
        "goVersion": "simulated",
        "compiler": "simulated",
        "platform": "simulated/simulated",
    }


def _not_here(request: Request) -> ApiError:
    return ApiError(404, "NotFound", f"a simulated API server does not serve {request.url.path}")
