"""What the processes read of the chart's variables and files: the values, and each its own secrets."""

import base64
import json
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart import CHART, NAMESPACE, chart, containers, objects, of_kind, pods
from tests.deploy.values import (
    EVERYTHING,
    GATEWAY,
    HOST_WORKERS,
    LEAST,
    MATRIX,
    ONLY_OTHER_HOSTS,
    OWN_WORKER_HERE,
    Object,
    with_values,
)
from worker.settings.groups.hosts import KubernetesHostCluster
from worker.settings.loading import (
    load_api_settings,
    load_codec_server_settings,
    load_host_worker_settings,
    load_settings,
)
from worker.settings.models import CodecServerSettings, Settings
from worker.settings.reference import describe_settings
from worker.settings.sources import OTHER_VARIABLES, field_at, is_secret, paths, variable
from worker.tracing.settings import TraceExport, read_trace_settings

#: A file for each secret that the settings check when they are read.
CONTENT = {
    "encryption-keys": base64.b64encode(b"planted-key-of-thirty-two-bytes!").decode(),
    "notices-webhook-secret": "whsec_" + base64.b64encode(b"x" * 32).decode(),
    "audit-log-webhook-secret": "whsec_" + base64.b64encode(b"y" * 32).decode(),
    "notices-slack-url": "https://hooks.slack.com/services/x",
}
#: Variables of Temporal's SDK; `temporalio.envconfig` reads them.
TEMPORAL = {
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "TEMPORAL_API_KEY",
    "TEMPORAL_TLS",
    "TEMPORAL_TLS_SERVER_NAME",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
}
#: Variables of OpenTelemetry; `worker.tracing.settings` reads them.
OPENTELEMETRY = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
cases = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)


def pod_of(values: Object, component: str) -> Object:
    [pod] = [pod for name, pod in pods(objects(values)) if name == component]
    return pod


def environment_of(values: Object, component: str, folder: Path) -> dict[str, str]:
    """Return the variables of the component, with its secrets as files in the folder."""
    pod = pod_of(values, component)
    [secrets] = [each for each in pod["spec"]["volumes"] if each["name"] == "secrets"]
    for source in secrets["projected"]["sources"]:
        for item in source["secret"]["items"]:
            (folder / item["path"]).write_text(CONTENT.get(item["path"], f"secret-of-{item['path']}"))
    return {
        each["name"]: each.get("value", "").replace("/run/moorage", str(folder))
        for each in containers(pod)[-1]["env"]
    }


def settings_of(values: Object, component: str, folder: Path) -> Settings:
    """Return the settings that the process of this component reads."""
    load = load_api_settings if component == "api" else load_settings
    return load(environment_of(values, component, folder))


@cases
def test_variables_are_known(values: Object) -> None:
    """Ensures that every variable of every container is a setting, or a value that the user has written."""
    known = [each.name for each in describe_settings()]
    given = {each["name"] for part in (values, values.get("worker", {})) for each in part.get("extraEnv", [])}
    hosts = values["settings"]["hosts"]
    names = {name.replace("<name>", host.upper()) for name in known for host in hosts}
    names |= {f"{name}_FILE" for name in names} | set(OTHER_VARIABLES) | {"MOORAGE_QUOTAS__TEAMS"}
    for component, pod in pods(objects(values)):
        for container in containers(pod):
            used = [each["name"] for each in container["env"]]
            assert len(set(used)) == len(used), component
            assert set(used) <= names | TEMPORAL | OPENTELEMETRY | given, component


@cases
@pytest.mark.parametrize("component", ["worker", "api", "setup", "test"])
def test_processes_can_use_their_settings(values: Object, component: str, tmp_path: Path) -> None:
    if component == "setup" and not values.get("setup", {}).get("enabled", True):
        return
    settings = settings_of(values, component, tmp_path)
    assert settings.installation == values["settings"]["installation"]
    assert set(settings.hosts) == set(values["settings"]["hosts"])
    for host in settings.hosts.values():
        assert isinstance(host, KubernetesHostCluster)


