"""The HTTP API of the simulated host: what `clients.simulated_host` calls, and controls for tests and people.

Everything except the controls under `/-/` needs the bearer token.
"""

import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clients.safe_yaml import write_yaml
from embedded.faults import App
from embedded.host.agents import Agents
from embedded.host.namespaces import Namespaces
from embedded.host.releases import VERSION, Releases
from embedded.host.restores import RestorePods
from embedded.host.schemas import (
    LABELS,
    OBJECTS,
    RELEASE_NAME,
    STATUS,
    NamespacePatch,
    NewNamespace,
    NewRelease,
    Object,
    Refused,
    RequestPatch,
    SigningLimit,
    SnapshotTrouble,
    StartupTrouble,
    StatefulSetPatch,
)
from embedded.host.snapshots import PLURALS, SnapshotRequests
from embedded.host.statefulsets import StatefulSets
from embedded.host.virtual.api import PREFIX
from embedded.host.virtual.authorities import LONGEST_VALIDITY, Authorities

_NAMES = TypeAdapter(list[str])

_IN_NAMESPACE = {
    ("GET", "blockers"): "namespace.blockers",
    ("POST", "objects"): "namespace.apply",
    ("GET", "objects"): "guard.list",
    ("DELETE", "volumes"): "volume.delete",
    ("POST", "ends"): "namespace.force_delete",
    ("GET", "statefulsets"): "statefulset.get",
    ("PATCH", "statefulsets"): "statefulset.patch",
    ("GET", "pods"): "pod.list",
    ("POST", "pods"): "pod.create",
    ("DELETE", "pods"): "pod.delete",
    ("GET", "secrets"): "secret.list",
    ("POST", "secrets"): "secret.create",
    ("DELETE", "secrets"): "secret.delete",
    ("GET", "configmaps"): "configmap.get",
    ("POST", "configmaps"): "configmap.create",
    ("PATCH", "configmaps"): "configmap.patch",
    ("DELETE", "configmaps"): "configmap.delete",
}
_ON_NAMESPACE = {"GET": "namespace.get", "PATCH": "namespace.patch", "DELETE": "namespace.delete"}
_ON_RELEASE = {
    "GET": "release.get",
    "POST": "release.install",
    "PUT": "release.upgrade",
    "DELETE": "release.uninstall",
}
_OF_RELEASE = {
    "startup": "startup.get",
    "volumes": "volume.list",
    "leftovers": "leftovers.get",
    "kubeconfig": "kubeconfig.get",
}
_IN_VIRTUAL = {"readyz": "virtual.readyz", "version": "virtual.version"}
_VIRTUAL_METHODS = {
    "GET": "virtual.read",
    "POST": "virtual.create",
    "PUT": "virtual.update",
    "PATCH": "virtual.apply",
    "DELETE": "virtual.delete",
}
#: On certificate signing requests: each is its own operation, so that faults find it.
_CSR_METHODS = {
    "GET": "virtual.csr.get",
    "POST": "virtual.csr.create",
    "PUT": "virtual.csr.approve",
    "DELETE": "virtual.csr.delete",
}


def operation_of(method: str, path: str) -> str | None:
    """Return the operation of a call, by which faults find it; None without one."""
    if path.startswith(PREFIX):
        rest = path.removeprefix(PREFIX).split("/")[2:]
        if "certificatesigningrequests" in rest:
            return _CSR_METHODS.get(method)
        return _IN_VIRTUAL.get("/".join(rest)) or _VIRTUAL_METHODS.get(method)
    match path.strip("/").split("/"):
        case ["version"]:
            return "host.version"
        case ["nodes"]:
            return "node.list"
        case ["namespaces"]:
            return {"GET": "namespace.list", "POST": "namespace.create"}.get(method)
        case ["namespaces", _]:
            return _ON_NAMESPACE.get(method)
        case ["namespaces", _, "releases", _]:
            return _ON_RELEASE.get(method)
        case ["namespaces", _, "releases", _, what]:
            return _OF_RELEASE.get(what)
        case ["namespaces", _, what, *_]:
            return _IN_NAMESPACE.get((method, what))
    return None


def kubeconfig(namespace: str, release: str, server: str, authority: str, token: str) -> str:
    """Return the kubeconfig of a simulated vCluster. `authority` is a certificate in base64."""
    name = f"simulated/{namespace}/{release}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return write_yaml(document)


