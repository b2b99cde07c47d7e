"""Route of the kubeconfig."""

from fastapi import APIRouter, Response

from starter.api.dependencies import CallerDep, KubeconfigDep

MEDIA_TYPE = "application/yaml"

router = APIRouter(tags=["environments"])


@router.get(
    "/environments/{name}/kubeconfig",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "the kubeconfig, without any secret"}},
)
async def read_kubeconfig(name: str, kubeconfigs: KubeconfigDep, caller: CallerDep) -> Response:
    """Read the kubeconfig of an environment that can be used, for its owner and collaborators.

    It holds no secret: `kubectl` runs `moorage credential` for one.
    """
    text = await kubeconfigs.read(name, caller)
    return Response(text, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
