"""Values that the chart refuses: each with a sentence that names the place and what is wrong there."""

import re
import textwrap
from typing import Any

import helm_python
import pytest
import yaml

from tests.deploy.chart import chart, objects, render
from tests.deploy.values import MATRIX, Object, with_values
from tests.support.stand_ins import CHECKOUT
from tools.chart_schema import MADE_BY_THE_CHART, SCHEMA, settings_schema, updated_schema, values_paths


def at(place: str, value: Any) -> Object:
    """Return values that have `value` at the place, a path with dots."""
    *parts, last = place.split(".")
    values: Object = {last: value}
    for part in reversed(parts):
        values = {part: values}
    return values


#: The change of the least values, and what the answer says.
MISTAKES = [
    # Names that the chart does not know.
    (at("worker.replica", 3), "at '/worker': additional properties 'replica' not allowed"),
    (at("workers", {}), "at '': additional properties 'workers' not allowed"),
    (at("settings.control_plan", {}), "at '/settings': additional properties 'control_plan' not allowed"),
    (at("settings.hosts.here.adress", "x"), "at '/settings/hosts/here': additional properties 'adress'"),
    (at("secrets.encryptionKey", {}), "at '/secrets': additional properties 'encryptionKey' not allowed"),
    (at("networkPolicy.egress.internet", []), "at '/networkPolicy/egress'"),
    # Secrets have a place of their own, and a ConfigMap or a variable is none.
    (
        at("settings.control_plane.api_key", "x"),
        "at '/settings/control_plane': additional properties",
    ),
    (at("settings.encryption", {"keys": "x"}), "at '/settings': additional properties 'encryption'"),
    (at("settings.hosts.here.token", "x"), "at '/settings/hosts/here': additional properties 'token'"),
    # What the chart makes itself.
    (at("settings.api.port", 80), "at '/settings/api': additional properties 'port'"),
    (at("settings.worker.metrics", "0.0.0.0:1"), "at '/settings/worker': additional properties 'metrics'"),
    (
        at("settings.hosts.here.kubeconfig", "/x"),
        "additional properties 'kubeconfig' not allowed",
    ),
    # What is missing.
    (at("settings.installation", None), "at '/settings': missing property 'installation'"),
    (at("settings.control_plane.url", None), "at '/settings/control_plane': missing property 'url'"),
    (at("settings.hosts.here", None), "at '/settings/hosts': minProperties: got 0, want 1"),
    (at("secrets.apiTokens", None), "at '/secrets': missing property 'apiTokens'"),
    (at("temporal.address", None), "at '/temporal/address': '' does not match pattern"),
    (at("hostKubeconfigs.here", {"worker": {"existingSecret": "x"}}), "hostKubeconfigs.here.api is missing"),
    # Values of the wrong kind.
    (at("settings.installation", "Prod"), "at '/settings/installation': 'Prod' does not match pattern"),
    (at("settings.hosts.Here", {}), "'Here' does not match pattern"),
    (
        at("settings.hosts.here.kind", "simulated"),
        "/hosts/here/kind': value must be 'kubernetes'",
    ),
    (at("settings.hosts.here.exposure", "nodeport"), "value must be one of 'node-port', 'in-cluster'"),
    (at("settings.sweep.interval", "often"), "at '/settings/sweep/interval': 'often' does not match pattern"),
    (at("settings.sweep.concurrency", 0), "at '/settings/sweep/concurrency': minimum: got 0, want 1"),
    (at("settings.worker.max_cached_workflows", "many"), "got string, want integer"),
    (at("settings.log.level", "trace"), "at '/settings/log/level'"),
    (
        at("temporal.address", "http://temporal:7233"),
        "at '/temporal/address': 'http://temporal",
    ),
    (at("temporal.address", "temporal"), "at '/temporal/address': 'temporal' does not match pattern"),
    (at("image.digest", "sha256:12"), "at '/image/digest'"),
    (at("worker.replicas", 0), "at '/worker/replicas': minimum: got 0, want 1"),
    (at("api.service.port", 70000), "at '/api/service/port': maximum: got 70,000, want 65,535"),
    (at("extraEnv", [{"value": "x"}]), "at '/extraEnv/0': missing property 'name'"),
    (at("templates", {"Small.txt": "x"}), "'Small.txt' does not match pattern"),
    (at("setup.only", ["everything"]), "at '/setup/only/0': value must be one of 'files'"),
    # What contradicts itself.
    (at("secrets.apiTokens", {}), "secrets.apiTokens has existingSecret and value: give one of them"),
    (at("secrets.identityToken", {}), "secrets.identityToken has neither existingSecret nor value"),
    (at("hostKubeconfigs.there", {}), "hostKubeconfigs.there is for no host: settings.hosts has here"),
    (at("settings.identity", {"url": "https://idp.example/scim"}), "settings.identity needs a credential"),
    (at("worker", {"autoscaling": {"enabled": True}, "keda": {"enabled": True}}), "are both enabled"),
    (at("api.ingress.enabled", True), "api.ingress.host is missing"),
    (at("api.httpRoute.enabled", True), "api.httpRoute.parentRefs is missing"),
    (at("codecServer.enabled", True), "settings.codec_server.ui is missing"),
    (at("temporal.tls.caKey", "ca.crt"), "temporal.tls.existingSecret is missing"),
    (
        {"templates": {"small.yaml": "x"}, "existingTemplatesConfigMap": "x"},
        "templates and existingTemplatesConfigMap are both given",
    ),
]


@pytest.mark.parametrize(("change", "expected"), MISTAKES, ids=[text for _, text in MISTAKES])
def test_mistakes_are_refused(change: Object, expected: str) -> None:
    if "existingSecret and value" in expected:
        change = at("secrets.apiTokens", {"value": "x"})
    if "hostKubeconfigs.there" in expected:
        change = at("hostKubeconfigs.there", {name: {"existingSecret": "x"} for name in ("worker", "api")})
    with pytest.raises(helm_python.HelmError) as refusal:
        render(with_values(change))
    assert expected in str(refusal.value)


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_values_of_the_tests_are_accepted(values: Object) -> None:
    chart().validate_schema(values)


def test_values_of_the_page_are_accepted() -> None:
    """Ensures that the examples of the how-to page render, the first alone and the others on top of it."""
    page = (CHECKOUT / "docs" / "how-to" / "install-with-helm.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    first, *others = [yaml.safe_load(textwrap.dedent(text)) for _, text in blocks]
    assert len(others) == 4
    assert objects(first)
    for change in others:
        assert objects(with_values(change, base=first))


def test_schema_is_current() -> None:
    assert updated_schema() == SCHEMA.read_text(encoding="utf-8"), "run make reference"


def test_schema_has_every_setting_once() -> None:
    """Ensures that what the chart makes itself is not a value, and everything else is one."""
    settings = settings_schema()
    for path in values_paths():
        part = settings
        for name in path:
            part = part["additionalProperties"] if name == "<name>" else part["properties"][name]
        assert part["description"]
        assert ".".join(path) not in MADE_BY_THE_CHART


def test_defaults_alone_are_refused() -> None:
    """Ensures that a chart without values says what it needs, and installs nothing."""
    with pytest.raises(helm_python.HelmError) as refusal:
        render({})
    for place in ("'/settings'", "'/secrets'", "'/temporal/address'"):
        assert place in str(refusal.value)
