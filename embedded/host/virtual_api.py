"""The simulated API servers of the vClusters: enough for a first call, kubectl get and server-side apply.

They keep objects and run nothing. Each serves `/vclusters/NAMESPACE/RELEASE`, for its own token only.
"""

import json
import secrets
from collections.abc import Mapping, MutableMapping
from typing import Any, cast
from urllib.parse import unquote

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from embedded.faults import App, Receive, Scope, Send
from embedded.host.agents import Agents
from embedded.host.releases import Releases
from embedded.host.schemas import Object
from embedded.host.virtual_objects import RESOURCES, Resource, VirtualObjects

PREFIX = "/vclusters/"
#: Short names that people type; not all that Kubernetes has.
_SHORT_NAMES = {
    "configmaps": ["cm"],
    "deployments": ["deploy"],
    "namespaces": ["ns"],
    "pods": ["po"],
    "serviceaccounts": ["sa"],
    "services": ["svc"],
}
_PROBES = frozenset({"readyz", "livez", "healthz"})


def virtual_servers(releases: Releases, objects: VirtualObjects, agents: Agents) -> App:
    """Return all of them as one ASGI application."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await answer(request)
        await response(cast(MutableMapping[str, Any], scope), receive, cast(Any, send))

    async def answer(request: Request) -> Response:
        parts = request.url.path.removeprefix(PREFIX).strip("/").split("/")
        if not request.url.path.startswith(PREFIX) or len(parts) < 2:
            return _status(404, "NotFound", "there is no simulated vCluster at this path")
        where, rest = (parts[0], parts[1]), [unquote(part) for part in parts[2:]]
        token = releases.token(*where)
        given = request.headers.get("Authorization", "").encode()
        if token is None or not secrets.compare_digest(given, f"Bearer {token}".encode()):
            return _status(401, "Unauthorized", "Unauthorized")
        if releases.seconds_to_ready(*where) != 0:
            return _status(503, "ServiceUnavailable", "the simulated vCluster is still starting")
        match rest:
            case [probe] if probe in _PROBES:
                return PlainTextResponse("ok")
            case ["version"]:
                return JSONResponse(_version(releases.kubernetes_version(*where)))
            case ["api"]:
                return JSONResponse({"kind": "APIVersions", "versions": ["v1"]})
            case ["apis"]:
                return JSONResponse(_groups())
            case ["api", "v1", *path]:
                return await serve_resources(request, where, "v1", path)
            case ["apis", group, number, *path]:
                return await serve_resources(request, where, f"{group}/{number}", path)
        return _not_here(request)

    async def serve_resources(
        request: Request, where: tuple[str, str], group_version: str, path: list[str]
    ) -> Response:
        resources = RESOURCES.get(group_version)
        if resources is None:
            return _not_here(request)
        namespace: str | None = None
        match path:
            case []:
                return JSONResponse(_resource_list(group_version, resources))
            case ["namespaces", inside, plural, *more]:
                namespace, path = inside, [plural, *more]
        resource = resources.get(path[0])
        if resource is None or len(path) > 2:
            return _not_here(request)
        if len(path) == 1 and request.method == "GET":
            return JSONResponse(
                {
                    "kind": f"{resource.kind}List",
                    "apiVersion": group_version,
                    "metadata": {"resourceVersion": "1"},
                    "items": objects.list(where, resource, namespace),
                }
            )
        if len(path) == 2 and resource.namespaced == (namespace is not None):
            if request.method == "GET":
                found = objects.get(where, resource, namespace or "", path[1])
                return JSONResponse(found) if found else _missing(resource, path[1])
            if request.method == "PATCH":
                return await apply(request, where, resource, namespace or "", path[1])
        return _status(
            405, "MethodNotAllowed", "a simulated API server serves get, list and server-side apply"
        )

    async def apply(
        request: Request, where: tuple[str, str], resource: Resource, namespace: str, name: str
    ) -> Response:
        if not request.headers.get("Content-Type", "").startswith("application/apply-patch+yaml"):
            return _status(415, "UnsupportedMediaType", "a simulated API server knows server-side apply only")
        if not request.query_params.get("fieldManager"):
            return _status(400, "BadRequest", "fieldManager is required for apply patch")
        try:
            given = _document(await request.body())
            Object.model_validate(given)
        except (ValueError, yaml.YAMLError):  # pydantic's is a ValueError
            return _status(422, "Invalid", f"{resource.kind} {name} is not a valid object")
        if (given["apiVersion"], given["kind"], given["metadata"]["name"]) != (
            resource.version,
            resource.kind,
            name,
        ):
            return _status(400, "BadRequest", "the object does not match the path")
        document = objects.apply(where, resource, namespace, name, given)
        if document is None:
            return _status(404, "NotFound", f'namespaces "{namespace}" not found')
        if resource.kind in ("Secret", "Deployment"):  # what an agent consists of
            agents.refresh(where)
        return JSONResponse(document)

    return serve


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)  # JSON is YAML, and much faster to parse
    except ValueError:
        document = yaml.safe_load(body)
    if not isinstance(document, dict):
        raise ValueError("no object")
    return document


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


def _groups() -> dict[str, Any]:
    groups = []
    for version in RESOURCES:
        group, slash, number = version.partition("/")
        if slash:
            entry = {"groupVersion": version, "version": number}
            groups.append({"name": group, "versions": [entry], "preferredVersion": entry})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resource_list(group_version: str, resources: Mapping[str, Resource]) -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": [
            {
                "name": resource.plural,
                "singularName": resource.kind.lower(),
                "shortNames": _SHORT_NAMES.get(resource.plural, []),
                "kind": resource.kind,
                "namespaced": resource.namespaced,
                "verbs": ["get", "list", "patch"],
            }
            for resource in resources.values()
        ],
    }


def _missing(resource: Resource, name: str) -> Response:
    return _status(404, "NotFound", f'{resource.plural} "{name}" not found')


def _not_here(request: Request) -> Response:
    return _status(404, "NotFound", f"a simulated API server does not serve {request.url.path}")


def _status(code: int, reason: str, message: str) -> Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return JSONResponse(body, status_code=code)