def test_values_arrive_as_they_are_written(tmp_path: Path) -> None:
    """Ensures that lists, labels, numbers and names of teams reach the process unchanged."""
    worker = settings_of(EVERYTHING, "worker", tmp_path)
    here, harbour = worker.hosts["here"], worker.hosts["harbour"]
    assert isinstance(here, KubernetesHostCluster)
    assert isinstance(harbour, KubernetesHostCluster)
    assert here.labels == {"zone": "eu", "gpu": "yes"}
    assert (here.capacity.environments, here.capacity.cpu) == (20, "16")
    assert [peer.ports for peer in here.reachable] == [(443, 8443), (443,)]
    assert here.kubeconfig is None
    assert here.api_account == f"{NAMESPACE}/clerk"
    assert harbour.kubeconfig == tmp_path / "harbour.kubeconfig"
    assert worker.quotas.teams["Blue Team"].environments == 5
    assert worker.notices.platform_team == ("one@example.com", "two@example.com")
    assert worker.sweep.ends_per_second == 2.5
    assert worker.sweep.leavers_per_minute == 60000
    assert worker.worker.max_cached_workflows == 400
    assert worker.worker.metrics == "0.0.0.0:9464"
    assert worker.audit_log.file == Path("/var/lib/moorage/audit-log/audit-log.jsonl")
    api = settings_of(EVERYTHING, "api", tmp_path)
    assert [str(network) for network in api.api.trusted_proxies] == ["10.0.0.0/24", "10.0.1.0/24"]
    assert api.api.public_url == "https://moorage.example.com"
    assert api.api.issuers_file == Path("/etc/moorage/issuers/issuers.yaml")
    assert api.templates == Path("/etc/moorage/templates")
    assert (api.api.bind, api.api.port, api.api.metrics) == ("0.0.0.0", 7400, "0.0.0.0:9465")


def test_api_has_its_own_credentials(tmp_path: Path) -> None:
    """Ensures that the API gets none of the worker's credentials where it has credentials that only read."""
    api = settings_of(EVERYTHING, "api", tmp_path)
    assert api.identity
    assert api.identity.client_secret
    assert api.identity.client_secret.get_secret_value() == "secret-of-api-identity-client-secret"
    assert api.control_plane.api_key.get_secret_value() == "secret-of-api-control-plane-api-key"
    assert files_of(EVERYTHING, "api") == {
        "encryption-keys",
        "api-tokens",
        "api-control-plane-api-key",
        "api-identity-client-secret",
    }
    [harbour] = [
        source["secret"]
        for source in volume_of(EVERYTHING, "api")
        if source["secret"]["items"][0]["path"] == "harbour.kubeconfig"
    ]
    assert harbour["name"] == "harbour-api"


def test_api_without_credentials_gets_those_that_it_needs(tmp_path: Path) -> None:
    api = settings_of(LEAST, "api", tmp_path)
    assert api.control_plane.api_key.get_secret_value() == "secret-of-control-plane-api-key"
    provider = with_values(
        {
            "settings": {"identity": {"url": "https://idp.example/scim/v2"}},
            "secrets": {"identityToken": {"existingSecret": "scim", "key": "token"}},
        }
    )
    api = settings_of(provider, "api", tmp_path)
    assert api.identity
    assert api.identity.token
    assert api.identity.token.get_secret_value() == "secret-of-identity-token"
    # With an identity provider, the API asks the control plane nothing.
    assert files_of(provider, "api") == {"api-tokens", "encryption-keys", "identity-token"}


def test_each_component_has_the_secrets_that_it_needs() -> None:
    notices = {"notices-webhook-secret", "notices-slack-url", "notices-smtp-password"}
    assert files_of(EVERYTHING, "codec-server") == {"api-tokens", "encryption-keys"}
    assert files_of(EVERYTHING, "worker") >= notices | {"audit-log-webhook-secret", "control-plane-api-key"}
    assert "api-tokens" not in files_of(EVERYTHING, "worker")
    for component in ("api", "setup", "test"):
        assert not files_of(EVERYTHING, component) & notices


def test_codec_server_gets_what_it_needs_and_no_more(tmp_path: Path) -> None:
    for values in (EVERYTHING, GATEWAY):
        environ = environment_of(values, "codec-server", tmp_path)
        settings = load_codec_server_settings(environ)
        assert isinstance(settings, CodecServerSettings)
        assert settings.codec_server.port == 7401
        assert not any(name.startswith(("MOORAGE_CONTROL_PLANE", "TEMPORAL")) for name in environ)
    assert settings.codec_server.ui == ("https://one.example.com", "https://two.example.com")


