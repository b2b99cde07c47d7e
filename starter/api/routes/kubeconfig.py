"""Route of the kubeconfig."""

from fastapi import APIRouter, Response

from starter.api.dependencies import CallerDep, KubeconfigDep

MEDIA_TYPE = "application/yaml"

router = APIRouter(tags=["environments"])


@router.get(
    "/environments/{name}/kubeconfig",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "the kubeconfig: keep it to yourself"}},
)
async def read_kubeconfig(name: str, kubeconfigs: KubeconfigDep, caller: CallerDep) -> Response:
    """Read the kubeconfig of an environment that can be used, for its owner and collaborators."""
    kubeconfig = await kubeconfigs.read(name, caller)
    return Response(kubeconfig.text(), media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