def control_api(
    namespaces: Namespaces,
    releases: Releases,
    statefulsets: StatefulSets,
    snapshots: SnapshotRequests,
    restores: RestorePods,
    agents: Agents,
    authorities: Authorities,
    *,
    token: str,
    virtual_url: str,
    authority: str,
    cpu: str,
    memory: str,
) -> App:
    """Return the API as an application.

    `virtual_url` is the URL of the virtual API servers, `cpu` and `memory` the capacity of the one node.
    """

    async def version(_: Request) -> Any:
        return VERSION

    async def nodes(_: Request) -> Any:
        return [{"cpu": cpu, "memory": memory}]

    async def create_namespace(request: Request) -> Any:
        return namespaces.create(NewNamespace.model_validate_json(await request.body()))

    async def list_namespaces(request: Request) -> Any:
        query = request.query_params
        return namespaces.labelled(query.get("label", ""), query.get("value", ""))

    async def get_namespace(request: Request) -> Any:
        return namespaces.get(request.path_params["namespace"])

    async def patch_namespace(request: Request) -> Any:
        patch = NamespacePatch.model_validate_json(await request.body())
        namespaces.patch(request.path_params["namespace"], patch)

    async def label_namespace(request: Request) -> Any:
        namespaces.label(request.path_params["namespace"], LABELS.validate_json(await request.body()))

    async def guards(request: Request) -> Any:
        return namespaces.guards(request.path_params["namespace"])

    async def delete_object(request: Request) -> Any:
        where = request.path_params
        namespaces.delete_object(where["namespace"], where["kind"], where["name"])

    async def delete_namespace(request: Request) -> Any:
        namespace = request.path_params["namespace"]
        namespaces.delete(namespace, request.query_params.get("uid", ""))
        agents.refresh_namespace(namespace)

    async def blockers(request: Request) -> Any:
        return namespaces.blockers(request.path_params["namespace"])

    async def force_delete(request: Request) -> Any:
        return namespaces.force_delete(request.path_params["namespace"])

    async def stubborn(request: Request) -> Any:
        namespaces.set_stubborn(request.path_params["namespace"], _NAMES.validate_json(await request.body()))

    async def apply(request: Request) -> Any:
        namespaces.apply(request.path_params["namespace"], OBJECTS.validate_json(await request.body()))

    async def get_release(request: Request) -> Any:
        return releases.get(*_where(request))

    async def install(request: Request) -> Any:
        namespace, release = _where(request)
        wanted = NewRelease.model_validate_json(await request.body())
        releases.install(namespace, RELEASE_NAME.validate_python(release), wanted)
        agents.refresh((namespace, release))

    async def upgrade(request: Request) -> Any:
        namespace, release = _where(request)
        releases.upgrade(namespace, release, NewRelease.model_validate_json(await request.body()))

    async def uninstall(request: Request) -> Any:
        releases.uninstall(*_where(request))
        agents.refresh(_where(request))

    async def startup(request: Request) -> Any:
        return releases.startup(*_where(request))

    async def get_statefulset(request: Request) -> Any:
        return statefulsets.get(request.path_params["namespace"], request.path_params["name"])

    async def patch_statefulset(request: Request) -> Any:
        patch = StatefulSetPatch.model_validate_json(await request.body())
        return statefulsets.patch(request.path_params["namespace"], request.path_params["name"], patch)

    async def pods(request: Request) -> Any:
        namespace = request.path_params["namespace"]
        return [*statefulsets.pods(namespace), *restores.pods(namespace)]

    async def create_pod(request: Request) -> Any:
        wanted = Object.model_validate_json(await request.body())
        return restores.create(request.path_params["namespace"], wanted.model_dump())

    async def delete_pod(request: Request) -> Any:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        if not restores.delete(namespace, name, request.query_params.get("uid", "")):
            statefulsets.delete_pod(namespace, name)

    async def create_request(request: Request) -> Any:
        wanted = Object.model_validate_json(await request.body())
        return snapshots.create(request.path_params["namespace"], _kind(request), wanted.model_dump())

    async def list_requests(request: Request) -> Any:
        return snapshots.all(request.path_params["namespace"], _kind(request))

    async def get_request(request: Request) -> Any:
        return snapshots.get(request.path_params["namespace"], request.path_params["name"])

    async def patch_request(request: Request) -> Any:
        where, patch = request.path_params, RequestPatch.model_validate_json(await request.body())
        return snapshots.patch(where["namespace"], where["name"], patch)

    async def delete_request(request: Request) -> Any:
        where = request.path_params
        snapshots.delete(where["namespace"], _kind(request), where["name"])

    async def snapshot_trouble(request: Request) -> Any:
        wanted = request.method == "PUT"
        snapshots.trouble = SnapshotTrouble.model_validate_json(await request.body()) if wanted else None

    async def restore_trouble(request: Request) -> Any:
        wanted = request.method == "PUT"
        restores.trouble = SnapshotTrouble.model_validate_json(await request.body()) if wanted else None

    async def volumes(request: Request) -> Any:
        return releases.volumes(*_where(request))

    async def delete_volume(request: Request) -> Any:
        releases.delete_volume(request.path_params["namespace"], request.path_params["volume"])

    async def leftovers(request: Request) -> Any:
        return releases.leftovers(*_where(request))

    async def get_kubeconfig(request: Request) -> Any:
        namespace, release = _where(request)
        token_of_release = releases.kubeconfig_token(namespace, release)
        if token_of_release is None:
            raise Refused(404, f'secrets "vc-{release}" not found')
        server = f"{virtual_url}{PREFIX}{namespace}/{release}"
        return {
            "name": f"vc-{release}",
            "config": kubeconfig(namespace, release, server, authority, token_of_release),
        }

    async def finalizers(request: Request) -> Any:
        namespaces.set_finalizers(
            request.path_params["namespace"], _NAMES.validate_json(await request.body())
        )

    async def release_status(request: Request) -> Any:
        releases.set_status(*_where(request), STATUS.validate_json(await request.body()))

    async def signing(request: Request) -> Any:
        limit = LONGEST_VALIDITY
        if request.method == "PUT":
            limit = timedelta(seconds=SigningLimit.model_validate_json(await request.body()).seconds)
        authorities.longest = limit

    async def trouble(request: Request) -> Any:
        wanted = request.method == "PUT"
        releases.trouble = StartupTrouble.model_validate_json(await request.body()) if wanted else None

    def endpoint_of(handler: Callable[[Request], Awaitable[Any]], *, is_open: bool = False) -> Any:
        async def endpoint(request: Request) -> Response:
            given = request.headers.get("Authorization", "").encode()
            if not is_open and not secrets.compare_digest(given, f"Bearer {token}".encode()):
                return _refusal(401, "the bearer token is missing or wrong")
            try:
                return JSONResponse(await handler(request))
            except Refused as refused:
                return _refusal(refused.status, str(refused))
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                return _refusal(422, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}")

        return endpoint

    namespace, release = "/namespaces/{namespace}", "/namespaces/{namespace}/releases/{release}"
    routed = Starlette(
        routes=[
            Route("/version", endpoint_of(version)),
            Route("/nodes", endpoint_of(nodes)),
            Route("/namespaces", endpoint_of(create_namespace), methods=["POST"]),
            Route("/namespaces", endpoint_of(list_namespaces), methods=["GET"]),
            Route(namespace, endpoint_of(get_namespace)),
            Route(namespace, endpoint_of(patch_namespace), methods=["PATCH"]),
            Route(namespace, endpoint_of(delete_namespace), methods=["DELETE"]),
            Route(f"{namespace}/blockers", endpoint_of(blockers)),
            Route(f"{namespace}/objects", endpoint_of(guards)),
            Route(f"{namespace}/objects", endpoint_of(apply), methods=["POST"]),
            Route(f"{namespace}/ends", endpoint_of(force_delete), methods=["POST"]),
            Route(f"{namespace}/volumes/{{volume}}", endpoint_of(delete_volume), methods=["DELETE"]),
            Route(f"{namespace}/statefulsets/{{name}}", endpoint_of(get_statefulset)),
            Route(f"{namespace}/statefulsets/{{name}}", endpoint_of(patch_statefulset), methods=["PATCH"]),
            Route(f"{namespace}/pods", endpoint_of(pods)),
            Route(f"{namespace}/pods", endpoint_of(create_pod), methods=["POST"]),
            Route(f"{namespace}/pods/{{name}}", endpoint_of(delete_pod), methods=["DELETE"]),
            Route(f"{namespace}/configmaps/{{name}}", endpoint_of(get_request)),
            Route(f"{namespace}/configmaps/{{name}}", endpoint_of(patch_request), methods=["PATCH"]),
            *(
                Route(f"{namespace}/{plural}{rest}", endpoint_of(endpoint), methods=[method])
                for plural in PLURALS
                for rest, endpoint, method in (
                    ("", list_requests, "GET"),
                    ("", create_request, "POST"),
                    ("/{name}", delete_request, "DELETE"),
                )
            ),
            Route(release, endpoint_of(get_release)),
            Route(release, endpoint_of(install), methods=["POST"]),
            Route(release, endpoint_of(upgrade), methods=["PUT"]),
            Route(release, endpoint_of(uninstall), methods=["DELETE"]),
            Route(f"{release}/startup", endpoint_of(startup)),
            Route(f"{release}/volumes", endpoint_of(volumes)),
            Route(f"{release}/leftovers", endpoint_of(leftovers)),
            Route(f"{release}/kubeconfig", endpoint_of(get_kubeconfig)),
            Route(f"/-{namespace}/labels", endpoint_of(label_namespace, is_open=True), methods=["PUT"]),
            Route(f"/-{namespace}/finalizers", endpoint_of(finalizers, is_open=True), methods=["PUT"]),
            Route(f"/-{namespace}/stubborn", endpoint_of(stubborn, is_open=True), methods=["PUT"]),
            Route(
                f"/-{namespace}/objects/{{kind}}/{{name}}",
                endpoint_of(delete_object, is_open=True),
                methods=["DELETE"],
            ),
            Route(f"/-{release}/status", endpoint_of(release_status, is_open=True), methods=["PUT"]),
            Route("/-/signing", endpoint_of(signing, is_open=True), methods=["PUT", "DELETE"]),
            Route("/-/snapshots", endpoint_of(snapshot_trouble, is_open=True), methods=["PUT", "DELETE"]),
            Route("/-/restores", endpoint_of(restore_trouble, is_open=True), methods=["PUT", "DELETE"]),
            Route("/-/trouble", endpoint_of(trouble, is_open=True), methods=["PUT", "DELETE"]),
        ]
    )
    return cast(App, routed)


def _kind(request: Request) -> str:
    return PLURALS[request.url.path.split("/")[3]]


def _where(request: Request) -> tuple[str, str]:
    return request.path_params["namespace"], request.path_params["release"]


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status_code=status)