def test_a_variable_of_the_user_wins_and_stands_once(tmp_path: Path) -> None:
    """Ensures that no name is given twice, which server-side apply refuses."""
    values = with_values(
        {
            "extraEnv": [
                {"name": "TEMPORAL_NAMESPACE", "value": "one"},
                {"name": "LOG", "value": "all"},
                {"name": "LEVEL", "value": "$(LOG)"},
            ],
            "worker": {"extraEnv": [{"name": "LOG", "value": "worker"}]},
        }
    )
    for component, expected in (("worker", "worker"), ("api", "all")):
        names = [each["name"] for each in containers(pod_of(values, component))[0]["env"]]
        assert len(set(names)) == len(names)
        environ = environment_of(values, component, tmp_path)
        assert (environ["TEMPORAL_NAMESPACE"], environ["LOG"]) == ("one", expected)
    assert names.index("LOG") < names.index("LEVEL")


def test_servers_listen_on_ipv6_where_the_values_say_so(tmp_path: Path) -> None:
    values = with_values({"bindAddress": "::"})
    assert settings_of(values, "worker", tmp_path).worker.metrics == "[::]:9464"
    api = settings_of(values, "api", tmp_path).api
    assert (api.bind, api.metrics) == ("::", "[::]:9465")


def test_temporal_api_key_comes_from_a_secret() -> None:
    [worker] = pod_of(EVERYTHING, "worker")["spec"]["containers"]
    [key] = [each for each in worker["env"] if each["name"] == "TEMPORAL_API_KEY"]
    assert key["valueFrom"]["secretKeyRef"]["key"] == "temporal-api-key"
    assert "value" not in key


def test_every_secret_of_the_settings_is_a_value_of_the_chart() -> None:
    """Ensures that a new secret of the settings is not forgotten in the chart."""
    table = (CHART / "templates" / "_secrets.tpl").read_text(encoding="utf-8")
    for path in paths(Settings):
        field = field_at(Settings, path)
        if field and is_secret(field.annotation) and path[0] != "hosts":
            assert f"{variable(path)}_FILE" in table, path


def test_new_encryption_keys_restart_the_processes() -> None:
    """Ensures that keys, which are read once, take effect with an upgrade."""
    one, other = (
        with_values({"secrets": {"encryptionKeys": {"existingSecret": None, "value": keys}}})
        for keys in ("one", "two")
    )
    for component in ("worker", "api"):
        notes = [pod_of(values, component)["metadata"]["annotations"] for values in (one, other)]
        assert notes[0] != notes[1]


def test_files_of_values_are_in_config_maps() -> None:
    found = objects(EVERYTHING)
    assert of_kind(found, "ConfigMap", "moorage-berths-templates")["data"] == EVERYTHING["templates"]
    issuers = of_kind(found, "ConfigMap", "moorage-berths-issuers")["data"]["issuers.yaml"]
    assert yaml.safe_load(issuers) == [{"issuer": "https://login.example.com:6443"}]


def test_hosts_that_are_other_clusters_have_two_accounts() -> None:
    names = {}
    for component in ("worker", "api"):
        [source] = [each for each in volume_of(ONLY_OTHER_HOSTS, component) if "north" in json.dumps(each)]
        names[component] = source["secret"]["name"]
    assert names == {"worker": "north", "api": "north-read"}


def test_defaults_are_those_of_the_schema() -> None:
    """Ensures that each value of values.yaml is one that the schema knows, and the other way round."""
    schema = chart().schema

    def compare(values: Object, part: Object, place: str) -> None:
        while "$ref" in part:
            part = schema["definitions"][part["$ref"].rpartition("/")[2]]
        if part.get("additionalProperties") is not False or place == ".settings":
            return
        if place != ".secrets":
            assert set(values) == set(part["properties"]) - {"global"}, place
        for name, value in values.items():
            if isinstance(value, dict) and value:
                compare(value, part["properties"][name], f"{place}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")), schema, "")
    comment = (CHART / "values.yaml").read_text(encoding="utf-8")
    assert all(f"#  {name}: {{}}" in comment for name in schema["properties"]["secrets"]["properties"])


