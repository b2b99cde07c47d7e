"""The OpenAPI document: whole, with examples, and true about errors."""

import re
from urllib.parse import urljoin

import httpx

from embedded.stack.stack import Stack
from starter.environments.schemas import Done, EnvironmentView
from tests.support.stand_ins import TLS


async def test_the_document(stack: Stack) -> None:
    """Ensures that every operation is described, needs the token, and that its errors are problem details."""
    async with httpx.AsyncClient(trust_env=False, verify=TLS) as http:
        document = (await http.get(f"{stack.api_url}/api/v1/openapi.json")).json()
        assert (await http.get(f"{stack.api_url}/docs")).status_code == 200
    operations = {
        (method.upper(), path.removeprefix("/api/v1")): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("GET", "/templates"),
        ("GET", "/templates/{name}"),
        ("POST", "/environments"),
        ("GET", "/environments"),
        ("POST", "/requests/check"),
        ("POST", "/environments/{name}/resize"),
        ("POST", "/environments/{name}/upgrade"),
        ("POST", "/environments/{name}/snapshots"),
        ("POST", "/environments/{name}/restore"),
        ("GET", "/environments/{name}"),
        ("GET", "/environments/{name}/events"),
        ("GET", "/environments/{name}/kubeconfig"),
        ("POST", "/environments/{name}/credential"),
        ("DELETE", "/environments/{name}"),
        ("POST", "/environments/{name}/cancel"),
        ("POST", "/environments/{name}/resume-teardown"),
        ("POST", "/environments/{name}/force-teardown"),
        ("POST", "/environments/{name}/extend"),
        ("POST", "/environments/{name}/sleep"),
        ("PUT", "/environments/{name}/sleep-policy"),
        ("POST", "/environments/{name}/wake"),
        ("GET", "/environments/{name}/history"),
        ("PUT", "/environments/{name}/collaborators/{person}"),
        ("POST", "/environments/{name}/transfer"),
        ("DELETE", "/environments/{name}/collaborators/{person}"),
        ("GET", "/leavers"),
        ("POST", "/leavers"),
        ("GET", "/leavers/{run_id}"),
        ("POST", "/rollouts"),
        ("GET", "/rollouts/{template}"),
        ("POST", "/rollouts/{template}/stop"),
        ("GET", "/reconcile"),
        ("POST", "/reconcile"),
        ("GET", "/reconcile/{run_id}"),
        ("GET", "/freeze"),
        ("PUT", "/freeze"),
        ("DELETE", "/freeze"),
        ("POST", "/sweeps"),
        ("GET", "/sweeps/{run_id}"),
        ("GET", "/capacity"),
        ("GET", "/pools"),
        ("POST", "/pools/{template}/resume"),
        ("POST", "/bookings"),
        ("GET", "/bookings"),
        ("GET", "/bookings/{event}"),
        ("DELETE", "/bookings/{event}"),
        ("POST", "/bookings/{event}/codes"),
        ("POST", "/seats"),
        ("GET", "/sign-in"),
        ("GET", "/whoami"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }
    for (_, path), operation in operations.items():
        assert operation["description"]
        assert bool(operation.get("security")) == (path not in ("/healthz", "/readyz", "/sign-in"))
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]
    media = operations["GET", "/environments/{name}/events"]["responses"]["200"]["content"]
    assert list(media) == ["text/event-stream"]
    media = operations["GET", "/environments/{name}/kubeconfig"]["responses"]["200"]["content"]
    assert list(media) == ["application/yaml"]
    schemas = document["components"]["schemas"]
    assert len(schemas["EnvironmentRequest"]["examples"]) == 2
    for model in (Done, EnvironmentView):
        assert set(schemas[model.__name__]["properties"]) == set(model.model_fields)


async def test_the_docs_load_nothing_from_elsewhere(stack: Stack) -> None:
    """Ensures that the page works where nothing else is reached, and that no stranger's script runs in it."""
    async with httpx.AsyncClient(base_url=stack.api_url, trust_env=False, verify=TLS) as http:
        page = await http.get("/docs")
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        addresses += re.findall(r"url: '([^']+)'", page.text)
        assert len(addresses) == 4, f"the page has not what it needs: {page.status_code} {addresses}"
        document = (await http.get("/api/v1/openapi.json")).json()
        for address in addresses:
            # Behind a proxy that serves the API under a path, and cuts that path off.
            seen = urljoin("https://moorage.example/some/path/docs", address)
            assert seen.startswith("https://moorage.example/some/path/"), f"it loads {address}"
            path = seen.removeprefix("https://moorage.example/some/path")
            assert (await http.get(path)).status_code == 200, f"{address} is not served"
        [server] = document["servers"]
        of_document = urljoin("https://moorage.example/some/path/", "api/v1/openapi.json")
        assert urljoin(of_document, server["url"]) == "https://moorage.example/some/path/"
