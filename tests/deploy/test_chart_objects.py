"""Every object that the chart makes: valid, restricted, labelled, and whole with the others."""

import importlib
import re
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from contracts.environment_workflow import TASK_QUEUE, undo_queue
from tests.deploy.chart import CHART, NAMESPACE, RELEASE, chart, containers, objects, of_kind, pods, render
from tests.deploy.values import EVERYTHING, GATEWAY, LEAST, MATRIX, NOTHING_MORE, PLANTED, Object, with_values
from tests.support.stand_ins import CHECKOUT

CODEC = {"settings": {"codec_server": {"ui": "https://ui.example"}}, "codecServer": {"enabled": True}}
cases = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
#: Kinds of others' operators, whose schemas are not Kubernetes': what each must have in its spec.
CUSTOM = {
    "monitoring.coreos.com/v1 ServiceMonitor": {"selector", "endpoints"},
    "monitoring.coreos.com/v1 PodMonitor": {"selector", "podMetricsEndpoints"},
    "monitoring.coreos.com/v1 PrometheusRule": {"groups"},
    "keda.sh/v1alpha1 ScaledObject": {"scaleTargetRef", "triggers", "minReplicaCount", "maxReplicaCount"},
    "gateway.networking.k8s.io/v1 HTTPRoute": {"parentRefs", "rules"},
}


def model_of(each: Object) -> Any:
    """Return the model that Kubernetes' own client has for the object; it forbids unknown fields."""
    version = each["apiVersion"].split("/")[-1]
    name = version.title() + each["kind"]
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(f"kubernetes.client.models.{module}"), name)


@cases
def test_chart_passes_lint(values: Object) -> None:
    report = helm_python.chart.lint(str(CHART), values, strict=True, kube_version="v1.30.0")
    # An icon is for catalogues of charts.
    assert not [each for each in report["messages"] if "icon is recommended" not in each["error"]]


@cases
def test_objects_fit_the_schemas_of_kubernetes(values: Object) -> None:
    found = objects(values)
    for each in found:
        kind = f"{each['apiVersion']} {each['kind']}"
        if kind in CUSTOM:
            assert set(each["spec"]) >= CUSTOM[kind]
        else:
            model_of(each).model_validate(each)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in found]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", name) for _, _, name in names)