def volume_of(values: Object, component: str) -> list[Object]:
    [secrets] = [each for each in pod_of(values, component)["spec"]["volumes"] if each["name"] == "secrets"]
    sources: list[Object] = secrets["projected"]["sources"]
    return sources


def files_of(values: Object, component: str) -> set[str]:
    return {
        item["path"]
        for source in volume_of(values, component)
        for item in source["secret"]["items"]
        if not item["path"].endswith(".kubeconfig")
    }


@pytest.mark.parametrize("component", ["worker", "api"])
def test_traces_are_exported_as_the_values_say(component: str, tmp_path: Path) -> None:
    """Ensures that worker and API export what the values say, and nothing if they do not say it."""
    environment = environment_of(EVERYTHING, component, tmp_path)
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.observability:4318"
    assert read_trace_settings(environment) == TraceExport(0.25)
    assert read_trace_settings(environment_of(LEAST, component, tmp_path)) is None


def test_nothing_else_exports_traces(tmp_path: Path) -> None:
    for component in ("codec-server", "setup"):
        environment = environment_of(EVERYTHING, component, tmp_path)
        assert not [name for name in environment if name.startswith("OTEL_")]


def test_the_security_log_is_a_stream_of_its_own(tmp_path: Path) -> None:
    for component in ("api", "codec-server"):
        assert environment_of(EVERYTHING, component, tmp_path)["MOORAGE_LOG__SECURITY"] == "stdout"
    chosen = with_values({"settings": {"log": {"security": "/var/log/moorage/security.jsonl"}}})
    assert settings_of(chosen, "api", tmp_path).log.security == "/var/log/moorage/security.jsonl"


def test_the_worker_beside_a_host_has_the_credentials_of_that_host_alone(tmp_path: Path) -> None:
    component = "host-worker-eu_1"
    environ = environment_of(HOST_WORKERS, component, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"encryption-keys", "eu_1.kubeconfig"}
    settings = load_host_worker_settings("eu_1", environ)
    cluster = settings.hosts["eu_1"]
    assert isinstance(cluster, KubernetesHostCluster)
    assert cluster.kubeconfig == tmp_path / "eu_1.kubeconfig"
    assert not [name for name in environ if name.startswith(("MOORAGE_CONTROL_PLANE", "MOORAGE_API__"))]
    pod = pod_of(HOST_WORKERS, component)
    assert containers(pod)[-1]["args"] == ["worker", "--host", "eu_1"]
    assert pod["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("component", ["worker", "api"])
def test_central_processes_have_no_credentials_of_a_host_with_its_own_worker(
    component: str, tmp_path: Path
) -> None:
    settings = settings_of(HOST_WORKERS, component, tmp_path)
    assert settings.own_queues.hosts == {"eu_1", "far"}
    assert not [path.name for path in tmp_path.iterdir() if "kubeconfig" in path.name]
    assert pod_of(OWN_WORKER_HERE, component)["spec"]["automountServiceAccountToken"] is False


def test_the_worker_beside_this_cluster_uses_the_account_with_the_rights() -> None:
    pod = pod_of(OWN_WORKER_HERE, "host-worker-here")
    assert pod["spec"]["automountServiceAccountToken"] is True
    assert pod["spec"]["serviceAccountName"] == "moorage-worker"
    assert of_kind(objects(OWN_WORKER_HERE), "ClusterRole", "moorage-worker")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hostWorkers": {"here": None}}, "hostWorkers.here needs settings.hosts.here.own_worker: true"),
        (
            {
                "settings": {"hosts": {"eu": {"own_worker": True}}},
                "hostKubeconfigs": {"eu": {"worker": {"existingSecret": "eu"}}},
            },
            "hostWorkers does not run it here",
        ),
        (
            {
                "settings": {"hosts": {"eu": {}}},
                "hostKubeconfigs": {"eu": {"worker": {"existingSecret": "eu"}}},
            },
            "hostKubeconfigs.eu.api is missing",
        ),
    ],
    ids=["not its own", "elsewhere", "no API account"],
)
def test_host_workers_that_contradict_the_settings_are_refused(values: Object, message: str) -> None:
    with pytest.raises(Exception, match=message):
        objects(with_values(values))
