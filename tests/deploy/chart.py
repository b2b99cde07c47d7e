"""The chart in `deploy/chart`, rendered and linted by Helm's library; no cluster is asked."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import helm_python
import yaml

from tests.deploy.values import Object
from tests.support.stand_ins import CHECKOUT

#: The parser in C where PyYAML has it: the policies are long.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

CHART = CHECKOUT / "deploy" / "chart"
RELEASE, NAMESPACE = "moorage", "platform"


@cache
def chart() -> Any:
    """Load the chart, once for all tests."""
    return helm_python.Chart.load(str(CHART))


def render(values: Object, *, release: str = RELEASE, revision: int = 1) -> dict[str, str]:
    """Return what Helm makes of the values, by file of the chart."""
    return _rendered(json.dumps(values), release, revision)


@cache
def _rendered(values: str, release: str, revision: int) -> dict[str, str]:
    texts: dict[str, str] = chart().render(
        json.loads(values), name=release, namespace=NAMESPACE, revision=revision, is_upgrade=revision > 1
    )
    return texts


def objects(values: Object, *, release: str = RELEASE, revision: int = 1) -> list[Object]:
    """Return all objects of the chart."""
    texts = render(values, release=release, revision=revision)
    return [
        found
        for file, text in sorted(texts.items())
        if not file.endswith("NOTES.txt")
        for found in yaml.load_all(text, _Loader)
        if found
    ]


def pods(found: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield each pod, or template of one, with the name of its component."""
    for each in found:
        pod = each if each["kind"] == "Pod" else each.get("spec", {}).get("template")
        if each["kind"] in ("Pod", "Deployment", "Job"):
            yield each["metadata"]["labels"]["app.kubernetes.io/component"], pod


def containers(pod: Object) -> list[Object]:
    """Return all containers of a pod, those that run before included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def of_kind(found: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the one object of this kind, and of this name if there are several."""
    matching = [each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(matching) == 1, f"{len(matching)} objects: {kind} {name}"
    return matching[0]