def test_schema_check_finds_an_unknown_field() -> None:
    """Ensures that the check above is one."""
    [deployment, *_] = [each for each in objects(LEAST) if each["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(ValueError, match="livenesProbe"):
        model_of(deployment).model_validate(deployment)


@cases
def test_pods_are_restricted(values: Object) -> None:
    """Ensures the Pod Security Standard `restricted`, a read-only root, and memory that is limited."""
    found = list(pods(objects(values)))
    assert {name for name, _ in found} >= {"worker", "api", "test"}
    for component, pod in found:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["enableServiceLinks"] is False
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"], component
            assert container["resources"]["requests"]["cpu"]
            assert "hostPort" not in str(container.get("ports"))
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "projected", "secret", "configMap", "persistentVolumeClaim"}


@cases
def test_mounts_and_accounts_lead_somewhere(values: Object) -> None:
    found = objects(values)
    made = {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    given = {
        account["name"]
        for account in chart().merge_values(values)["serviceAccounts"].values()
        if not account["create"]
    }
    for component, pod in pods(found):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert pod["spec"]["serviceAccountName"] in made | given, component
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert len(set(paths)) == len(paths)


@cases
def test_objects_have_the_recommended_labels(values: Object) -> None:
    for each in objects(values):
        labels = each["metadata"]["labels"]
        for name in ("name", "instance", "version", "component", "part-of", "managed-by"):
            assert labels[f"app.kubernetes.io/{name}"], each["kind"]
        assert labels["helm.sh/chart"].startswith("moorage-")


@cases
def test_selectors_choose_the_pods_of_one_component(values: Object) -> None:
    """Ensures that Services, budgets, policies and monitors have pods, and none of another component."""
    found = objects(values)
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(found)}

    def chosen(selector: Object) -> set[str]:
        wanted = selector.get("matchLabels", selector)
        return {name for name, has in labels.items() if wanted.items() <= has.items()}

    for each in found:
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        if each["kind"] == "Deployment" or each["kind"] in ("Service", "PodDisruptionBudget"):
            assert chosen(each["spec"]["selector"]) == {component}
        elif each["kind"] == "NetworkPolicy":
            assert chosen(each["spec"]["podSelector"]) == {component}
        elif each["kind"] == "HorizontalPodAutoscaler":
            of_kind(found, "Deployment", each["spec"]["scaleTargetRef"]["name"])


def test_selectors_stay_over_upgrades() -> None:
    """Ensures that an upgrade to any values and version can be applied: selectors are immutable."""
    more = {name: value for name, value in EVERYTHING.items() if name != "nameOverride"}
    selectors = []
    for values, revision in ((LEAST, 1), (more, 2)):
        found = objects(values, revision=revision)
        selectors.append(
            {
                name: of_kind(found, "Deployment", f"moorage-{name}")["spec"]["selector"]
                for name in ("worker", "api")
            }
        )
        for selector in selectors[-1].values():
            assert set(selector["matchLabels"]) == {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }
    assert selectors[0] == selectors[1]


def test_setup_has_a_job_for_each_install_and_upgrade() -> None:
    """Ensures that no Job is changed, because Kubernetes refuses that: each change is another Job."""

    def name(values: Object, revision: int) -> str:
        return str(of_kind(objects(values, revision=revision), "Job")["metadata"]["name"])

    again = name(LEAST, 1)
    others = {name(LEAST, 2), name(with_values({"image": {"tag": "2"}}), 1)}
    assert name(LEAST, 1) == again
    assert len({again} | others) == 3


def test_setup_runs_what_the_worker_needs_first() -> None:
    spec = of_kind(objects(LEAST), "Job")["spec"]
    [first], [then] = spec["template"]["spec"]["initContainers"], spec["template"]["spec"]["containers"]
    assert first["args"] == ["setup", "--only", "temporal"]
    assert then["args"] == ["setup"]
    # The logs of a pod that failed stay.
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    job = of_kind(objects(EVERYTHING), "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "setup",
        "--only",
        "temporal",
        "--only",
        "hosts",
    ]
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"


def test_replicas_are_left_to_the_autoscaler() -> None:
    """Ensures that an upgrade does not undo what an autoscaler has decided."""
    for values, scaled in ((LEAST, set()), (EVERYTHING, {"worker", "api"}), (NOTHING_MORE, {"worker"})):
        deployments = [each for each in objects(values) if each["kind"] == "Deployment"]
        without = {
            each["metadata"]["labels"]["app.kubernetes.io/component"]
            for each in deployments
            if "replicas" not in each["spec"]
        }
        assert without == scaled
    triggers = of_kind(objects(EVERYTHING), "ScaledObject")["spec"]["triggers"]
    assert [each["metadata"]["taskQueue"] for each in triggers] == [TASK_QUEUE, undo_queue(TASK_QUEUE)]
    assert all(isinstance(text, str) for each in triggers for text in each["metadata"].values())


def test_probes_ask_what_the_processes_answer() -> None:
    found = dict(pods(objects(EVERYTHING)))
    [api], [worker], [codec] = (
        found[name]["spec"]["containers"] for name in ("api", "worker", "codec-server")
    )
    assert api["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert codec["readinessProbe"]["httpGet"]["path"] == "/healthz"
    ready = next(each["value"] for each in worker["env"] if each["name"] == "MOORAGE_READY_FILE")
    assert worker["readinessProbe"]["exec"]["command"] == ["test", "-f", ready]
    # Restarts repair nothing that keeps the worker from Temporal; a process that has failed ends.
    assert "livenessProbe" not in worker


def test_worker_has_time_for_its_graceful_shutdown() -> None:
    [worker] = [pod for name, pod in pods(objects(LEAST)) if name == "worker"]
    assert worker["spec"]["terminationGracePeriodSeconds"] > 25


@cases
def test_secrets_are_in_secrets_alone(values: Object) -> None:
    """Ensures that no value of a secret is in a ConfigMap, a variable, an argument or a note."""
    for file, text in render(values).items():
        assert PLANTED not in text, file
    if values is EVERYTHING:
        assert len(of_kind(objects(values), "Secret")["data"]) == len(EVERYTHING["secrets"])


def test_secret_check_finds_a_planted_secret() -> None:
    """Ensures that the check above is one: it would find a secret given as a plain variable."""
    careless = with_values({"extraEnv": [{"name": "OKTA", "value": PLANTED}]})
    assert any(PLANTED in text for text in render(careless).values())


def test_no_account_token_where_no_host_is_this_cluster() -> None:
    for name, expected in (("least", True), ("everything", True), ("other hosts", False)):
        for component, pod in pods(objects(MATRIX[name])):
            mounts = pod["spec"]["automountServiceAccountToken"]
            assert mounts is (expected and component != "codec-server"), (name, component)


def test_ways_in() -> None:
    found = objects(EVERYTHING)
    ingress = of_kind(found, "Ingress", "moorage-berths-api")["spec"]
    service = ingress["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert of_kind(found, "Service", service["name"])["spec"]["ports"][0]["name"] == service["port"]["name"]
    assert ingress["tls"] == [{"hosts": ["moorage.example.com"], "secretName": "moorage-tls"}]
    route = of_kind(objects(GATEWAY), "HTTPRoute", "moorage-api")["spec"]
    assert route["rules"][0]["backendRefs"] == [{"name": "moorage-api", "port": 7400}]
    assert not [each for each in objects(LEAST) if each["kind"] in ("Ingress", "HTTPRoute")]


def test_metrics_have_no_way_in() -> None:
    """Ensures that the Service that people reach has no port of the metrics, which need no token."""
    found = objects(EVERYTHING)
    assert [port["name"] for port in of_kind(found, "Service", "moorage-berths-api")["spec"]["ports"]] == [
        "http"
    ]
    for component in ("worker", "api"):
        [port] = of_kind(found, "Service", f"moorage-berths-{component}-metrics")["spec"]["ports"]
        [pod] = [pod for name, pod in pods(found) if name == component]
        named = {each["name"]: each["containerPort"] for each in pod["spec"]["containers"][0]["ports"]}
        assert named[port["targetPort"]] == port["port"]


@cases
def test_everything_of_the_namespace_is_in_the_namespace(values: Object) -> None:
    for each in objects(values):
        if not each["metadata"]["name"].startswith("moorage-") or each["kind"] == "Deployment":
            assert each["metadata"]["namespace"] == NAMESPACE


def test_names_fit_for_the_longest_name_of_a_release() -> None:
    """Ensures that no name and no label is longer than the 63 characters that Kubernetes allows."""
    for each in objects(with_values(CODEC), release="r" * 53):
        metadata = each["metadata"]
        assert len(metadata["name"]) <= 63
        assert all(len(str(value)) <= 63 for value in metadata["labels"].values())


def test_package_has_the_rights(tmp_path: Path) -> None:
    """Ensures that a packaged chart has the file of the rights and not a link that leads nowhere."""
    package = helm_python.chart.package(str(CHART), destination=str(tmp_path))
    with helm_python.Chart.load(package) as packed:
        texts = packed.render(LEAST, name=RELEASE, namespace=NAMESPACE)
    assert texts["moorage/templates/rights.yaml"] == render(LEAST)["moorage/templates/rights.yaml"]


def test_versions_are_those_of_the_package() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    package = re.search(r'^version = "(.+)"$', (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE)
    assert package
    assert about["version"] == about["appVersion"] == package[1]


def test_helm_test_is_a_hook_that_leaves_nothing_when_it_succeeds() -> None:
    pod = of_kind(objects(LEAST), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "hook-succeeded" in pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert pod["spec"]["containers"][0]["args"] == ["doctor"]
    assert pod["spec"]["restartPolicy"] == "Never"


def test_notes_say_what_comes_next() -> None:
    notes = render(LEAST)["moorage/templates/NOTES.txt"]
    assert [line[0] for line in notes.splitlines() if re.match(r"\d\. ", line)] == ["1", "2", "3"]
    assert "port-forward" in notes
    assert "apiControlPlaneApiKey" in notes
    public = render(EVERYTHING)["moorage/templates/NOTES.txt"]
    assert "moorage login https://moorage.example.com" in public
    assert "Warning" not in public
    assert "trusted_proxies is empty" in render(GATEWAY)["moorage/templates/NOTES.txt"]
